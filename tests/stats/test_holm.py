"""Holm's adjustment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.stats import (
    holm,
)


def test_holm_of_worked_numbers() -> None:
    # sorted .005 .01 .03 .04, times 4 3 2 1, running maximum
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9, 0.6]) == pytest.approx([1.0, 1.0, 1.0])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([]).shape == (0,)


def test_holm_leaves_missing_tests_out_of_the_family() -> None:
    adjusted = holm([0.01, None, 0.04, float("nan"), 0.03])
    assert np.isnan(adjusted[[1, 3]]).all()
    assert adjusted[[0, 2, 4]] == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(holm([None, None])).all()


@given(st.lists(st.one_of(st.floats(0, 1), st.none()), max_size=12))
def test_holm_is_monotone_and_no_smaller_than_the_raw_values(raw: list[float | None]) -> None:
    adjusted = holm(raw)
    pairs = sorted((p, q) for p, q in zip(raw, adjusted, strict=True) if p is not None)
    assert all(p <= q <= 1 for p, q in pairs)
    assert all(one[1] <= next_[1] for one, next_ in itertools.pairwise(pairs))
    bonferroni = [min(1.0, len(pairs) * p) for p, _ in pairs]
    assert all(q <= b or q == pytest.approx(b) or q <= max(bonferroni)
               for (_, q), b in zip(pairs, bonferroni, strict=True))  # fmt: skip
    assert not pairs or pairs[0][1] == bonferroni[0]


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match=r"p_values\[1\] is 1.5"):
        holm([0.1, 1.5])
    with pytest.raises(ValueError, match=r"p_values\[0\] is -0.1"):
        holm([-0.1])
    with pytest.raises(ValueError, match="1 dimension"):
        holm(np.ones((2, 2)))
