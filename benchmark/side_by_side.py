"""Samples side by side on the cores of a CPU, each computed by one thread.

The kernels of one 64-pixel sample are too short to share among cores: two threads that sleep while
they wait for each other are no faster than one, and two that spin make everything else on the
machine several times slower. A core for each sample needs no waiting. What is more, a kernel rounds
by the number of its threads, so a picture that one thread made is the same on 2 cores and on 64.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import Any

import psutil
import torch
from torch import Tensor

from benchmark.interface import StyleBatch, StyleTransferMethod

# measured for guided sampling, gradients included: 0.4 GB at 64 x 64
BYTES_PER_PIXEL = 128 * 1024


def worker_count(method: StyleTransferMethod, chunk: StyleBatch, processes: int = 1) -> int:
    """How many samples of a chunk to compute at once.

    As many as PyTorch has threads, but no more than half of the free memory holds, nor than the
    chunk has samples; 1 for methods that do not allow it.

    Args:
        processes: that share the machine's cores for this run.
    """
    if not method.samples_side_by_side:
        return 1
    height, width = chunk.images.shape[2:]
    room = psutil.virtual_memory().available // 2 // (BYTES_PER_PIXEL * height * width)
    cores = torch.get_num_threads() // processes
    return max(1, min(cores, int(room), len(chunk.requests)))


def in_turn_of_images(chunk: StyleBatch) -> list[int]:
    """The samples' places in an order in which neighbours have different images if they can.

    What an image needs once is computed by the first sample that has it, and others wait for it.
    """
    seen: Counter[str] = Counter()
    turn = []
    for place, request in enumerate(chunk.requests):
        turn.append((seen[request.image_id], place))
        seen[request.image_id] += 1
    return [place for _, place in sorted(turn)]


def compute(
    work: Callable[[int], Tensor], order: Sequence[int], workers: int,
    on_done: Callable[[int], None],
) -> list[Tensor]:  # fmt: skip
    """``work(place)`` for all places ``range(len(order))``, begun in an order, one thread each.

    Autocast and context variables (timers, caches) are those of the caller.

    Args:
        on_done: called in the caller's thread with the number of places done so far.

    Raises:
        Exception: what the first place that failed raised; places not yet begun are left.
        KeyboardInterrupt, SystemExit: places under way are broken off as well.
    """
    threads = torch.get_num_threads()
    results: dict[int, Tensor] = {}
    if workers == 1:
        torch.set_num_threads(1)
        try:
            for place in order:
                results[place] = work(place)
                on_done(len(results))
        finally:
            torch.set_num_threads(threads)
        return [results[place] for place in range(len(order))]

    autocast = _autocast_of_this_thread()
    under_way: dict[int, int] = {}

    def run(place: int) -> Tensor:
        under_way[place] = threading.get_ident()
        try:
            with autocast():
                return work(place)
        finally:
            del under_way[place]

    pool = ThreadPoolExecutor(workers, "sample", torch.set_num_threads, (1,))
    try:
        pending: dict[Future[Tensor], int] = {
            pool.submit(copy_context().run, run, place): place for place in order
        }
        for future in as_completed(pending):
            results[pending[future]] = future.result()
            on_done(len(results))
    except (KeyboardInterrupt, SystemExit):
        for thread in tuple(under_way.values()):
            _interrupt(thread)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        # the workers' number became the default of threads to come
        torch.set_num_threads(threads)
    return [results[place] for place in range(len(order))]


def _interrupt(thread: int) -> None:
    """Raise KeyboardInterrupt in a thread, as Ctrl-C does in the main one, and only there."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt)
    )


def _autocast_of_this_thread() -> Callable[[], AbstractContextManager[Any]]:
    """Autocast belongs to a thread: a new one begins without."""
    enabled = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu")
    return lambda: torch.autocast("cpu", dtype, enabled=enabled)
