"""Measures one run in a process of its own, for :mod:`tests.golden.compare_official`.

``python -m tests.golden.official_runs.child METHOD official|ours seconds|peak [--NAME DIR ...]``
prints one number: CPU seconds per picture (median over repeats after a warm-up) or MiB of peak
memory above what the process held when the models were loaded and a short run had been made.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

REPEATS = 3
SHORT = 2  # steps of a warm-up


def _resident(field: str) -> float:
    """MiB of the process by a field of /proc: ``VmRSS`` now, ``VmHWM`` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _settled() -> float:
    """MiB held after what was freed is given back; the peak starts anew."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def seconds(job: Any, steps: int) -> float:
    start = 0.0

    def ready() -> None:
        nonlocal start
        start = time.process_time()

    job(SHORT, ready)
    found = []
    for _ in range(REPEATS):
        job(steps, ready)
        found.append(time.process_time() - start)
    return median(found)


def peak(job: Any, steps: int) -> float:
    held = 0.0

    def ready() -> None:
        nonlocal held
        held = _settled()

    job(SHORT, ready)
    job(steps, ready)
    return _resident("VmHWM") - held


def main() -> None:
    method, side, what, *flags = sys.argv[1:]
    # upstream.checkouts reads the rest
    sys.argv = [sys.argv[0], *flags]
    from tests.golden.official_runs import RUNS
    from tests.golden.upstream import checkouts

    folders = {name: path.resolve() for name, path in checkouts(*_names(flags)).items()}
    run = import_module(f"tests.golden.official_runs.{RUNS[method]}")
    job = run.official(folders) if side == "official" else run.ours()
    sys.stdout.write(f"{(seconds if what == 'seconds' else peak)(job, run.STEPS):.3f}\n")


def _names(flags: list[str]) -> list[str]:
    return [flag.removeprefix("--") for flag in flags[::2]]


if __name__ == "__main__":
    main()
