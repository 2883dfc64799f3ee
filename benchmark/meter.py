"""Seconds and peak memory of a stretch of work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Reading:
    """What a stretch of work took.

    Attributes:
        seconds: of wall time; work that the GPU still had to do is waited for.
        peak_memory_mib: on a GPU, the greatest memory that PyTorch held there; on a CPU, the
            greatest memory of the process. Where the system cannot start its record anew (outside
            Linux), the latter is that of the process so far.
    """

    seconds: float = 0.0
    peak_memory_mib: float = 0.0


@contextmanager
def metered(device: torch.device, reading: Reading | None = None) -> Iterator[Reading]:
    """Read time and memory of what is done inside; the reading is complete at the end."""
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _forget_peak()
    reading = reading if reading is not None else Reading()
    start = time.perf_counter()
    try:
        yield reading
    finally:
        if on_cuda:
            torch.cuda.synchronize(device)
        reading.seconds = time.perf_counter() - start
        reading.peak_memory_mib = peak_memory_mib(device)


def peak_memory_mib(device: torch.device) -> float:
    """Peak so far, as :class:`Reading` has it."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    return process_peak_mib()


def process_peak_mib() -> float:
    """Greatest resident memory of this process in MiB, since it was last forgotten."""
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    windows = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if windows is not None:
        return float(windows) / 2**20
    import resource  # Unix alone has it

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _forget_peak() -> None:
    """Set the record of the process's peak to what it holds now, where Linux allows it."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return
