"""What tells the runs of one method apart: labels, and sweeps over one key."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from benchmark.config import canonical_json
from reports.board import Row, Sweep
from reports.collect import CollectedRun


def row_labels(runs: Sequence[CollectedRun]) -> list[str]:
    """Method names; where a method has several runs, with the config keys that tell them apart."""
    values: dict[str, dict[str, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    keys = {key for run in runs for key in knobs_of(run)}
    for run in runs:
        own = knobs_of(run)
        for key in keys:
            values[run.method][key].add(canonical_json(own.get(key)))
    labels = []
    for run in runs:
        own = knobs_of(run)
        told = ", ".join(
            f"{key}={own.get(key)}" for key in sorted(keys) if len(values[run.method][key]) > 1
        )
        labels.append(f"{run.method} ({told})" if told else run.method)
    counts = Counter(labels)
    return [
        f"{label} [{run.manifest.config_hash}]" if counts[label] > 1 else label
        for run, label in zip(runs, labels, strict=True)
    ]


def knobs_of(run: CollectedRun) -> dict[str, Any]:
    config = run.manifest.config
    return {**config.method_config, "seed": config.seed, "precision": config.precision}


def sweeps_of(rows: Sequence[Row]) -> tuple[Sweep, ...]:
    """Sets of complete runs that differ in one numeric config key."""
    groups: dict[tuple[str, str, bytes], list[tuple[float, str]]] = defaultdict(list)
    for row in rows:
        if row.run.state != "complete":
            continue
        knobs = knobs_of(row.run)
        for key, value in knobs.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or key == "seed":
                continue
            others = {name: knob for name, knob in knobs.items() if name != key}
            others["seed"] = row.run.manifest.config.seed
            place = (row.run.method, key, canonical_json(others))
            groups[place].append((float(value), row.id))
    return tuple(
        Sweep(method, key, tuple(sorted(points)))
        for (method, key, _), points in sorted(groups.items())
        if len(points) > 1
    )
