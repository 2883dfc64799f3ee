"""Scoring batches side by side on the cores of a CPU.

The kernels of a small batch are too short to share among cores: threads wait for each other more
than they compute, the more so on a machine that does something else as well. One batch for each
core needs no waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

MOST_WORKERS = 4  # each holds the feature maps of a batch


def worker_count(device: torch.device) -> int:
    """How many batches to score at once: one on a GPU, on a CPU as many as PyTorch has threads."""
    return min(torch.get_num_threads(), MOST_WORKERS) if device.type == "cpu" else 1


def map_batches(work: Sequence[Callable[[T], R]], batches: Iterable[T]) -> Iterator[R]:
    """What ``work`` returns for each batch, in their order.

    Args:
        work: one callable for each worker; none is run twice at the same time.
        batches: taken as they are needed, so that few are held in memory.

    Raises:
        Exception: what a worker raised first, in the order of the batches.
    """
    if len(work) == 1:
        yield from map(work[0], batches)
        return
    idle: SimpleQueue[Callable[[T], R]] = SimpleQueue()
    for own in work:
        idle.put(own)

    def run(batch: T) -> R:
        own = idle.get()
        try:
            return own(batch)
        finally:
            idle.put(own)

    threads = torch.get_num_threads()
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(
        len(work), "scoring", torch.set_num_threads, (max(1, threads // len(work)),)
    )
    try:
        for batch in batches:
            pending.append(pool.submit(run, batch))
            if len(pending) > len(work):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # the workers' number became the default of threads to come
        torch.set_num_threads(threads)
