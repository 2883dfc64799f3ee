"""Samples on the cores of a CPU: the bytes of one after the other, and what threads must share."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from baselines.zecon import ZeCon, ZeConConfig
from benchmark.interface import MethodConfig, StyleTransferMethod
from benchmark.predict import stylize_chunk
from benchmark.profiling import PhaseTimer, phase
from benchmark.side_by_side import BYTES_PER_PIXEL, compute, in_turn_of_images, worker_count
from benchmark.source_cache import SourceCache
from tests.test_ours import FOUR, SMALL, batch_of, method_of
from tests.tiny_zoo import TinyZoo


def ours(zoo: TinyZoo) -> StyleTransferMethod:
    return method_of(zoo)


def zecon(zoo: TinyZoo) -> StyleTransferMethod:
    known = {name: value for name, value in SMALL.items() if name in ZeConConfig.model_fields}
    method = ZeCon(ZeConConfig(**known))
    method.prepare(zoo)  # type: ignore[arg-type]
    return method


@pytest.mark.parametrize("make", [ours, zecon])
def test_threads_give_the_bytes_of_one_after_the_other(make: Any) -> None:
    zoo = TinyZoo(calm=0.1)
    assert make(zoo).samples_side_by_side
    one = stylize_chunk(make(zoo), FOUR, 0, workers=1)
    assert torch.equal(one, stylize_chunk(make(zoo), FOUR, 0, workers=3))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)  # rounding depends on it, unless a sample has one thread
    try:
        assert torch.equal(one, stylize_chunk(make(zoo), FOUR, 0))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_breaks_off_what_is_under_way(stop: type[BaseException]) -> None:
    began, broken_off = threading.Barrier(3), []

    def work(place: int) -> Tensor:
        try:
            began.wait(10)
            while place:  # the others would never end by themselves
                time.sleep(0.01)
        except KeyboardInterrupt:
            broken_off.append(place)
            raise
        return torch.zeros(1)

    def on_done(done: int) -> None:
        raise stop

    with pytest.raises(stop):
        compute(work, [0, 1, 2], 3, on_done)
    assert sorted(broken_off) == [1, 2]
    assert compute(lambda place: torch.full((1,), float(place)), [0, 1], 2, lambda done: None) == [
        torch.tensor([0.0]), torch.tensor([1.0]),
    ]  # fmt: skip


def test_prompts_of_an_image_wait_for_one_inversion() -> None:
    zoo = TinyZoo(calm=0.1)
    with SourceCache(2**20).shared() as cache:
        stylize_chunk(method_of(zoo), FOUR, 0, workers=4)
    assert cache.computed["inversion"] == 3  # images a, b, c
    assert cache.found["inversion"] == 1


def test_a_thing_is_made_once_however_many_ask_for_it_at_once() -> None:
    cache = SourceCache(2**20)
    made = []

    def slow() -> Tensor:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return torch.ones(3)

    threads = [
        threading.Thread(target=cache.get, args=("thing", 1, slow)) for _ in range(5)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (cache.computed["thing"], cache.found["thing"]) == (1, 4)


def test_samples_of_one_image_are_not_begun_together() -> None:
    batch = batch_of(("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x"), ("a", "z"))
    assert in_turn_of_images(batch) == [0, 2, 4, 1, 3, 5]


def test_threads_have_the_callers_autocast_and_timers_and_one_thread_each() -> None:
    def work(place: int) -> Tensor:
        with phase("work"):
            time.sleep(0.02)
        on = torch.is_autocast_enabled("cpu")
        return torch.tensor([float(place), float(on), float(torch.get_num_threads())])

    timer, told, callers = PhaseTimer(), [], []

    def tell(done: int) -> None:
        told.append(done)
        callers.append(threading.current_thread())

    with timer.active(), torch.autocast("cpu", torch.bfloat16):
        found = compute(work, [2, 0, 1], 2, tell)
    assert [row.tolist() for row in found] == [[0, 1, 1], [1, 1, 1], [2, 1, 1]]
    assert timer.seconds["work"] >= 3 * 0.02
    assert told == [1, 2, 3] and set(callers) == {threading.current_thread()}
    (plain,) = compute(work, [0], 1, tell)
    assert plain.tolist() == [0, 0, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_raised_and_what_was_not_begun_is_left(workers: int) -> None:
    begun = []

    def work(place: int) -> Tensor:
        begun.append(place)
        if place == 0:
            raise RuntimeError("boom")
        time.sleep(0.05)
        return torch.zeros(1)

    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="boom"):
        compute(work, list(range(20)), workers, lambda done: None)
    assert len(begun) < 10
    assert torch.get_num_threads() == before


class Still(StyleTransferMethod):
    """Changes nothing."""

    def stylize(self, batch: Any, noise: Any) -> Tensor:
        images: Tensor = batch.images
        return images


def test_workers_are_bounded_by_cores_memory_and_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    a_sample = BYTES_PER_PIXEL * 32 * 32

    def free(n_bytes: int) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=n_bytes))

    free(100 * a_sample)
    method = method_of(TinyZoo())
    many = batch_of(*((f"image{number}", "x") for number in range(40)))
    assert worker_count(method, many) == 16
    assert worker_count(method, many, processes=4) == 4
    assert worker_count(method, many, processes=99) == 1
    assert worker_count(method, FOUR) == 4
    free(6 * a_sample)
    assert worker_count(method, many) == 3
    free(0)
    assert worker_count(method, many) == 1
    free(100 * a_sample)
    assert worker_count(Still(MethodConfig()), many) == 1
