"""Pareto front and harmonic mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.stats import (
    harmonic_mean,
    pareto_front,
)

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=15)


def test_front_of_a_worked_example() -> None:
    content = [0.9, 0.5, 0.5, 0.1, 0.9, 0.1]
    style = [0.1, 0.5, 0.4, 0.9, 0.1, 0.8]
    assert pareto_front(content, style).tolist() == [True, True, False, True, True, False]


@given(POINTS)
def test_front_members_are_not_dominated_and_all_others_are(points: list[tuple[int, int]]) -> None:
    front = pareto_front([p[0] for p in points], [p[1] for p in points])
    assert front.dtype == np.bool_ and len(front) == len(points)
    for point, member in zip(points, front, strict=True):
        dominated = any(
            other[0] >= point[0] and other[1] >= point[1] and other != point for other in points
        )
        assert member == (not dominated)


def test_harmonic_mean_of_worked_numbers() -> None:
    found = harmonic_mean([0.5, 1.0, 0.0, 0.0, 0.2], [0.5, 0.5, 1.0, 0.0, 0.6])
    assert found == pytest.approx([0.5, 2 / 3, 0.0, 0.0, 0.3])


@given(st.floats(0, 1), st.floats(0, 1))
def test_harmonic_mean_lies_near_the_lesser(content: float, style: float) -> None:
    found = float(harmonic_mean([content], [style])[0])
    assert found == float(harmonic_mean([style], [content])[0])
    low, high = min(content, style), max(content, style)
    assert low * (1 - 1e-12) <= found <= min(high, 2 * low) * (1 + 1e-12)


def test_tradeoffs_refuse_bad_input() -> None:
    for function in (pareto_front, harmonic_mean):
        with pytest.raises(ValueError, match="content has 1 values but style has 2"):
            function([1.0], [1.0, 0.5])
        with pytest.raises(ValueError, match=r"style\[1\] is nan"):
            function([1.0, 1.0], [0.5, np.nan])
        assert len(function([], [])) == 0
    with pytest.raises(ValueError, match=r"content\[1\] is 1.5"):
        harmonic_mean([1.0, 1.5], [0.5, 0.5])
