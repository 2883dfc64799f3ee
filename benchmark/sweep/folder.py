"""The folder of a sweep: ``sweep.json``, and who may write."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import RunDirectoryError
from benchmark.files import explain_write_errors, write_atomically
from benchmark.sweep.plan import Plan, PlannedRun, Shard

NAME = "sweep.json"

State = Literal["planned", "running", "complete", "partial", "failed", "interrupted"]


class SweepRun(BaseModel):
    """A run as ``sweep.json`` lists it.

    Attributes:
        path: of the run directory, from the sweep's folder.
        settings: of each point that comes to this run.
        state: when it was last heard of. ``running`` may be what a killed sweep left behind: the
            run directory is what counts.
        seconds: of the last attempt, scoring included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config_hash: str
    method: str
    dataset: str
    seed: int
    settings: list[dict[str, Any]]
    samples: int
    path: str
    state: State = "planned"
    reason: str | None = None
    seconds: float | None = None


class SweepRecord(BaseModel):
    """``sweep.json``.

    Attributes:
        file_sha256: of the bytes of the sweep's file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    file_sha256: str
    runs: list[SweepRun]


class SweepFolder:
    """Access to a sweep's folder. Shards of a sweep may write in one folder at once.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_path = path / NAME

    @contextmanager
    def lock(self, shard: Shard) -> Iterator[None]:
        """Hold a shard of the sweep. The lock goes with the process, also when it is killed.

        Raises:
            RunDirectoryError: another process holds it.
        """
        with explain_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / f".sweep-{shard.index}-of-{shard.count}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout as error:
                raise RunDirectoryError(
                    f"another process works on the sweep in {self.path}. Wait for it, take another "
                    f"--shard, or choose another folder with --out."
                ) from error
        try:
            yield
        finally:
            lock.release()

    def require_same(self, plan: Plan, file_sha256: str) -> None:
        """Refuse a folder that holds another sweep.

        Raises:
            RunDirectoryError: the runs differ; the message says how, and what may be the cause.
        """
        if not self.record_path.is_file():
            return
        old = self.read()
        there = {run.config_hash for run in old.runs}
        wanted = {run.config_hash for run in plan.runs}
        if there == wanted:
            return
        cause = (
            "the file is the same, so weights, images, prompts or the version of stylebench changed"
            if old.file_sha256 == file_sha256
            else "the file is another, or was edited since"
        )
        raise RunDirectoryError(
            f"{self.path} holds another sweep ({old.name}, {len(there)} runs): "
            f"{len(wanted - there)} of the {len(wanted)} runs of this one are not in it, and "
            f"{len(there - wanted)} of its runs are not in this one; {cause}. Choose another "
            f"folder with --out; finished runs are reused where both name the same folder of runs."
        )

    def open(self, plan: Plan, file_sha256: str) -> None:
        """Write the plan, or take up the sweep that is there. What :meth:`require_same` raises."""
        with self._editing():
            self.require_same(plan, file_sha256)
            if not self.record_path.is_file():
                self._write(
                    SweepRecord(
                        name=plan.name,
                        file_sha256=file_sha256,
                        runs=[self._planned(run) for run in plan.runs],
                    )
                )

    def record(
        self, config_hash: str, state: State, reason: str | None = None,
        seconds: float | None = None,
    ) -> None:  # fmt: skip
        """Note how a run stands."""
        news = {"state": state, "reason": reason, "seconds": seconds}
        with self._editing():
            old = self.read()
            runs = [
                run.model_copy(update=news) if run.config_hash == config_hash else run
                for run in old.runs
            ]
            self._write(old.model_copy(update={"runs": runs}))

    def read(self) -> SweepRecord:
        """What is recorded.

        Raises:
            RunDirectoryError: missing or damaged.
        """
        try:
            return SweepRecord.model_validate_json(self.record_path.read_bytes())
        except (OSError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise RunDirectoryError(
                f"{self.record_path} cannot be read: {reason}. Remove it and start the sweep "
                f"again; finished runs are kept."
            ) from error

    @contextmanager
    def _editing(self) -> Iterator[None]:
        with explain_write_errors(self.path):
            lock = FileLock(self.path / ".sweep-record.lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _planned(self, run: PlannedRun) -> SweepRun:
        config = run.resolved
        return SweepRun(
            config_hash=run.config_hash, method=config.method, dataset=config.dataset,
            seed=config.seed, settings=list(run.settings), samples=len(run.sample_ids),
            path=os.path.relpath(run.path, self.path),
        )  # fmt: skip

    def _write(self, record: SweepRecord) -> None:
        text = json.dumps(record.model_dump(mode="json"), indent=2) + "\n"
        write_atomically(self.record_path, text.encode())
