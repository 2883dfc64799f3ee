"""Seconds by phase, for ``bench profile``. Costs nothing while no timer is active."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_active: ContextVar[PhaseTimer | None] = ContextVar("phase_timer", default=None)


class PhaseTimer:
    """Sums the seconds of named phases over all threads; phases must not nest."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        """Count seconds of a phase."""
        with self._lock:
            self.seconds[name] += seconds

    @contextmanager
    def active(self) -> Iterator[PhaseTimer]:
        """Collect the phases entered inside."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Attribute the time inside to ``name`` if a timer is active."""
    timer = _active.get()
    if timer is None:
        yield
        return
    start = _now()
    try:
        yield
    finally:
        timer.add(name, _now() - start)
