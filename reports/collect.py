"""Finds run directories, reads them, and tells which of them can be trusted."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmark.errors import (
    BenchError,
    DataError,
    RunDirectoryError,
    SmokeRunError,
    UsageError,
)
from benchmark.files import sha256_of
from benchmark.records import Manifest
from benchmark.run import RunDirectory

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
State = Literal["complete", "incomplete"]
Progress = Callable[[int, int], None]

MOST_SHOWN = 20  # damaged files that a message names


@dataclass(frozen=True)
class MetricScores:
    """One metric over a run's samples.

    Attributes:
        version: of the metric.
        values: [N] float64 in the order of the manifest's sample ids; NaN where there is none.
        statuses: how many samples have which status other than ``ok`` (``failed: reason`` counts as
            ``failed``).
    """

    version: int
    values: Floats
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class CollectedRun:
    """A run directory, read and checked.

    Attributes:
        path: of the directory.
        manifest: what it says of itself.
        manifest_sha256: of the manifest's bytes.
        state: ``incomplete`` if samples of the manifest were not made or not scored.
        image_ids: [N] content image of each sample of the manifest.
        prompt_ids: [N]
        made: [N] whether the sample has an output.
        failures: (sample id, reason) of what the method could not make.
        scores: by metric.
        summary: of the run, as stored; empty if it was never scored.
        profile: what ``bench profile --out`` stored for the method, if anything.
        distribution: what ``bench distribution`` stored in the run, if anything.
        notes: what a reader should know, in words.
    """

    path: Path
    manifest: Manifest
    manifest_sha256: str
    state: State
    image_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    made: npt.NDArray[np.bool_]
    failures: tuple[tuple[str, str], ...]
    scores: Mapping[str, MetricScores]
    summary: Mapping[str, Any]
    profile: Mapping[str, Any] | None = None
    distribution: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def method(self) -> str:
        return self.manifest.config.method

    @property
    def n_made(self) -> int:
        return int(self.made.sum())


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Run directories among ``paths`` and below them, sorted, each once.

    A folder that holds a ``manifest.json`` is a run; what lies below it is not searched.

    Raises:
        UsageError: a path does not exist, or has no run in or below it.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder: give run directories or folders of them")
        below = set(_runs_below(path))
        if not below:
            raise UsageError(
                f"there is no run in or below {path}: `bench run --out {path}` would make one"
            )
        found |= below
    return sorted(found)


def _runs_below(path: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(path):
        if "manifest.json" in files:
            subfolders.clear()
            yield Path(folder)
        subfolders.sort()


def collect(
    paths: Sequence[Path], *, verify_images: bool = True, progress: Progress | None = None
) -> list[CollectedRun]:
    """Read all runs in and below ``paths``. Smoke runs are left out, each with a warning.

    Args:
        verify_images: compare every stored image with the hash in its chunk record.
        progress: called with (runs read, runs in all).

    Raises:
        UsageError: no run there.
        SmokeRunError: nothing but smoke runs there.
        RunDirectoryError: runs that cannot be read or were changed after they were scored; the
            message names them all, since a leaderboard must not leave any out in silence.
    """
    runs, problems, left_out = [], [], []
    found = find_runs(paths)
    for number, path in enumerate(found, start=1):
        try:
            runs.append(read_run(path, verify_images=verify_images))
        except SmokeRunError as error:
            left_out.append(error)
            log.warning("left out: %s", error)
        except BenchError as error:
            problems.append(str(error))
        if progress is not None:
            progress(number, len(found))
    if problems:
        raise RunDirectoryError(
            "\n".join([*_first(problems), "Mend these runs, or move them away, and try again."])
        )
    if left_out and not runs:
        raise left_out[0]
    return runs


def read_run(path: Path, *, verify_images: bool = True) -> CollectedRun:
    """One run directory.

    Raises:
        RunDirectoryError: it is no run, of an unknown schema, damaged, or its images or scores are
            not those that were stored (each file named).
    """
    directory = RunDirectory(path)
    manifest = directory.read_manifest()
    _require_unchanged(directory, manifest)
    image_ids, prompt_ids = _ids(manifest)
    samples = _rows(directory.samples_path, ("sample_id", "status", "reason"))
    by_id = {row["sample_id"]: row for row in samples}
    strange = sorted(set(by_id) - set(manifest.sample_ids))
    if strange or len(by_id) != len(samples):
        what = strange[0] if strange else "one sample twice"
        raise RunDirectoryError(
            f"{directory.samples_path} lists {what}, which the manifest does not; score the run "
            f"again with `bench score {path}`"
        )
    made = np.array([
        sample in by_id and by_id[sample]["status"] == "ok" for sample in manifest.sample_ids
    ], dtype=np.bool_)  # fmt: skip
    if verify_images:
        _require_images(directory, manifest, made)
    scores = _scores(directory, manifest)
    notes = []
    if not manifest.files:
        notes.append("written before derived files were sealed: changes to its scores go unseen")
    missing = sum(sample not in by_id for sample in manifest.sample_ids)
    if missing:
        notes.append(f"{missing} of {len(manifest.sample_ids)} samples were never run")
    if not scores:
        notes.append("not scored")
    return CollectedRun(
        path=path,
        manifest=manifest,
        manifest_sha256=sha256_of(directory.manifest_path),
        state="incomplete" if missing or not scores else "complete",
        image_ids=image_ids,
        prompt_ids=prompt_ids,
        made=made,
        failures=tuple(
            (sample, by_id[sample]["reason"] or "no reason was recorded")
            for sample in manifest.sample_ids
            if sample in by_id and by_id[sample]["status"] != "ok"
        ),
        scores=scores,
        summary=_json(directory.summary_path) or {},
        profile=_json(path.parent / "profile.json"),
        distribution=_json(path / "distribution.json"),
        notes=tuple(notes),
    )


def _require_unchanged(directory: RunDirectory, manifest: Manifest) -> None:
    changed = directory.changed_files(manifest)
    if changed:
        raise RunDirectoryError(
            f"{', '.join(str(path) for path in changed)}: the bytes are not those whose SHA-256 "
            f"the manifest holds. Score the run again with `bench score {directory.path}`."
        )
    if manifest.config_hash != manifest.config.config_hash:
        raise RunDirectoryError(
            f"{directory.manifest_path}: its config has the hash {manifest.config.config_hash}, "
            f"but it says {manifest.config_hash}: the file was edited"
        )


def _ids(manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Content image and prompt of each sample id (``<image_id>__<prompt_id>``)."""
    known = sorted((prompt.id for prompt in manifest.config.prompts), key=len, reverse=True)
    images, prompts = [], []
    for sample in manifest.sample_ids:
        prompt = next((name for name in known if sample.endswith(f"__{name}")), None)
        if prompt is None:
            raise RunDirectoryError(f"the manifest lists {sample}, which has none of its prompts")
        images.append(sample[: -len(prompt) - 2])
        prompts.append(prompt)
    return tuple(images), tuple(prompts)


def _require_images(
    directory: RunDirectory, manifest: Manifest, made: npt.NDArray[np.bool_]
) -> None:
    digests = {
        sample.sample_id: sample.sha256
        for record in directory.read_chunks()
        for sample in record.samples
    }
    bad = []
    for sample_id in np.asarray(manifest.sample_ids)[made].tolist():
        path = directory.image_path(sample_id)
        if not path.is_file():
            bad.append(f"{path}: the image is missing")
        elif sha256_of(path) != digests.get(sample_id):
            bad.append(f"{path}: the image is not the one that the run stored (SHA-256 differs)")
    if bad:
        raise RunDirectoryError("\n".join(_first(bad)))


def _scores(directory: RunDirectory, manifest: Manifest) -> dict[str, MetricScores]:
    if not directory.scores_path.is_file():
        return {}
    columns = ("sample_id", "metric", "value", "status", "metric_version")
    place = {sample: number for number, sample in enumerate(manifest.sample_ids)}
    values: dict[str, Floats] = {}
    statuses: dict[str, dict[str, int]] = {}
    versions: dict[str, int] = {}
    for row in _rows(directory.scores_path, columns):
        name, sample = row["metric"], row["sample_id"]
        if sample not in place:
            raise RunDirectoryError(
                f"{directory.scores_path} scores {sample}, which the manifest does not list; score "
                f"the run again with `bench score {directory.path}`"
            )
        if name not in values:
            values[name] = np.full(len(place), np.nan)
            statuses[name], versions[name] = {}, row["metric_version"]
        if row["value"] is not None:
            values[name][place[sample]] = row["value"]
        if row["status"] != "ok":
            kind = row["status"].partition(":")[0]
            statuses[name][kind] = statuses[name].get(kind, 0) + 1
    for name, column in values.items():
        if np.isinf(column).any():
            raise RunDirectoryError(
                f"{directory.scores_path} holds infinite values of {name}; score the run again "
                f"with `bench score {directory.path}`"
            )
    return {name: MetricScores(versions[name], values[name], statuses[name]) for name in values}


def _rows(path: Path, columns: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of a Parquet file; none if it is not there."""
    if not path.is_file():
        return []
    try:
        return list(pq.read_table(path, columns=list(columns)).to_pylist())
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise RunDirectoryError(f"{path} cannot be read: {error}") from error


def _json(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{path} is not a JSON object")
    return loaded


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_SHOWN
    return [*lines[:MOST_SHOWN], *([f"... and {more} more"] if more > 0 else [])]
