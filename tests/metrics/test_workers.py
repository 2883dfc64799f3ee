"""Batches that are scored side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.metrics.workers import MOST_WORKERS, map_batches, worker_count
from tests.metrics.conftest import TinyZoo
from tests.metrics.test_shared import CLIP, VGG, score


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Worker:
    """Sleeps the longer the earlier the batch, and notes how it was run."""

    def __init__(self) -> None:
        self.busy = False
        self.threads: set[int] = set()

    def __call__(self, number: int) -> int:
        assert not self.busy, "a worker was run twice at the same time"
        self.busy = True
        self.threads.add(torch.get_num_threads())
        time.sleep(0.02 if number % 2 else 0.001)
        self.busy = False
        if number == 13:
            raise LookupError("number 13")
        return number * number


@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_come_in_order_and_the_threads_are_shared_out(
    count: int, four_threads: None
) -> None:
    workers = [Worker() for _ in range(count)]
    assert list(map_batches(workers, range(12))) == [number**2 for number in range(12)]
    assert set.union(*(worker.threads for worker in workers)) == {4 // count}
    assert torch.get_num_threads() == 4
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [4]  # what starts later is as before, too
    assert list(map_batches(workers, [])) == []


def test_few_batches_are_held_at_a_time(four_threads: None) -> None:
    taken: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    results = map_batches([Worker(), Worker()], batches())
    for done in range(12):
        next(results)
        assert len(taken) <= done + 3


def test_a_failure_reaches_the_caller_and_the_threads_are_restored(four_threads: None) -> None:
    with pytest.raises(LookupError, match="number 13"):
        list(map_batches([Worker(), Worker()], range(100)))
    assert torch.get_num_threads() == 4


def test_a_gpu_takes_one_batch_and_a_cpu_a_few(four_threads: None) -> None:
    assert worker_count(torch.device("cuda")) == 1
    assert worker_count(torch.device("cpu")) == 4
    torch.set_num_threads(MOST_WORKERS + 3)
    assert worker_count(torch.device("cpu")) == MOST_WORKERS


def test_the_number_of_workers_moves_no_bit(photos: Tensor, four_threads: None) -> None:
    metrics = (*CLIP, *VGG, "dino_structure", "ssim", "psnr", "edge_agreement")
    found: list[Any] = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.append(score(TinyZoo(), photos, metrics, 43))
    assert found[0] == found[1] == found[2]
