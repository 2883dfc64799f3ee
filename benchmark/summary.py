"""Sums a run's scores up: means, intervals, counts, speed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.scoring import ScoredSample, metric_classes
from benchmark.stats import LEVEL, cluster_t_interval

SCHEMA_VERSION = 1


def summarise(table: pa.Table, samples: Sequence[ScoredSample]) -> dict[str, Any]:
    """The summary of a run, ready for JSON (no NaN, no infinity).

    Args:
        table: what :func:`benchmark.scoring.score_samples` returned.
        samples: the same run's samples.

    Returns:
        ``metrics`` (by name: version, direction, bounds, encoders, description, n, n_images, mean,
        sd, interval, interval_note, statuses), ``speed`` (seconds per image over all samples and,
        under ``warm``, over those of chunks before which the process had made another; peak memory;
        energy and preparation where they were measured), ``samples`` (counts), ``failed``
        (sample_id, reason) for what the method did not make and ``unscored`` (sample_id, metric,
        reason) for images that it made but that could not be scored. ``interval`` is [low, high]
        (95 %, :func:`benchmark.stats.cluster_t_interval`, cut off at the metric's bounds) or null;
        ``interval_note`` then says why.

    Raises:
        UsageError: the table has scores of a metric that is not installed.
    """
    names = pc.unique(table["metric"]).to_pylist()
    classes = metric_classes(names) if names else []
    failed = [
        {"sample_id": sample.sample_id, "reason": sample.reason or "no reason was recorded"}
        for sample in samples
        if sample.status != "ok"
    ]
    made = {sample.sample_id for sample in samples if sample.status == "ok"}
    return {
        "schema_version": SCHEMA_VERSION,
        "samples": {
            "total": len(samples),
            "ok": len(samples) - len(failed),
            "failed": len(failed),
            "images": len({sample.image_id for sample in samples}),
        },
        "failed": failed,
        "unscored": [
            {
                "sample_id": row["sample_id"],
                "metric": row["metric"],
                "reason": row["status"].removeprefix("failed: "),
            }
            for row in table.filter(pc.starts_with(table["status"], "failed")).to_pylist()
            if row["sample_id"] in made and _kind(row["status"]) == "failed"
        ],
        "intervals": {"method": "cluster_t", "level": LEVEL, "cluster": "image_id"},
        "metrics": {
            cls.name: {
                "version": cls.version,
                "direction": cls.direction,
                "bounds": list(cls.bounds),
                "encoders": list(cls.encoders),
                "description": cls.description,
                **_of_metric(table.filter(pc.equal(table["metric"], cls.name)), cls.bounds),
            }
            for cls in classes
        },
        "speed": _speed(samples),
    }


def _of_metric(rows: pa.Table, bounds: tuple[float, float]) -> dict[str, Any]:
    scored = rows.filter(pc.is_valid(rows["value"]))
    values: npt.NDArray[np.float64] = scored["value"].to_numpy()
    images = scored["image_id"].to_pylist()
    interval = cluster_t_interval(values, images)
    n_images = len(set(images))
    note = None
    if interval is None:
        note = f"insufficient_n: {n_images} content image(s) with a value, at least 2 are needed"
    return {
        "n": len(values),
        "n_images": n_images,
        "mean": float(values.mean()) if len(values) else None,
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        # the metric cannot leave its bounds, so the part of the interval beyond them says nothing
        "interval": None if interval is None else np.clip(interval, *bounds).tolist(),
        "interval_note": note,
        "statuses": dict(sorted(Counter(map(_kind, rows["status"].to_pylist())).items())),
    }


def _kind(status: str) -> str:
    """``failed: <reason>`` counts as ``failed``; the reasons are listed by sample."""
    return status.partition(":")[0]


def _speed(samples: Sequence[ScoredSample]) -> dict[str, Any]:
    timed = [sample for sample in samples if sample.seconds is not None]
    memory = [s.peak_memory_mib for s in samples if s.peak_memory_mib is not None]
    energy = [s.energy_joules for s in samples if s.energy_joules is not None]
    preparation = [s.preparation_seconds for s in samples if s.preparation_seconds is not None]
    return {
        **_seconds_per_image(timed),
        "warm": _seconds_per_image([sample for sample in timed if sample.warm]),
        "peak_memory_mib": max(memory) if memory else None,
        "energy_joules_per_image": float(np.mean(energy)) if energy else None,
        "energy_n": len(energy),
        # of the whole run and beside the time of sampling: it does not grow with the images
        "preparation_seconds": math.fsum(preparation) if preparation else None,
    }


def _seconds_per_image(timed: Sequence[ScoredSample]) -> dict[str, float | int | None]:
    seconds: npt.NDArray[np.float64] = np.array([s.seconds for s in timed], dtype=np.float64)
    some = len(seconds) > 0
    return {
        "n": len(seconds),
        "seconds_per_image_median": float(np.median(seconds)) if some else None,
        "seconds_per_image_p95": float(np.quantile(seconds, 0.95)) if some else None,
        "seconds_per_image_mean": float(seconds.mean()) if some else None,
    }
