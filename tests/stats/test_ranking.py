"""Stability of a ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.stats import (
    rank_stability,
)
from tests.stats.clusters import rng


def images(n: int, each: int = 3) -> list[str]:
    return [f"image{i // each}" for i in range(n)]


def test_a_method_that_always_wins_is_always_first() -> None:
    base = rng(1).normal(size=30)
    scores = np.stack([base, base + 1, base - 1])
    found = rank_stability(scores, images(30), rng(), higher_is_better=True)
    assert found.observed_rank is not None and found.rank_probability is not None
    assert found.observed_rank.tolist() == [2, 1, 3]
    assert found.rank_probability.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    lower = rank_stability(scores, images(30), rng(), higher_is_better=False)
    assert lower.p_first is not None and lower.p_first.tolist() == [0, 0, 1]


def test_ties_share_their_ranks() -> None:
    base = rng(1).normal(size=30)
    found = rank_stability(np.stack([base, base, base - 1]), images(30), rng(), True)
    assert found.observed_rank is not None and found.rank_probability is not None
    assert found.observed_rank.tolist() == [1.5, 1.5, 3]
    assert found.rank_probability.tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]
    assert found.expected_rank is not None and found.expected_rank.tolist() == [1.5, 1.5, 3]


def test_two_images_give_the_share_that_can_be_counted() -> None:
    """a wins on one image by 1 and loses on the other by 3: first only if the one comes twice."""
    found = rank_stability([[1.0, 0.0], [0.0, 3.0]], ["x", "y"], rng(), True, resamples=20000)
    assert found.p_first is not None
    assert found.p_first == pytest.approx([0.25, 0.75], abs=0.015)


def test_images_are_drawn_whole() -> None:
    """Copies of the samples of an image make a ranking no firmer."""
    scores = rng(2).normal(size=(3, 8))
    names = [f"i{i}" for i in range(8)]
    once = rank_stability(scores, names, rng(), True)
    copied = rank_stability(np.repeat(scores, 20, axis=1), list(np.repeat(names, 20)), rng(), True)
    assert once.rank_probability is not None and copied.rank_probability is not None
    assert once.rank_probability == pytest.approx(copied.rank_probability)
    assert once.rank_probability.max() < 0.99


@settings(max_examples=50)
@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 10**6), st.booleans())
def test_ranks_of_all_methods_add_up(methods: int, n: int, seed: int, higher: bool) -> None:
    scores = rng(seed).integers(0, 3, size=(methods, 2 * n)) / 10
    found = rank_stability(scores, images(2 * n, 2), rng(seed), higher, resamples=50)
    assert found.rank_probability is not None and found.observed_rank is not None
    assert found.rank_probability.sum(axis=0) == pytest.approx(np.ones(methods))
    assert found.rank_probability.sum(axis=1) == pytest.approx(np.ones(methods))
    mirrored = rank_stability(-scores, images(2 * n, 2), rng(seed), not higher, resamples=50)
    assert np.array_equal(found.rank_probability, mirrored.rank_probability)
    order = rng(seed + 1).permutation(2 * n)
    shuffled = [images(2 * n, 2)[i] for i in order]
    other = rank_stability(scores[:, order], shuffled, rng(seed), higher, resamples=50)
    assert other.rank_probability == pytest.approx(found.rank_probability)
    assert found.observed_rank.sum() == methods * (methods + 1) / 2


def test_ranks_without_enough_images() -> None:
    one = rank_stability([[1.0, 2.0], [3.0, 4.0]], ["a", "a"], rng(), True)
    assert one.observed_rank is not None and one.observed_rank.tolist() == [2, 1]
    assert one.rank_probability is one.p_first is one.expected_rank is None
    assert one.note is not None and one.note.startswith("insufficient_n: 1 cluster(s)")
    none = rank_stability(np.ones((2, 0)), [], rng(), True)
    assert none.observed_rank is None and none.note is not None


def test_ranks_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match=r"scores\[1, 0\] is nan"):
        rank_stability([[1.0, 2.0], [np.nan, 4.0]], ["a", "b"], rng(), True)
    with pytest.raises(ValueError, match="2 values but 3 cluster names"):
        rank_stability(np.ones((2, 2)), ["a", "b", "c"], rng(), True)
    with pytest.raises(ValueError, match="2 dimension"):
        rank_stability(np.ones(2), ["a", "b"], rng(), True)
    with pytest.raises(ValueError, match="no method"):
        rank_stability(np.ones((0, 2)), ["a", "b"], rng(), True)
    with pytest.raises(ValueError, match="resamples be positive"):
        rank_stability(np.ones((1, 2)), ["a", "b"], rng(), True, resamples=0)
