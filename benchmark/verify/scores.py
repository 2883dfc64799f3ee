"""The scores against the samples, and the summary against the scores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmark import registry
from benchmark.records import ChunkRecord, Manifest, merge_samples
from benchmark.run import RunDirectory
from benchmark.scoring import SCHEMA, ScoredSample, metric_classes
from benchmark.summary import summarise
from benchmark.verify.files import DAMAGE
from benchmark.verify.findings import Check, Tally

# sums in another order, as another NumPy or processor takes them, move no more than this
RELATIVE = 1e-9
SHOWN = 20  # differing values of a summary that are named


def check_scores(
    directory: RunDirectory, manifest: Manifest, chunks: Mapping[int, ChunkRecord]
) -> Check:
    """Rows of ``scores.parquet`` by the samples, then ``summary.json`` computed from them anew."""
    tally = Tally("scores and summary")
    scores, summary = directory.scores_path.name, directory.summary_path.name
    if not directory.scores_path.is_file():
        tally.not_checked(scores, "the run was never scored")
        return tally.check()
    samples = merge_samples(manifest.sample_ids, chunks)
    try:
        table = pq.read_table(directory.scores_path).select(SCHEMA.names)
        stored = json.loads(directory.summary_path.read_text(encoding="utf-8"))
        versions = dict(set(zip(*(table[key].to_pylist() for key in ("metric", "metric_version")),
                                strict=True)))  # fmt: skip
        metrics: dict[str, dict[str, Any]] = {**stored["metrics"]}
        if not all(isinstance(entry, dict) for entry in metrics.values()):
            raise ValueError("the summary's metrics are no objects")
        tally.compare(f"{summary}: metrics", sorted(metrics), sorted(versions),
                      f"found: by {scores}")  # fmt: skip
    except DAMAGE as error:
        tally.wrong(f"{scores} or {summary}", note=f"it cannot be read: {error}")
        return tally.check()
    _check_rows(tally, scores, table, samples)
    known = [name for name in sorted(versions) if _computable(tally, scores, name, versions[name])]
    table = table.filter(pc.is_in(table["metric"], pa.array(known, pa.string())))
    anew = json.loads(json.dumps(summarise(table, samples)))
    differing = list(_differences(_comparable(stored, known), _comparable(anew, known)))
    for place, claimed, found in differing[:SHOWN]:
        tally.wrong(f"{summary}: {place}", claimed, found, f"found: computed from {scores}")
    if len(differing) > SHOWN:
        tally.wrong(summary, note=f"... and {len(differing) - SHOWN} values more")
    if not differing:
        tally.compare(summary, True, True)
    return tally.check()


def _check_rows(tally: Tally, name: str, table: pa.Table, samples: list[ScoredSample]) -> None:
    """Each metric has one row for each sample, under the sample's own image and prompt."""
    wanted = sorted((sample.sample_id, sample.image_id, sample.prompt_id) for sample in samples)
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for row in table.select(["metric", "sample_id", "image_id", "prompt_id"]).to_pylist():
        rows.setdefault(row["metric"], []).append(
            (row["sample_id"], row["image_id"], row["prompt_id"])
        )
    for metric, found in sorted(rows.items()):
        strange = sorted(set(found) ^ set(wanted))
        tally.compare(
            f"{name}: {metric}", sorted(found) == wanted, True,
            f"its {len(found)} rows are not those of the {len(wanted)} samples"
            + (f", e.g. {strange[0][0]}" if strange else ""),
        )  # fmt: skip


def _computable(tally: Tally, name: str, metric: str, version: int) -> bool:
    if metric not in registry.names(registry.METRICS):
        tally.not_checked(f"{name}: {metric}", "the metric is not installed here")
        return False
    (cls,) = metric_classes([metric])
    if cls.version != version:
        tally.not_checked(
            f"{name}: {metric}",
            f"made by version {version} of the metric; here it is {cls.version}",
        )
        return False
    return True


def _comparable(summary: Mapping[str, Any], metrics: list[str]) -> dict[str, Any]:
    """What can be compared: without other metrics, and without words that may be rephrased."""
    kept = {
        name: {key: value for key, value in entry.items() if key != "description"}
        for name, entry in summary["metrics"].items()
        if name in metrics
    }
    unscored = [entry for entry in summary.get("unscored", []) if entry["metric"] in metrics]
    return {**summary, "metrics": kept, "unscored": unscored}


def _differences(claimed: Any, found: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(claimed, dict) and isinstance(found, dict):
        for key in [*claimed, *(key for key in found if key not in claimed)]:
            yield from _differences(
                claimed.get(key), found.get(key), f"{place}.{key}" if place else key
            )
    elif isinstance(claimed, list) and isinstance(found, list) and len(claimed) == len(found):
        for index, (one, other) in enumerate(zip(claimed, found, strict=True)):
            yield from _differences(one, other, f"{place}[{index}]")
    elif not _close(claimed, found):
        yield place, json.dumps(claimed), json.dumps(found)


def _close(claimed: Any, found: Any) -> bool:
    if isinstance(claimed, float) and isinstance(found, int | float):
        return math.isclose(claimed, found, rel_tol=RELATIVE, abs_tol=1e-12)
    return bool(claimed == found)
