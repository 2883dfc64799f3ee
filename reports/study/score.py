"""``bench study score``: from answers to means, intervals and agreement."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.errors import DataError, UsageError
from benchmark.files import explain_write_errors, write_atomically
from benchmark.noise import derived_seed
from benchmark.stats import holm
from benchmark.stats.inputs import Floats, Ints
from reports.study.agreement import icc, krippendorff_alpha
from reports.study.answers import OnBad, RaterFile, read_answers
from reports.study.crossed import INTERVAL_METHOD, crossed_mean
from reports.study.key import FORM_FILE, KEY_FILE, StudyKey, load_key
from reports.study.result import (
    HIGHEST,
    LOWEST,
    QUESTIONS,
    Agreement,
    Comparison,
    Exclusion,
    Question,
    Rating,
    StudyEntry,
    StudyResult,
    UnusedFile,
)
from reports.study.screening import screen, screening_rule

RESULT_FILE = "study.json"


def score_study(
    folder: Path, paths: Sequence[Path], *, out: Path | None, max_repeat_difference: float,
    on_bad: OnBad, as_json: bool,
) -> None:  # fmt: skip
    """The command: write the result and print it.

    Args:
        folder: of the study, with its key.
        paths: answer files (JSON or CSV), or folders of them.
        out: the result; ``study.json`` in ``folder`` if None.
        max_repeat_difference: of :func:`reports.study.screening.screen`, 0 to 100.

    Raises:
        UsageError: the limit is out of range.
        DataError: no key, bad answers, or no rater is left.
    """
    if not LOWEST <= max_repeat_difference <= HIGHEST:
        raise UsageError(f"--max-repeat-difference must be 0 to 100, got {max_repeat_difference}")
    key = load_key(folder)
    out = out or folder / RESULT_FILE
    own = [folder / KEY_FILE, folder / FORM_FILE, folder / RESULT_FILE, out]
    files, unused = read_answers(paths, key, on_bad, ignored=own)
    result = evaluate(key, files, unused, max_repeat_difference)
    text = result.model_dump_json(indent=1) + "\n"
    with explain_write_errors(out):
        write_atomically(out, text.encode())
    if as_json:
        sys.stdout.write(text)
    else:
        from reports.study.terminal import print_result

        print_result(result, out)


def evaluate(
    key: StudyKey, files: Sequence[RaterFile], unused: Sequence[UnusedFile],
    max_repeat_difference: float,
) -> StudyResult:  # fmt: skip
    """Score the answers of raters, one file each.

    Raises:
        DataError: no rater is left after screening, or nobody answered anything.
    """
    raters = [screen(file, key, max_repeat_difference) for file in files]
    excluded = [
        Exclusion(
            rater_id=rater.rater_id,
            reason=f"answers to {rater.n_repeats} repeated pictures differ by "
            f"{rater.repeat_difference:.1f} on average, more than {max_repeat_difference:g}",
        )
        for rater in raters
        if not rater.counted
    ]
    counted = [file for file, rater in zip(files, raters, strict=True) if rater.counted]
    if not counted:
        reasons = "; ".join(f"{one.rater_id}: {one.reason}" for one in excluded)
        raise DataError(f"no rater is left after screening ({reasons})")
    table = _Ratings(key, counted)
    if not table.any():
        raise DataError("nobody answered a question for any picture")
    return StudyResult(
        study_id=key.study_id,
        title=key.title,
        protocol=key.protocol,
        dataset=key.dataset,
        stand_in=key.stand_in,
        n_raters=len(counted),
        n_raters_excluded=len(excluded),
        entries=tuple(table.entry(number) for number in range(len(key.entries))),
        agreement=tuple(table.agreement(question) for question in QUESTIONS),
        comparisons=tuple(itertools.chain(*map(table.comparisons, QUESTIONS))),
        raters=tuple(raters),
        excluded=tuple(excluded),
        unused_files=tuple(unused),
        screening=screening_rule(max_repeat_difference),
        interval_method=INTERVAL_METHOD,
    )


class _Ratings:
    """[items, raters] values of each question, NaN where unanswered; repeats are left out."""

    def __init__(self, key: StudyKey, files: Sequence[RaterFile]) -> None:
        self.key = key
        self.names = list(key.originals())
        self.entry_of = np.array([key.items[name].entry for name in self.names])
        self.images = np.array([key.items[name].image_id for name in self.names])
        self.samples = np.array([key.items[name].sample_id for name in self.names])
        self.raters = np.array([file.answers.rater_id for file in files])
        answers = [file.answers.by_item() for file in files]
        self.values: dict[Question, Floats] = {
            question: np.array(
                [[getattr(rater[name], question) for rater in answers] for name in self.names],
                dtype=np.float64,
            )
            for question in QUESTIONS
        }

    def _names(self, raters: Ints) -> list[str]:
        return list(self.raters[raters].tolist())

    def _images(self, rows: npt.NDArray[Any], items: Ints) -> list[str]:
        return list(self.images[rows][items].tolist())

    def any(self) -> bool:
        return any(not np.isnan(table).all() for table in self.values.values())

    def entry(self, number: int) -> StudyEntry:
        rows = self.entry_of == number
        rated = ~np.isnan(np.stack([self.values[question][rows] for question in QUESTIONS]))
        either = rated.any(axis=0)
        name = self.key.entries[number]
        return StudyEntry(
            method=name.method,
            config_hash=name.config_hash,
            n_ratings=int(either.sum()),
            n_images=len(set(self.images[rows][either.any(axis=1)])),
            n_raters=int(either.any(axis=0).sum()),
            content=self._rating("content", number),
            style=self._rating("style", number),
        )

    def _rating(self, question: Question, number: int) -> Rating:
        rows = self.entry_of == number
        table = self.values[question][rows]
        item, rater = np.nonzero(~np.isnan(table))
        found = crossed_mean(table[item, rater], self._names(rater), self._images(rows, item))
        interval = found.interval()
        if interval is not None:
            # ratings cannot leave the scale, so the part beyond it says nothing
            interval = max(interval[0], LOWEST), min(interval[1], HIGHEST)
        return Rating(mean=found.mean, interval=interval, note=found.note(), n=found.n)

    def comparisons(self, question: Question) -> list[Comparison]:
        """All pairs of entries, with p-values adjusted over them."""
        found = [
            self._comparison(question, a, b)
            for a, b in itertools.combinations(range(len(self.key.entries)), 2)
        ]
        adjusted = holm([one.p for one in found])
        return [
            one.model_copy(update={"p_holm": None if math.isnan(p) else float(p)})
            for one, p in zip(found, adjusted, strict=True)
        ]

    def _comparison(self, question: Question, a: int, b: int) -> Comparison:
        tables = []
        for number in (a, b):
            rows = np.flatnonzero(self.entry_of == number)
            tables.append(rows[np.argsort(self.samples[rows])])  # every entry has the same samples
        first, second = tables
        differences = self.values[question][first] - self.values[question][second]
        item, rater = np.nonzero(~np.isnan(differences))
        found = crossed_mean(
            differences[item, rater], self._names(rater), self._images(first, item)
        )
        return Comparison(
            question=question,
            a=self.key.entries[a],
            b=self.key.entries[b],
            n=found.n,
            mean_difference=found.mean,
            interval=found.interval(),
            p=found.p_value(),
            p_holm=None,
            note=found.note(),
        )

    def agreement(self, question: Question) -> Agreement:
        table = self.values[question]
        whole = ~np.isnan(table).any(axis=0)
        single, average = icc(table[:, whole])
        rng = np.random.default_rng(derived_seed(0, self.key.study_id, f"alpha {question}"))
        present = ~np.isnan(table)
        paired = present.sum(axis=1) >= 2
        return Agreement(
            question=question,
            n_raters=int(whole.sum()),
            n_items=len(table),
            icc_single=single,
            icc_average=average,
            alpha=krippendorff_alpha(table, self.images.tolist(), rng),
            alpha_raters=int(present[paired].any(axis=0).sum()),
            alpha_items=int(paired.sum()),
        )
