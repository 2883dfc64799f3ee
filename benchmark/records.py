"""What a run directory holds as JSON: the manifest, a record of each finished chunk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from benchmark.config import ResolvedRun
from benchmark.scoring import ScoredSample

SCHEMA_VERSION = 2


class SampleRecord(BaseModel):
    """One sample of a finished chunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_id: str
    image_id: str
    prompt_id: str
    prompt: str | None
    source_prompt: str
    domain: str
    status: Literal["ok", "failed"]
    reason: str | None = None
    sha256: str | None = None


class ChunkRecord(BaseModel):
    """A finished chunk.

    Attributes:
        seconds: time of ``stylize`` for the whole chunk, without preparation.
        warm: whether the process had finished a chunk before.
        energy_joules: what the accelerator took meanwhile; None where it cannot be read.
        preparation_seconds: seconds of training of the fine-tuned weights that this chunk used, by
            their hash (chunks that share weights name the same); None if the method tunes nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk: int
    samples: tuple[SampleRecord, ...]
    seconds: float
    peak_memory_mib: float
    warm: bool
    rank: int
    energy_joules: float | None = None
    preparation_seconds: dict[str, float] | None = None


class Manifest(BaseModel):
    """What a run is and how it was executed.

    Attributes:
        smoke: whether the models had random weights, so that no picture and no score means
            anything.
        files: SHA-256 of the derived files (``scores.parquet``, ...) by name, so that a change to
            them is seen; empty before the first scoring and for runs of schema 1.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    smoke: bool = False
    config: ResolvedRun
    config_hash: str
    status: Literal["running", "partial", "complete"] = "running"
    stand_in_note: str | None = None
    dataset: dict[str, Any]
    models: dict[str, dict[str, Any]]
    sample_ids: list[str]
    batch_size: int
    execution: dict[str, Any]
    versions: dict[str, str | None]
    git_revision: str | None
    hardware: dict[str, Any]
    command: list[str]
    started: str
    finished: str | None = None
    timings: dict[str, float] = {}
    counts: dict[str, int] = {}
    files: dict[str, str] = {}


def _share(total: float | None, record: ChunkRecord) -> float | None:
    return None if total is None else total / len(record.samples)


def merge_samples(
    sample_ids: Sequence[str], chunks: Mapping[int, ChunkRecord]
) -> list[ScoredSample]:
    """Samples of all finished chunks, in the run's order.

    Each chunk's time is shared evenly among its samples, that of a fine-tuning among all samples
    of the chunks that used it.
    """
    users: Counter[str] = Counter()
    for record in chunks.values():
        users.update(dict.fromkeys(record.preparation_seconds or (), len(record.samples)))
    found: dict[str, ScoredSample] = {}
    for record in chunks.values():
        tuning = record.preparation_seconds
        preparation = (
            None if tuning is None
            else math.fsum(seconds / users[key] for key, seconds in tuning.items())
        )  # fmt: skip
        for sample in record.samples:
            found[sample.sample_id] = ScoredSample(
                **sample.model_dump(exclude={"sha256"}),
                seconds=record.seconds / len(record.samples),
                peak_memory_mib=record.peak_memory_mib,
                warm=record.warm,
                energy_joules=_share(record.energy_joules, record),
                preparation_seconds=preparation,
            )
    return [found[sample_id] for sample_id in sample_ids if sample_id in found]
