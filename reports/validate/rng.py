"""The global random states: set to a known value, watched, and given back."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def _states() -> State:
    # the legacy generator is what a method may not touch, so here it must be read
    algorithm, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    found: State = {
        "torch": torch.get_rng_state(),
        "numpy": (algorithm, np.array(keys).tobytes(), *rest),
        "random": random.getstate(),
    }
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            found[f"torch.cuda:{index}"] = state
    return found


def _restore(state: State) -> None:
    torch.set_rng_state(state["torch"])
    algorithm, keys, *rest = state["numpy"]
    np.random.set_state((algorithm, np.frombuffer(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["random"])
    cuda = [value for name, value in state.items() if name.startswith("torch.cuda:")]
    if cuda:
        torch.cuda.set_rng_state_all(cuda)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return bool(first == second)


@contextmanager
def global_seed(seed: int) -> Iterator[Callable[[], list[str]]]:
    """Seed torch, numpy and random inside the block; afterwards they are as they were.

    Yields:
        a function that names the generators whose state has changed since the block began.
    """
    outside = _states()
    try:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        start = _states()

        def touched() -> list[str]:
            now = _states()
            return [name for name, state in start.items() if not _equal(state, now[name])]

        yield touched
    finally:
        _restore(outside)
