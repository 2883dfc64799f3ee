"""What a comparison needs of a run: its manifest, what scored it, and every sample's scores."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from benchmark import registry
from benchmark.config import Protocol, canonical_json, load_protocol
from benchmark.errors import RunDirectoryError
from benchmark.records import Manifest
from benchmark.run import RunDirectory

Floats = npt.NDArray[np.float64]


class Facts(BaseModel):
    """All of a run but its samples.

    Attributes:
        manifest: of the run; its ``command``, times, files and machine are left out, since they
            decide no score and differ wherever the run is made again.
        protocol: what the protocol's name stands for beyond models and prompts, which the manifest
            holds: resolution, filter, prompt set and the hash of its prompts, which are ranked by
            retrieval.
        metric_versions: by metric.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Manifest
    protocol: dict[str, Any]
    metric_versions: dict[str, int]


@dataclass(frozen=True)
class Record:
    """A run's scores by sample.

    Attributes:
        facts: what the run is.
        image_ids: [N] content image of each sample of the manifest, in its order.
        prompt_ids: [N]
        values: by metric, [N] float64; NaN where there is no value.
        statuses: by metric, [N]: ``ok``, ``no_face``, ``not_applicable`` or ``failed: <reason>``.
    """

    facts: Facts
    image_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    values: Mapping[str, Floats]
    statuses: Mapping[str, tuple[str, ...]]

    @property
    def sample_ids(self) -> list[str]:
        return self.facts.manifest.sample_ids

    @cached_property
    def failures(self) -> tuple[str | None, ...]:
        """[N] why a sample has no output or no score at all; None where nothing failed."""
        failed = "failed: "
        return tuple(
            next((s.removeprefix(failed) for s in found if s.startswith(failed)), None)
            for found in zip(*self.statuses.values(), strict=True)
        )


def record_of(path: Path) -> Record:
    """The scores of a finished run directory.

    Raises:
        RunDirectoryError: no run, one that is not finished or not scored, or one whose images or
            scores are not those that were stored.
    """
    directory = RunDirectory(path)
    manifest = directory.read_manifest()
    if manifest.config_hash != manifest.config.config_hash:
        raise RunDirectoryError(f"{directory.manifest_path} was edited: its config hash is wrong")
    changed = directory.changed_files(manifest)
    if changed:
        raise RunDirectoryError(
            f"{', '.join(str(file) for file in changed)}: the bytes are not those whose SHA-256 "
            f"the manifest holds. Score the run again with `bench score {path}`."
        )
    made = sum(len(chunk.samples) for chunk in directory.completed_chunks().values())
    if made != len(manifest.sample_ids):
        raise RunDirectoryError(
            f"{path} has {made} of its {len(manifest.sample_ids)} samples: the run was stopped, or "
            f"images were removed or changed. Finish it with the command that began it."
        )
    if not directory.scores_path.is_file():
        raise RunDirectoryError(f"{path} is not scored: `bench score {path}`")
    try:
        table = pq.read_table(directory.scores_path)
        versions = _versions(table)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors derive from these
        raise RunDirectoryError(f"{directory.scores_path} cannot be read: {error}") from error
    facts = Facts(
        manifest=without_the_machine(manifest),
        protocol=protocol_facts(load_protocol(manifest.config.protocol), manifest.config.dataset),
        metric_versions=versions,
    )
    try:
        return from_table(facts, table)
    except ValueError as error:
        raise RunDirectoryError(
            f"{directory.scores_path}: {error}. Score the run again with `bench score {path}`."
        ) from error


def without_the_machine(manifest: Manifest) -> Manifest:
    """A manifest less what is true of one execution alone; package versions stay."""
    return manifest.model_copy(
        update={
            "command": [], "started": "", "finished": None, "timings": {}, "files": {},
            "hardware": {"processor": manifest.hardware.get("processor")},
        }
    )  # fmt: skip


def protocol_facts(protocol: Protocol, dataset: str) -> dict[str, Any]:
    """What of a protocol decides scores on a dataset and stands in no manifest."""
    prompts = registry.load(registry.DATASETS, dataset).all_prompts(protocol.prompt_set)
    texts = canonical_json([[prompt.id, prompt.text] for prompt in prompts])
    return {
        "resolution": protocol.resolution,
        "resize_filter": protocol.resize_filter,
        "prompt_set": protocol.prompt_set,
        "prompt_set_sha256": hashlib.sha256(texts).hexdigest(),
    }


def from_table(facts: Facts, table: pa.Table) -> Record:
    """A record from rows of (sample_id, image_id, prompt_id, metric, value, status).

    Raises:
        ValueError: the rows are not exactly one for each metric and sample of the manifest.
    """
    place = {sample: number for number, sample in enumerate(facts.manifest.sample_ids)}
    n = len(place)
    images, prompts = [""] * n, [""] * n
    values = {name: np.full(n, np.nan) for name in facts.metric_versions}
    statuses = {name: [""] * n for name in facts.metric_versions}
    for row in table.to_pylist():
        sample, name = row["sample_id"], row["metric"]
        if sample not in place or name not in values:
            raise ValueError(f"a row of {name} for {sample}, which the manifest does not list")
        number = place[sample]
        if statuses[name][number]:
            raise ValueError(f"two rows of {name} for {sample}")
        images[number], prompts[number] = row["image_id"], row["prompt_id"]
        statuses[name][number] = row["status"]
        if row["value"] is not None:
            values[name][number] = row["value"]
    for name, found in statuses.items():
        if "" in found:
            sample = facts.manifest.sample_ids[found.index("")]
            raise ValueError(f"no row of {name} for {sample}")
        if np.isinf(values[name]).any():
            raise ValueError(f"an infinite value of {name}")
    return Record(
        facts, tuple(images), tuple(prompts), values,
        {name: tuple(found) for name, found in statuses.items()},
    )  # fmt: skip


def _versions(table: pa.Table) -> dict[str, int]:
    names, versions = table["metric"].to_pylist(), table["metric_version"].to_pylist()
    return dict(sorted(zip(names, versions, strict=True)))
