"""The numbers of a leaderboard's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.config import Protocol
from benchmark.metrics.base import NOT_APPLICABLE
from benchmark.scoring import metric_classes
from benchmark.stats import cluster_t_interval, harmonic_mean, pareto_front, rank_stability
from reports.board import Balance, Cell, Cost, MetricInfo, Row
from reports.collect import CollectedRun

SEED = 0  # of the resampling: equal runs give equal reports
MOST_RANKED = 200  # runs; the table of places grows with the square of their number
TIE = 1e-12  # of a mean: what is nearer counts as equal


def metrics_of(runs: Sequence[CollectedRun], protocol: Protocol) -> tuple[MetricInfo, ...]:
    """The protocol's metrics in its order, then others that a run was scored with.

    Left out are those that apply to no sample of any run, as identity does where nothing shows a
    face.
    """
    scored = {
        name
        for run in runs
        for name, scores in run.scores.items()
        if np.isfinite(scores.values).any() or set(scores.statuses) != {NOT_APPLICABLE}
    }
    names = [name for name in protocol.metrics_of(shown=True) if name in scored]
    names += sorted(scored - set(names))
    return tuple(
        MetricInfo(cls.name, cls.version, cls.direction, cls.bounds, cls.description)
        for cls in (metric_classes(names) if names else [])
    )


def cell_of(run: CollectedRun, metric: MetricInfo, firsts: Mapping[str, float]) -> Cell:
    scores = run.scores.get(metric.name)
    if run.state == "incomplete":
        note = f"incomplete: {run.n_made} of {len(run.made)} samples made"
        return Cell(None, None, 0, 0, note if scores else "not scored")
    if scores is None:
        return Cell(None, None, 0, 0, f"not scored: `bench score --metrics {metric.name}`")
    there = np.isfinite(scores.values)
    values = scores.values[there]
    images = np.asarray(run.image_ids)[there].tolist()
    n_images = len(set(images))
    notes = [f"{count} {status}" for status, count in sorted(scores.statuses.items())]
    if not len(values):
        return Cell(None, None, 0, 0, ", ".join(notes) or "no sample")
    interval = cluster_t_interval(values, images)
    if interval is None:
        notes.append("no interval from fewer than 2 images")
    else:
        low, high = np.clip(interval, *metric.bounds).tolist()
        interval = (low, high)
    return Cell(
        mean=float(values.mean()),
        interval=interval,
        n=len(values),
        n_images=n_images,
        note=", ".join(notes) or None,
        p_first=firsts.get(str(run.path)),
    )


def share_of_firsts(runs: Sequence[CollectedRun], metric: MetricInfo) -> dict[str, float]:
    """Share of resamplings in which each run is best, over the samples that all have.

    Empty for a single run, and beyond ``MOST_RANKED``.
    """
    scored = [run for run in runs if metric.name in run.scores]
    if not 2 <= len(scored) <= MOST_RANKED:
        return {}
    table = np.stack([run.scores[metric.name].values for run in scored])
    common = np.isfinite(table).all(axis=0)
    images = np.asarray(scored[0].image_ids)[common].tolist()
    found = rank_stability(
        table[:, common], images, np.random.default_rng(SEED), metric.direction == "higher"
    )
    if found.p_first is None:
        return {}
    return {str(run.path): float(p) for run, p in zip(scored, found.p_first, strict=True)}


def with_places(rows: Sequence[Row], metrics: Sequence[MetricInfo]) -> list[Row]:
    """Rows with the best and the second mean of every metric marked; equal means share a place."""
    if len(rows) < 2:
        return list(rows)
    marked = [dict(row.cells) for row in rows]
    for metric in metrics:
        sign = 1 if metric.direction == "higher" else -1
        found = [sign * mean for cells in marked if (mean := cells[metric.name].mean) is not None]
        best = max(found, default=None)
        if best is None:
            continue
        second = max((value for value in found if not _tie(value, best)), default=None)
        for cells in marked:
            mean = cells[metric.name].mean
            if mean is not None:
                first = _tie(sign * mean, best)
                follows = second is not None and not first and _tie(sign * mean, second)
                cells[metric.name] = replace(cells[metric.name], best=first, second=follows)
    return [replace(row, cells=cells) for row, cells in zip(rows, marked, strict=True)]


def _tie(a: float, b: float) -> bool:
    return abs(a - b) <= TIE * max(abs(a), abs(b))


def row_order(protocol: Protocol) -> Callable[[Row], tuple[Any, ...]]:
    """Complete runs by balance, else by the first metric; incomplete ones last; then by name."""

    def key(row: Row) -> tuple[Any, ...]:
        incomplete = row.run.state == "incomplete"
        if row.balance is not None:
            return incomplete, 0, -row.balance.harmonic_mean, row.label
        cell = next(iter(row.cells.values()), None)
        mean = cell.mean if cell is not None and cell.mean is not None else -np.inf
        return incomplete, 1, -mean, row.label

    return key


def balances_of(runs: Sequence[CollectedRun], protocol: Protocol) -> dict[str, Balance]:
    """Normalised content and style of the runs that have both, by path."""
    scale = protocol.balance
    if scale is None:
        return {}
    found: list[tuple[str, float, float]] = []
    for run in runs:
        pair = []
        style_anchor = scale.style_of(run.manifest.config.shown)
        for anchor in (scale.content, style_anchor) if style_anchor is not None else ():
            scores = run.scores.get(anchor.metric)
            if scores is not None and np.isfinite(scores.values).any():
                pair.append(anchor.normalised(float(np.nanmean(scores.values))))
        if len(pair) == 2:
            found.append((str(run.path), pair[0], pair[1]))
    content = [entry[1] for entry in found]
    style = [entry[2] for entry in found]
    together, front = harmonic_mean(content, style), pareto_front(content, style)
    return {
        path: Balance(c, s, float(h), bool(f))
        for (path, c, s), h, f in zip(found, together, front, strict=True)
    }


def cost_of(run: CollectedRun) -> Cost:
    speed = run.summary.get("speed", {})
    warm = speed.get("warm") or {}
    use = warm if warm.get("n") else speed
    hardware = run.manifest.hardware
    names = [*hardware.get("accelerators", []), hardware.get("processor")]
    flops = run.profile.get("flops_per_image") if run.profile else None
    return Cost(
        seconds_median=use.get("seconds_per_image_median"),
        seconds_p95=use.get("seconds_per_image_p95"),
        cold=use is speed,
        peak_memory_mib=speed.get("peak_memory_mib"),
        flops=flops,
        preparation_seconds=speed.get("preparation_seconds"),
        energy_joules=speed.get("energy_joules_per_image"),
        hardware=", ".join(str(name) for name in names if name),
    )
