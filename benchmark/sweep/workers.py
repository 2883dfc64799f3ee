"""Worker processes of a sweep, one for each device; each takes the next run when it is free."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from benchmark.errors import UsageError
from benchmark.files import explain_write_errors
from benchmark.sweep.messages import ATTEMPT, CACHE_VARIABLE, OPTIONS
from benchmark.sweep.plan import PlannedRun
from benchmark.sweep.session import Attempt

STOPPING_SECONDS = 60.0  # a worker finishes writing its manifest


def device_list(accelerator: str, devices: str | None, jobs: int | None) -> list[str]:
    """What each worker passes on as ``--devices``; empty for a sweep in this process.

    Args:
        accelerator: auto, cpu or gpu.
        devices: ids of accelerators with commas, or None for all that there are.
        jobs: processes on a CPU, or None for one.

    Raises:
        UsageError: ids on a CPU, jobs on accelerators, or an id that does not exist.
    """
    count = _accelerators() if accelerator in {"auto", "gpu", "cuda"} else 0
    if count == 0:
        if devices is not None:
            raise UsageError(
                f"--devices {devices}: there is no accelerator to choose with --accelerator "
                f"{accelerator}; on a CPU give --jobs instead"
            )
        return ["1"] * jobs if jobs is not None and jobs > 1 else []
    if jobs is not None:
        raise UsageError(f"--jobs {jobs} is for a CPU; choose accelerators with --devices 0,1")
    try:
        ids = list(range(count)) if devices is None else [int(part) for part in devices.split(",")]
    except ValueError:
        raise UsageError(f"--devices {devices!r}: expected ids like 0,1") from None
    wrong = [number for number in ids if not 0 <= number < count]
    if wrong or len(set(ids)) != len(ids):
        raise UsageError(
            f"--devices {devices}: the accelerators here are 0 to {count - 1}, each once"
        )
    return [f"{number}," for number in ids]


def _accelerators() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def in_processes(
    pending: Sequence[PlannedRun], devices: Sequence[str], cache_bytes: int, logs: Path,
    began: Callable[[PlannedRun], None],
) -> Generator[tuple[PlannedRun, Attempt]]:  # fmt: skip
    """Make runs on several devices, yielding each as it ends.

    When it is closed, or left by an exception, runs in flight are stopped as by Ctrl-C: their
    finished chunks stay.

    Args:
        devices: for each worker what ``--devices`` of ``bench run`` takes.
        cache_bytes: of each worker's cache.
        logs: folder that takes the workers' stderr.
    """
    waiting = deque(pending)
    ended: queue.Queue[tuple[_Worker, Attempt]] = queue.Queue()
    workers = [
        _Worker(number, device, cache_bytes, logs, ended)
        for number, device in enumerate(devices[: len(pending)])
    ]
    try:
        for worker in workers:
            _next(worker, waiting, began)
        while any(worker.run is not None for worker in workers):
            worker, attempt = ended.get()
            run = worker.run
            assert run is not None
            worker.run = None
            yield run, attempt
            _next(worker, waiting, began)
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.wait()


def _next(worker: _Worker, waiting: deque[PlannedRun], began: Callable[[PlannedRun], None]) -> None:
    if waiting and worker.alive:
        run = waiting.popleft()
        began(run)
        worker.give(run)


class _Worker:
    """A process and the thread that listens to it."""

    def __init__(
        self, number: int, device: str, cache_bytes: int, logs: Path,
        ended: queue.Queue[tuple[_Worker, Attempt]],
    ) -> None:  # fmt: skip
        self.run: PlannedRun | None = None
        self.alive = True
        self._device = device
        self._ended = ended
        self._log = logs / f"worker-{number}.log"
        with explain_write_errors(self._log):
            logs.mkdir(parents=True, exist_ok=True)
            log = self._log.open("ab")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmark.sweep.worker", *sys.argv[1:]],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, CACHE_VARIABLE: str(cache_bytes)},
                # Ctrl-C reaches the sweep alone, which then stops each worker once
                start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def give(self, run: PlannedRun) -> None:
        """Have a run made."""
        self.run = run
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(
                OPTIONS.dump_json(replace(run.options, devices=self._device)) + b"\n"
            )
            self._process.stdin.flush()
        except BrokenPipeError:
            self.alive = False  # the listener tells how it ended

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                attempt = ATTEMPT.validate_json(line)
            except ValidationError:
                attempt = Attempt("failed", f"its worker answered {line[:100]!r}", 0.0)
            self._ended.put((self, attempt))
        code = self._process.wait()
        self.alive = False
        if self.run is not None:
            reason = f"its worker ended with exit code {code}; see {self._log}"
            self._ended.put((self, Attempt("failed", reason, 0.0)))

    def stop(self) -> None:
        """Let it end. Without anyone to answer, the worker interrupts a run in flight itself."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def wait(self) -> None:
        try:
            self._process.wait(STOPPING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
