"""Clustered scores and random sources that the tests of the statistics share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from benchmark.stats import (
    PairedComparison,
    paired_comparison,
)

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

# few decimals, so that ties and zero differences are common
SCORES = st.integers(-20, 20).map(lambda k: k / 10)
ROWS = st.lists(st.tuples(SCORES, SCORES, st.sampled_from("abcdefghij")), min_size=1, max_size=40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def compare(a: npt.ArrayLike, b: npt.ArrayLike, names: list[str] | None = None,
            permutations: int = 9999) -> PairedComparison:  # fmt: skip
    a = np.asarray(a, dtype=np.float64)
    if names is None:
        names = [f"image{i:04}" for i in range(len(a))]
    return paired_comparison(a, b, names, rng(), permutations=permutations)


def clustered(
    source: np.random.Generator, n_clusters: int, image: Draw
) -> tuple[Floats, list[str]]:
    """3 or 4 samples an image; the spread between images is that within one (correlation 0.5)."""
    index = np.repeat(np.arange(n_clusters), source.integers(3, 5, size=n_clusters))
    values = image(source, n_clusters)[index] + source.normal(size=len(index))
    return values, [f"{i:03}" for i in index]


def normal(source: np.random.Generator, n: int) -> Floats:
    return source.normal(size=n)


def skewed(source: np.random.Generator, n: int) -> Floats:
    return source.gamma(4.0, 0.5, size=n) - 2.0
