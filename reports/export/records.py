"""Scored runs as records: one for each sample, with every score and why it is missing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import RunDirectoryError, UsageError
from benchmark.records import Manifest
from benchmark.run import RunDirectory
from benchmark.scoring import ScoredSample

Row = dict[str, Any]
Status = Literal["complete", "partial"]

SOURCES_READ = 16  # content images read from Parquet at a time
READ_BYTES = 2**20

# of every row, before the metrics
COLUMNS: Mapping[str, str] = {
    "sample_id": "unique in a run",
    "prompt": "the target style in words",
    "method": "name of the method",
    "image_id": "samples with equal ids share one content image",
    "prompt_id": "id in the prompt set",
    "source_prompt": "the style of the source in words",
    "dataset": "name of the dataset card",
    "stand_in": "true: the source stands in for the dataset's own images",
    "domain": "what the image shows",
    "protocol": "scores of different protocols cannot be compared",
    "config_hash": "of the run's full configuration",
    "seed": "of the run",
    "run_status": "complete, or partial: samples of the run are missing",
    "status": "of the sample: ok, or failed (then it has no output image)",
    "reason": "why it failed",
    "seconds": "time of the method, its chunk's time shared evenly",
    "peak_memory_mib": "greatest memory while its chunk was made, in MiB",
    "output_sha256": "of the stored PNG",
}


class MetricSummary(BaseModel):
    """What ``summary.json`` says of one metric, as far as an export needs it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    direction: Literal["higher", "lower"]
    bounds: tuple[float, float]
    description: str
    n: int = Field(ge=0)
    mean: float | None = Field(allow_inf_nan=False)
    interval: tuple[float, float] | None

    def numbers(self) -> dict[str, float]:
        """Mean and interval, those that there are."""
        low, high = self.interval or (None, None)
        found = {"mean": self.mean, "interval_low": low, "interval_high": high}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class ScoredRun:
    """A run whose images and scores are those that it stored.

    Attributes:
        directory: where it is.
        manifest: what it says of itself.
        samples: those that were run, failed ones included, in the run's order.
        digests: SHA-256 of the stored PNG by sample id.
        values: by metric, one for each sample; finite or None.
        statuses: by metric, one for each sample.
        summary: by metric.
    """

    directory: RunDirectory
    manifest: Manifest
    samples: Sequence[ScoredSample]
    digests: Mapping[str, str | None]
    values: Mapping[str, Sequence[float | None]]
    statuses: Mapping[str, Sequence[str]]
    summary: Mapping[str, MetricSummary]

    @property
    def label(self) -> str:
        """A name for files and menus: method, dataset, config hash, in plain characters."""
        config = self.manifest.config
        return "-".join(
            re.sub(r"[^A-Za-z0-9_]+", "-", part).strip("-")
            for part in (config.method, config.dataset, self.manifest.config_hash)
        )

    @property
    def counts(self) -> dict[str, int]:
        """Samples: of the manifest, made, failed, never run."""
        made = sum(sample.status == "ok" for sample in self.samples)
        return {
            "expected": len(self.manifest.sample_ids),
            "ok": made,
            "failed": len(self.samples) - made,
            "missing": len(self.manifest.sample_ids) - len(self.samples),
        }

    @property
    def status(self) -> Status:
        return "partial" if self.counts["missing"] else "complete"

    def rows(self, metrics: Iterable[str]) -> Iterator[Row]:
        """One for each sample: ``COLUMNS``, then ``<metric>`` and ``<metric>_status``.

        A metric that the run was not scored with is None, and so is its status.
        """
        config = self.manifest.config
        run = {
            "method": config.method, "dataset": config.dataset, "stand_in": config.stand_in,
            "protocol": config.protocol, "config_hash": self.manifest.config_hash,
            "seed": config.seed, "run_status": self.status,
        }  # fmt: skip
        names = list(metrics)
        for place, sample in enumerate(self.samples):
            known = {
                **run, **vars(sample),
                "seconds": finite(sample.seconds),
                "peak_memory_mib": finite(sample.peak_memory_mib),
                "output_sha256": self.digests.get(sample.sample_id),
            }  # fmt: skip
            row = {name: known[name] for name in COLUMNS}
            for name in names:
                scored = name in self.values
                row[name] = self.values[name][place] if scored else None
                row[f"{name}_status"] = self.statuses[name][place] if scored else None
            yield row

    def source_pngs(self) -> Iterator[bytes]:
        """The content image of each sample, in order. Holds those alone that are still needed.

        Raises:
            RunDirectoryError: an image is not there.
        """
        needed = Counter(sample.image_id for sample in self.samples)
        held: dict[str, bytes] = {}
        stored = _stored_sources(self.directory.sources_path)
        for sample in self.samples:
            while sample.image_id not in held:
                try:
                    image_id, png = next(stored)
                except StopIteration:
                    raise RunDirectoryError(
                        f"{self.directory.sources_path} has no image {sample.image_id!r}; run the "
                        f"command of the run again"
                    ) from None
                if needed[image_id]:
                    held[image_id] = png
            yield held[sample.image_id]
            needed[sample.image_id] -= 1
            if not needed[sample.image_id]:
                del held[sample.image_id]


def _stored_sources(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(SOURCES_READ, columns=["image_id", "png"]):
                yield from zip(*(batch[name].to_pylist() for name in ("image_id", "png")),
                               strict=True)  # fmt: skip
    except (OSError, pa.ArrowException) as error:
        raise RunDirectoryError(f"{path} cannot be read: {error}") from error


def finite(value: float | None) -> float | None:
    """None for what is no finite number."""
    return value if value is not None and math.isfinite(value) else None


def metric_names(runs: Iterable[ScoredRun]) -> list[str]:
    """Metrics of all runs, in the order in which they first occur.

    Raises:
        UsageError: a metric has the name of another column.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.values))
    columns = [*COLUMNS, "source_image", "output_image", *names, *(f"{n}_status" for n in names)]
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if twice:
        raise UsageError(
            f"a metric makes a column that is there already ({', '.join(twice)}): score the run "
            f"without it (`bench score --metrics ...`)"
        )
    return names
