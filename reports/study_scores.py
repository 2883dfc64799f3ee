"""Brings the results of user studies to the rows of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import UsageError
from reports.board import StudyScore
from reports.collect import CollectedRun
from reports.leaderboard import Study
from reports.study.result import Rating, StudyEntry, load_study_result


def study_of(paths: Sequence[Path]) -> Study:
    """A function that tells a run's content and style in the studies of these files.

    Raises:
        DataError: a file is no result of ``bench study score``.
        UsageError: two studies rate the same run.
    """
    entries: dict[tuple[str, str, str, str], StudyEntry] = {}
    for path in paths:
        result = load_study_result(path)
        for entry in result.entries:
            key = (result.protocol, result.dataset, entry.method, entry.config_hash)
            if key in entries:
                raise UsageError(
                    f"{path}: {entry.method} ({entry.config_hash}) on {result.dataset} is rated in "
                    f"another study too: give one of them with --study"
                )
            entries[key] = entry

    def scores(run: CollectedRun) -> tuple[StudyScore, StudyScore] | None:
        config = run.manifest.config
        entry = entries.get((config.protocol, config.dataset, run.method, run.manifest.config_hash))
        if entry is None:
            return None
        content, style = _score(entry.content), _score(entry.style)
        return None if content is None or style is None else (content, style)

    return scores


def _score(rating: Rating) -> StudyScore | None:
    """None where nobody rated the run."""
    if rating.mean is None:
        return None
    return StudyScore(rating.mean, rating.interval, rating.n)
