"""How long a planned run will take, from what was measured before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from benchmark.errors import RunDirectoryError
from benchmark.records import Manifest
from benchmark.run import RunDirectory
from benchmark.sweep.plan import Plan, PlannedRun

OWN, NEAREST, PROFILE, UNKNOWN = "own chunks", "nearest run", "profile", "unknown"


@dataclass(frozen=True)
class Standing:
    """How a planned run stands.

    Attributes:
        finished: samples on disk.
        complete: made and scored.
        seconds_per_sample: None where nothing was measured.
        basis: what it was taken from.
        problem: why the run directory cannot be taken up, if it cannot.
    """

    run: PlannedRun
    finished: int
    complete: bool
    seconds_per_sample: float | None
    basis: str
    problem: str | None = None

    @property
    def seconds_left(self) -> float | None:
        """Of sampling; scoring is not counted."""
        left = len(self.run.sample_ids) - self.finished
        if not left:
            return 0.0
        return None if self.seconds_per_sample is None else left * self.seconds_per_sample


@dataclass(frozen=True)
class _Measured:
    config: dict[str, Any]
    seconds_per_sample: float


def standings(plan: Plan) -> list[Standing]:
    """How every run of a plan stands, in the plan's order.

    Seconds come from the run's own finished chunks; else from the finished runs of the method on
    that dataset whose config differs in the fewest keys (their median); else from what ``bench
    profile --out`` stored beside them.
    """
    measured: dict[Path, list[_Measured]] = {}
    return [_standing(run, measured) for run in plan.runs]


def total_left(found: Sequence[Standing]) -> tuple[float, int]:
    """Seconds left of the runs that have an estimate, and how many have none."""
    known = [standing.seconds_left for standing in found]
    return sum(seconds for seconds in known if seconds is not None), known.count(None)


def _standing(run: PlannedRun, measured: dict[Path, list[_Measured]]) -> Standing:
    folder = run.path.parent
    if folder not in measured:
        measured[folder] = _runs_of(folder)
    try:
        finished, problem = run.finished_samples(), None
    except RunDirectoryError as error:
        finished, problem = 0, str(error)
    seconds, basis = None, UNKNOWN
    own = _seconds_per_sample(run.path)
    if own is not None:
        seconds, basis = own, OWN
    elif measured[folder]:
        seconds, basis = _nearest(run.resolved.method_config, measured[folder]), NEAREST
    elif (profile := _profile(folder / "profile.json")) is not None:
        seconds, basis = profile, PROFILE
    return Standing(run, finished, run.is_complete(), seconds, basis, problem)


def _runs_of(folder: Path) -> list[_Measured]:
    found = []
    for path in sorted(folder.glob("*/manifest.json")):
        try:
            manifest: Manifest = RunDirectory(path.parent).read_manifest()
        except RunDirectoryError:
            continue
        seconds = _seconds_per_sample(path.parent)
        if seconds is not None:
            found.append(_Measured(manifest.config.method_config, seconds))
    return found


def _seconds_per_sample(path: Path) -> float | None:
    records = list(RunDirectory(path).read_chunks())
    count = sum(len(record.samples) for record in records)
    return sum(record.seconds for record in records) / count if count else None


def _nearest(config: dict[str, Any], runs: Sequence[_Measured]) -> float:
    def distance(other: dict[str, Any]) -> int:
        return sum(config.get(key) != other.get(key) for key in config.keys() | other.keys())

    least = min(distance(run.config) for run in runs)
    return median(run.seconds_per_sample for run in runs if distance(run.config) == least)


def _profile(path: Path) -> float | None:
    try:
        seconds = json.loads(path.read_text(encoding="utf-8"))["seconds_per_image"]
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else None
