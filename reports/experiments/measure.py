"""The numbers of an experiment's table, from the runs that were made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.run import RunDirectory
from benchmark.scoring import metric_classes
from benchmark.stats import cluster_t_interval
from reports.board import Interval
from reports.collect import CollectedRun, read_run
from reports.experiments.model import Column, Experiment, Variant
from reports.experiments.runs import PlannedExperiment

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Values:
    """One column of one run, sample by sample.

    Attributes:
        values: [N] float64 in the run's order; NaN where there is none.
        clusters: [N] what is independent: content images, of seconds the chunks.
    """

    values: Floats
    clusters: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A measured cell: mean, 95 % interval over clusters, and how many there were."""

    mean: float | None
    interval: Interval | None = None
    n: int = 0
    n_clusters: int = 0


@dataclass(frozen=True)
class Reported:
    """A number as the paper states it."""

    value: float
    unit: str


@dataclass(frozen=True)
class Row:
    """A variant on a dataset.

    Attributes:
        run: None if it was not made.
        values: of the columns that tests can read, by column id.
        numbers, reported: by column id.
    """

    variant: Variant
    run: CollectedRun | None
    values: Mapping[str, Values]
    numbers: Mapping[str, Number]
    reported: Mapping[str, Reported]


@dataclass(frozen=True)
class Measured:
    """An experiment with its numbers.

    Attributes:
        rows: dataset -> variants in the file's order.
        notes: what a reader should know of the images.
    """

    experiment: Experiment
    protocol: str
    rows: Mapping[str, tuple[Row, ...]]
    notes: tuple[str, ...]

    def row(self, dataset: str, variant: str) -> Row:
        return next(row for row in self.rows[dataset] if row.variant.id == variant)


def measure(planned: PlannedExperiment, protocol: str) -> Measured:
    """Read the runs and fill the table. A run that is not complete leaves its row empty.

    Raises:
        RunDirectoryError: a run is damaged, or was changed after it was scored.
    """
    read: dict[Path, CollectedRun] = {
        run.path: read_run(run.path) for run in planned.plan.runs if run.is_complete()
    }
    experiment = planned.experiment
    rows = {
        dataset: tuple(
            _row(
                experiment, dataset, variant,
                read.get(planned.run_of[dataset, variant.id].path),
            )
            for variant in experiment.variants
        )
        for dataset in experiment.datasets
    }  # fmt: skip
    notes = dict.fromkeys(
        f"{run.manifest.config.dataset}: {run.manifest.stand_in_note}"
        for run in read.values()
        if run.manifest.stand_in_note
    )
    return Measured(experiment, protocol, rows, tuple(notes))


def direction_of(column: Column) -> str:
    """``higher`` or ``lower`` is better."""
    if column.metric is None:
        return "lower"
    (cls,) = metric_classes([column.metric])
    return cls.direction


def _row(experiment: Experiment, dataset: str, variant: Variant, run: CollectedRun | None) -> Row:
    values, numbers, reported = {}, {}, {}
    table = experiment.reported
    for column in experiment.columns:
        quantity = column.reported_for(dataset)
        stated = table.values.get(variant.reported or "", {}) if table is not None else {}
        if table is not None and quantity is not None and quantity in stated:
            reported[column.id] = Reported(stated[quantity], table.units[quantity])
        if run is None:
            continue
        if column.quantity == "preparation":
            seconds = run.summary.get("speed", {}).get("preparation_seconds")
            numbers[column.id] = Number(seconds)
            continue
        found = _seconds(run) if column.quantity == "seconds" else _scores(run, column)
        if found is not None:
            values[column.id] = found
            numbers[column.id] = _number(found, column)
    return Row(variant, run, values, numbers, reported)


def _scores(run: CollectedRun, column: Column) -> Values | None:
    scores = run.scores.get(column.metric or "")
    return None if scores is None else Values(scores.values, run.image_ids)


def _seconds(run: CollectedRun) -> Values:
    """Seconds of each sample; those of a chunk are shared evenly, so chunks are the clusters."""
    seconds, chunk = {}, {}
    for record in RunDirectory(run.path).read_chunks():
        for sample in record.samples:
            seconds[sample.sample_id] = record.seconds / len(record.samples)
            chunk[sample.sample_id] = f"chunk {record.chunk}"
    ids = run.manifest.sample_ids
    return Values(
        np.array([seconds.get(sample, math.nan) for sample in ids]),
        tuple(chunk.get(sample, "none") for sample in ids),
    )


def _number(found: Values, column: Column) -> Number:
    there = np.isfinite(found.values)
    values = found.values[there]
    clusters = np.asarray(found.clusters)[there].tolist()
    if not len(values):
        return Number(None)
    interval = cluster_t_interval(values, clusters)
    if interval is not None and column.metric is not None:
        (cls,) = metric_classes([column.metric])
        low, high = np.clip(interval, *cls.bounds).tolist()
        interval = (low, high)
    elif interval is not None:
        interval = (max(0.0, interval[0]), interval[1])
    return Number(float(values.mean()), interval, len(values), len(set(clusters)))
