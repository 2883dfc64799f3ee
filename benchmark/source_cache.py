"""What a content image alone decides, kept in memory: inversions, features, selected anchors.

A method asks for such a thing by a key that holds everything it depends on, so what is found is
what would be computed, to the last bit. Within a run the prompts of an image share it; a sweep
shares one cache among its runs, so that a key that does not touch the inversion costs none.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")

MIB = 2**20
RUN_BYTES = 64 * MIB  # of a method on its own: the image at hand and a few before it
SWEEP_BYTES = 512 * MIB  # 8 images of 64 pixels take 14 MiB, 40 of 256 pixels about 240

_shared: ContextVar[SourceCache | None] = ContextVar("source_cache", default=None)


@dataclass(frozen=True)
class _Entry:
    value: Any
    n_bytes: int
    seconds: float


class SourceCache:
    """The things last asked for, as many as fit into a number of bytes.

    Tensors stay on the device that made them, and nobody may write into them.

    Args:
        max_bytes: of all tensors together.
        largest: bytes of one thing; what is larger is not kept, lest a feature map that costs one
            pass pushes out many inversions. Default: a sixteenth of ``max_bytes``.

    Attributes:
        computed, found: how often a kind of thing was made, and how often it was there.
        owed: seconds that the things found took when an earlier run made them. They are added to
            the time of the run that finds them, so that a method looks no faster in a sweep.
    """

    def __init__(self, max_bytes: int, largest: int | None = None) -> None:
        self.max_bytes = max_bytes
        self.largest = max_bytes // 16 if largest is None else min(largest, max_bytes)
        self.computed: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.owed = 0.0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0
        self._paid: set[Hashable] = set()
        self._lock = threading.RLock()
        self._in_the_making: dict[Hashable, threading.Lock] = {}

    @property
    def n_bytes(self) -> int:
        """Bytes of what is kept."""
        return self._bytes

    def get(self, kind: str, facts: Hashable, compute: Callable[[], Value]) -> Value:
        """The thing of a kind that the facts decide, from memory or by ``compute()``.

        Args:
            kind: what it is, for the counts.
            facts: everything it depends on, the images by :func:`fingerprint`.
            compute: makes it: a tensor, or tuples, lists and dataclasses of tensors.
        """
        key = (kind, facts)
        with self._lock:
            making = self._in_the_making.setdefault(key, threading.Lock())
        # a thread that wants what another one is making waits for it
        try:
            with making:
                found: Value = self._get(key, kind, compute)
        finally:
            with self._lock:
                self._in_the_making.pop(key, None)
        return found

    def _get(self, key: Hashable, kind: str, compute: Callable[[], Any]) -> Any:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self.found[kind] += 1
                self._entries.move_to_end(key)
                if key not in self._paid:
                    self.owed += entry.seconds
                self._paid.add(key)
                return entry.value
        entry = _measured(compute)
        with self._lock:
            self.computed[kind] += 1
            self._keep(key, entry)
            self._paid.add(key)
        return entry.value

    def _keep(self, key: Hashable, entry: _Entry) -> None:
        if entry.n_bytes > self.largest:
            return
        self._entries[key] = entry
        self._bytes += entry.n_bytes
        while self._bytes > self.max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.n_bytes

    @contextmanager
    def shared(self) -> Iterator[SourceCache]:
        """One run, whose method keeps its things in here.

        The run owes the time of each thing that an earlier one made, once.
        """
        self._paid.clear()
        token = _shared.set(self)
        try:
            yield self
        finally:
            _shared.reset(token)


def shared_cache() -> SourceCache | None:
    """The cache of the sweep that this run belongs to, if it belongs to one."""
    return _shared.get()


def owed_seconds() -> float:
    """``owed`` of the shared cache so far; 0 without one."""
    cache = _shared.get()
    return 0.0 if cache is None else cache.owed


def fingerprint(tensor: Tensor) -> str:
    """SHA-256 of what decides a computation on a tensor: bytes, type, shape, strides, device."""
    facts = f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.device}"
    digest = hashlib.sha256(facts.encode())
    digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def precision_of(device: torch.device) -> str:
    """How numbers are rounded on a device at the moment: ``full``, or autocast's type."""
    if not torch.is_autocast_enabled(device.type):
        return "full"
    return str(torch.get_autocast_dtype(device.type))


def _measured(compute: Callable[[], Any]) -> _Entry:
    _wait()
    start = time.perf_counter()
    value = compute()
    _wait()
    seconds = time.perf_counter() - start
    sizes = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in _tensors(value)
    }
    return _Entry(value, sum(sizes.values()), seconds)


def _wait() -> None:
    """Kernels of a GPU run on after their call has returned."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _tensors(value: object) -> Iterator[Tensor]:
    """Every tensor in a value."""
    if isinstance(value, Tensor):
        yield value
        return
    parts: Iterable[object] = ()
    if isinstance(value, list | tuple):
        parts = value
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    for part in parts:
        yield from _tensors(part)
