"""The processes of one run: who is alive, and what is missing when one is not.

Ranks share nothing but the run directory, so that is where they wait for each other. Each writes
a sign of life into ``.ranks`` there every few seconds; the first rank waits, after its own chunks,
until every other one is done, has failed, or has been silent for too long. A collective barrier
would wait for a dead rank as long as its timeout, which has to be days where ranks finish hours
apart.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from benchmark.environment import command_line
from benchmark.errors import BenchError, UsageError
from benchmark.files import write_atomically
from benchmark.run import RunDirectory

BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 60.0  # longer than a file server hides new files
PATIENCE_VARIABLE = "STYLEBENCH_RANK_PATIENCE"
_POLL_SECONDS = 0.2
_SHOWN = 20  # ranges of chunks that a message names
TERMINATED = 143  # exit code of a process ended by SIGTERM, as a shell reports it


class RankLostError(BenchError):
    """A process of the run died; what is finished is kept."""


@dataclass(frozen=True)
class SignOfLife:
    """What a rank says of itself.

    Attributes:
        state: ``running``, ``done`` or ``failed``.
        beat: rises while it lives.
        reason: why it failed.
    """

    rank: int
    host: str
    pid: int
    state: str = "running"
    beat: int = 0
    reason: str | None = None

    @property
    def where(self) -> str:
        return f"rank {self.rank} (process {self.pid} on {self.host})"


def patience() -> float:
    """Seconds of silence after which a rank is given up."""
    given = os.environ.get(PATIENCE_VARIABLE, str(PATIENCE_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > BEAT_SECONDS:
        raise UsageError(
            f"{PATIENCE_VARIABLE}={given}: give it seconds, more than the {BEAT_SECONDS:.0f} "
            "between two signs of life of a rank"
        )
    return seconds


class RankWatch(Callback):
    """Signs of life of this rank, and the first rank's wait for the others.

    Args:
        directory: of the run; all ranks see it.
        chunk_count: chunks of the whole run.

    Raises:
        UsageError: ``$STYLEBENCH_RANK_PATIENCE`` is no number of seconds above a rank's beat.
    """

    def __init__(self, directory: RunDirectory, chunk_count: int) -> None:
        self._directory = directory
        self._count = chunk_count
        self._patience = patience()
        self._beat = 0
        self._me: SignOfLife | None = None
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None
        self._children: list[Any] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """After the ranks have found each other, so that the first has opened the directory."""
        if not trainer.is_global_zero:
            module: Any = trainer.datamodule  # type: ignore[attr-defined]
            module.done = set(self._directory.finished_chunks())
        launcher: Any = trainer.strategy.launcher
        if getattr(launcher, "procs", None):
            # Lightning's observer kills all ranks without a word when one dies: it watches this
            # list, and ends when the list is empty
            self._children = list(launcher.procs)
            launcher.procs.clear()
            launcher.procs = self._children

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            # Lightning's handler starts a collective, in which a dead rank takes no part
            signal.signal(signal.SIGTERM, self._terminate)
        if trainer.world_size == 1:
            return
        self._me = SignOfLife(trainer.global_rank, socket.gethostname(), os.getpid())
        self._say("running")
        self._beating = threading.Thread(target=self._keep_beating, name="rank-beat", daemon=True)
        self._beating.start()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end("done")
        if trainer.is_global_zero and trainer.world_size > 1:
            wait_for_ranks(self._directory, trainer.world_size, self._count, self._patience)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._end("failed", " ".join(str(exception).split())[:300] or type(exception).__name__)
        self._end_children()

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self._end_children()
        raise SystemExit(TERMINATED)

    def _end_children(self) -> None:
        for process in self._children:
            process.terminate()

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._say("running")

    def _end(self, state: str, reason: str | None = None) -> None:
        self._stop.set()
        if self._beating is not None:
            self._beating.join()
            self._beating = None
            self._say(state, reason)

    def _say(self, state: str, reason: str | None = None) -> None:
        assert self._me is not None
        self._beat += 1
        said = SignOfLife(
            self._me.rank, self._me.host, self._me.pid, state, self._beat, reason
        )  # fmt: skip
        path = self._directory.ranks_path / f"{said.rank:05d}.json"
        write_atomically(path, json.dumps(asdict(said)).encode())


def wait_for_ranks(
    directory: RunDirectory, world_size: int, chunk_count: int, patience: float
) -> None:
    """Wait until no other rank will write a chunk any more.

    Raises:
        RankLostError: chunks are missing then, with their numbers and how to go on.
    """
    silent_since: dict[int, tuple[int, float]] = {}
    missing_since: float | None = None
    while True:
        now = time.monotonic()
        lost, waiting = [], False
        for rank in range(1, world_size):
            said = _heard(directory.ranks_path / f"{rank:05d}.json")
            if said is not None and said.state == "done":
                continue
            if said is not None and said.state == "failed":
                lost.append(f"{said.where} failed: {said.reason}")
                continue
            beat = said.beat if said is not None else 0
            if rank not in silent_since or silent_since[rank][0] != beat:
                silent_since[rank] = (beat, now)
            if now - silent_since[rank][1] < patience:
                waiting = True
                continue
            where = f"rank {rank}" if said is None else said.where
            lost.append(f"{where} has given no sign of life for {patience:.0f} s")
        missing = set() if waiting else directory.missing_chunks(chunk_count)
        if not waiting and not missing:
            return
        if missing:
            # a file server may show the last chunks of a rank later than its last word
            missing_since = now if missing_since is None else missing_since
            if lost or now - missing_since > patience:
                raise RankLostError(
                    ". ".join([*lost, still_missing(directory, chunk_count, missing)])
                )
        time.sleep(_POLL_SECONDS)


def still_missing(directory: RunDirectory, chunk_count: int, missing: Iterable[int]) -> str:
    """Which chunks of a run are missing, and the command that makes them."""
    numbers = sorted(missing)
    done = chunk_count - len(numbers)
    return (
        f"{done} of {chunk_count} chunks are finished in {directory.path}; missing: "
        f"{ranges(numbers)}. Run the same command again to continue: {shlex.join(command_line())}"
    )


def ranges(numbers: Iterable[int]) -> str:
    """Rising numbers in few words.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(low) if low == high else f"{low}-{high}" for low, high in runs]
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _heard(path: Path) -> SignOfLife | None:
    try:
        return SignOfLife(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def started_from_outside() -> bool:
    """Whether torchrun or SLURM has started several processes, rather than Lightning later."""
    return any(int(os.environ.get(key) or 1) > 1 for key in ("WORLD_SIZE", "SLURM_NTASKS"))
