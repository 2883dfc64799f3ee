"""Run directories, read for an export: checked, scored, of one protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from benchmark.errors import RunDirectoryError, UsageError
from benchmark.metrics.base import NON_FINITE
from benchmark.run import RunDirectory
from benchmark.scoring import ScoredSample
from reports.collect import find_runs, read_run
from reports.export.records import MetricSummary, ScoredRun, finite


def scored_runs(paths: Sequence[Path]) -> list[ScoredRun]:
    """All runs in and below ``paths``, of one protocol, checked.

    Raises:
        UsageError: no run there, one of them given twice, different protocols.
        RunDirectoryError: an unscored run; a file that is not the one that the run stored.
    """
    runs = [scored_run(path) for path in find_runs(paths)]
    protocols = sorted({run.manifest.config.protocol for run in runs})
    if len(protocols) > 1:
        raise UsageError(
            f"the runs are of different protocols ({', '.join(protocols)}), whose scores cannot "
            f"stand in one table: export those of each protocol on their own"
        )
    places: dict[str, Path] = {}
    for run in runs:
        other = places.setdefault(run.label, run.directory.path)
        if other != run.directory.path:
            raise UsageError(
                f"{other} and {run.directory.path} hold the same run ({run.label}); give one of "
                f"them"
            )
    return runs


def scored_run(path: Path) -> ScoredRun:
    """One run directory, every image compared with its hash.

    Raises:
        RunDirectoryError: as :func:`reports.collect.read_run`; and it was not scored, or not all
            of it was.
    """
    directory = RunDirectory(path)
    collected = read_run(path)
    if not collected.scores:
        raise RunDirectoryError(
            f"{path} is not scored, so there is nothing to export but images. Score it with "
            f"`bench score {path}`, or finish it with its `bench run` command."
        )
    samples = _samples(directory)
    values, statuses = _scores(directory, [sample.sample_id for sample in samples])
    return ScoredRun(
        directory=directory,
        manifest=collected.manifest,
        samples=samples,
        digests={
            sample.sample_id: sample.sha256
            for chunk in directory.read_chunks()
            for sample in chunk.samples
        },
        values=values,
        statuses=statuses,
        summary=_summary(directory, values),
    )


def _samples(directory: RunDirectory) -> list[ScoredSample]:
    path = directory.samples_path
    try:
        table = pq.read_table(path).to_pylist()
        samples = TypeAdapter(list[ScoredSample]).validate_python(table)
    except (OSError, pa.ArrowException, ValidationError) as error:
        raise RunDirectoryError(
            f"{path} cannot be read: {error}. Score the run again with `bench score "
            f"{directory.path}`."
        ) from error
    for sample in samples:
        # they name files
        if re.search(r"[/\\\0]", sample.sample_id + sample.image_id):
            raise RunDirectoryError(
                f"{path}: the sample id {sample.sample_id!r} is a path, which no run makes"
            )
    return samples


def _scores(
    directory: RunDirectory, sample_ids: Sequence[str]
) -> tuple[dict[str, list[float | None]], dict[str, list[str]]]:
    """Values and statuses by metric, in the order of ``sample_ids``."""
    place = {sample_id: number for number, sample_id in enumerate(sample_ids)}
    values: dict[str, list[float | None]] = {}
    found: dict[str, list[str | None]] = {}
    same: dict[str, str] = {}  # equal statuses share one string: there are millions of them
    advice = f"Score the run again with `bench score {directory.path}`."
    columns = ["sample_id", "metric", "value", "status"]
    with pq.ParquetFile(directory.scores_path) as file:
        for batch in file.iter_batches(columns=columns):
            lists = (batch[name].to_pylist() for name in columns)
            for sample_id, metric, value, status in zip(*lists, strict=True):
                if metric not in values:
                    values[metric] = [None] * len(place)
                    found[metric] = [None] * len(place)
                where = place.get(sample_id)
                if where is None or found[metric][where] is not None:
                    what = "a sample that was not run" if where is None else "a sample twice"
                    raise RunDirectoryError(
                        f"{directory.scores_path} scores {what}: {sample_id} ({metric}). {advice}"
                    )
                number = finite(value)
                if status == "ok" and number is None:
                    status = NON_FINITE
                values[metric][where] = number if status == "ok" else None
                found[metric][where] = same.setdefault(status, status)
    statuses: dict[str, list[str]] = {}
    for metric, states in found.items():
        statuses[metric] = [state for state in states if state is not None]
        lacking = len(place) - len(statuses[metric])
        if lacking:
            raise RunDirectoryError(
                f"{directory.scores_path} has no {metric} of {lacking} of {len(place)} samples. "
                f"{advice}"
            )
    return values, statuses


def _summary(directory: RunDirectory, metrics: Iterable[str]) -> dict[str, MetricSummary]:
    path = directory.summary_path
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
        return {name: MetricSummary.model_validate(loaded["metrics"][name]) for name in metrics}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"{path} is missing or does not fit the scores. Score the run again with "
            f"`bench score {directory.path}`."
        ) from error
