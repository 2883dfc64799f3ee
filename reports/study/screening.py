"""Tells raters who did not look from raters who did, by the pictures that they saw twice."""

from __future__ import annotations

import statistics

from reports.study.answers import RaterFile
from reports.study.key import StudyKey
from reports.study.result import QUESTIONS, RaterSummary

MIN_REPEATS = 2


def screening_rule(limit: float) -> str:
    """The rule in words, as results state it."""
    return (
        f"A rater is excluded whose answers to repeated pictures differ by more than {limit:g} on "
        f"average (mean absolute difference over both questions), if at least {MIN_REPEATS} "
        f"repeated pictures were answered both times; with fewer a rater is not screened."
    )


def screen(file: RaterFile, key: StudyKey, limit: float) -> RaterSummary:
    """One rater's summary; ``counted`` by :func:`screening_rule`.

    Independent uniform answers differ by 33.3 on average. With 4 repeats (8 differences) and a
    limit of 25 the rule finds 84 of 100 raters who answer so (93 with 8 repeats); of those whose
    repeated judgements scatter with a standard deviation of 10 (mean difference 11.3) it excludes
    nobody, and 5 of 100 with one of 15 (16.9). A rater who gives one value to everything passes;
    the note says so, and the researcher decides.

    Args:
        limit: greatest mean absolute difference, in points of the 0 to 100 scale.
    """
    answers = file.answers.by_item()
    pairs = [
        (answers[item.repeat_of], answers[name])
        for name, item in key.items.items()
        if item.repeat_of is not None and answers[item.repeat_of].whole and answers[name].whole
    ]
    differences = [
        abs(getattr(first, question) - getattr(second, question))
        for first, second in pairs
        for question in QUESTIONS
    ]
    mean = statistics.fmean(differences) if differences else None
    whole = [answer for answer in answers.values() if answer.whole]
    screened = len(pairs) >= MIN_REPEATS
    notes = []
    if not screened:
        notes.append(f"not screened: {len(pairs)} repeated picture(s) answered both times")
    for question in QUESTIONS:
        if len(whole) > 1 and len({getattr(answer, question) for answer in whole}) == 1:
            notes.append(f"gave one value to every picture for {question}")
    return RaterSummary(
        rater_id=file.answers.rater_id,
        file=str(file.path),
        complete=file.answers.complete,
        n_items=len(key.items),
        n_answered=len(whole),
        n_repeats=len(pairs),
        repeat_difference=mean,
        median_seconds=statistics.median(answer.seconds for answer in whole) if whole else None,
        counted=not (screened and mean is not None and mean > limit),
        note="; ".join(notes) or None,
    )
