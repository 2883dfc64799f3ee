"""The runs of a sweep, resolved down to their config hashes before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.config import ResolvedRun
from benchmark.errors import RunDirectoryError, UsageError
from benchmark.launch import RunOptions
from benchmark.run import RunDirectory
from benchmark.sweep.file import SweepFile
from benchmark.sweep.session import Session
from benchmark.targets import TargetOptions


@dataclass(frozen=True)
class RunRequest:
    """A run that is asked for, before it is known whether it can be.

    Attributes:
        options: as ``bench run`` takes them.
        settings: the values that tell it from its neighbours, by config key.
        place: where they are written, for messages.
    """

    options: RunOptions
    settings: dict[str, Any]
    place: str


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep.

    Attributes:
        options: as ``bench run`` takes them.
        resolved: all that decides its pixels.
        sample_ids: what it will make.
        batch_size: samples of a chunk.
        settings: of each request that asks for it; equal ones are merged.
    """

    options: RunOptions
    resolved: ResolvedRun
    sample_ids: tuple[str, ...]
    batch_size: int
    settings: tuple[dict[str, Any], ...]

    @property
    def config_hash(self) -> str:
        return self.resolved.config_hash

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.resolved.directory(self.options.out)

    @property
    def label(self) -> str:
        """Method, dataset, seed and settings in one line."""
        told = ", ".join(f"{key}={value}" for key, value in self.settings[0].items())
        name = f"{self.resolved.method} / {self.resolved.dataset} / seed {self.resolved.seed}"
        return f"{name} ({told})" if told else name

    def finished_samples(self) -> int:
        """How many samples are on disk.

        Raises:
            RunDirectoryError: the run directory is damaged, or holds other samples.
        """
        directory = RunDirectory(self.path)
        if not directory.manifest_path.is_file():
            return 0
        manifest = directory.read_manifest()
        if tuple(manifest.sample_ids) != self.sample_ids:
            raise RunDirectoryError(f"{self.path} holds a run over other samples")
        return sum(len(record.samples) for record in directory.completed_chunks().values())

    def is_complete(self) -> bool:
        """Made and scored, and not changed since; what cannot be read is not complete."""
        try:
            if self.finished_samples() != len(self.sample_ids):
                return False
            directory = RunDirectory(self.path)
            manifest = directory.read_manifest()
        except RunDirectoryError:
            return False
        sealed = {directory.scores_path.name, directory.summary_path.name} <= set(manifest.files)
        return manifest.status == "complete" and sealed and not directory.changed_files(manifest)


@dataclass(frozen=True)
class Plan:
    """Runs in the order in which they are made, each once.

    Attributes:
        name: of the sweep.
    """

    name: str
    runs: tuple[PlannedRun, ...]

    @property
    def n_samples(self) -> int:
        return sum(len(run.sample_ids) for run in self.runs)


@dataclass(frozen=True)
class Shard:
    """One machine's share of a sweep: number ``index`` (from 1) of ``count``."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/3``, the second of three.

        Raises:
            UsageError: not of that form, or beyond the count.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text!r}: expected i/n with i from 1 to n, for example 1/3")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, hashes: Sequence[str]) -> set[str]:
        """Its part of the config hashes, whatever their order; the shards cover each once."""
        return set(sorted(set(hashes))[self.index - 1 :: self.count])


def requests_of(
    file: SweepFile, path: Path, *, runs: Path, weights_dir: Path | None, accelerator: str
) -> list[RunRequest]:
    """The runs that a sweep's file asks for, in its order."""
    target = TargetOptions(
        prompts=file.prompt_selection, style_images=file.style_images,
        style_dataset=file.style_dataset, style_limit=file.style_limit, mixes=file.mixes,
    )  # fmt: skip
    found = []
    for method in file.methods:
        for dataset in file.datasets:
            for seed in file.seeds:
                for place, point in file.points():
                    settings = [
                        *((key, value, f"{path}: config") for key, value in file.config.items()),
                        *((key, value, f"{path}: {place}") for key, value in point.items()),
                    ]
                    options = RunOptions(
                        method=method, dataset=dataset, protocol=file.protocol, target=target,
                        source_prompt=None, guide=None, images=file.images_of(dataset),
                        limit=file.limit,
                        on_bad_image="fail", seed=seed, config=None, assignments=(),
                        weights_dir=weights_dir, out=runs, existing="resume",
                        accelerator=accelerator, devices="1", strategy="auto", num_nodes=1,
                        precision=file.precision, batch_size=file.batch_size, source=file.source,
                        settings=tuple(settings),
                    )  # fmt: skip
                    found.append(RunRequest(options, dict(point), f"{path}: {place}"))
    return found


def plan_runs(name: str, requests: Sequence[RunRequest], session: Session) -> Plan:
    """Resolve every run; requests that come to the same run are merged.

    Raises:
        UsageError: a name, key or value that cannot be; the message names where it was written.
    """
    found: dict[str, PlannedRun] = {}
    for request in requests:
        try:
            resolved, sample_ids, batch_size = session.resolve(request.options)
        except UsageError as error:
            told = ", ".join(f"{key}={value}" for key, value in request.settings.items())
            what = f"{request.place}: {told}: " if told else f"{request.place}: "
            file = request.place.partition(": ")[0]
            raise UsageError(str(error) if file in str(error) else f"{what}{error}") from error
        run = PlannedRun(request.options, resolved, sample_ids, batch_size, (request.settings,))
        twin = found.get(run.config_hash)
        if twin is not None:
            if twin.batch_size != batch_size or twin.sample_ids != sample_ids:
                raise UsageError(f"{request.place}: the same run with other samples or chunks")
            if request.settings not in twin.settings:
                run = replace(twin, settings=(*twin.settings, request.settings))
            else:
                run = twin
        found[run.config_hash] = run
    return Plan(name, tuple(found.values()))
