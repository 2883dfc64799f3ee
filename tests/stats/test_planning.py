"""Detectable differences and sample sizes."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from benchmark.stats import (
    clusters_needed,
    minimum_detectable_difference,
)
from tests.stats.clusters import rng


@pytest.mark.parametrize(("n", "power"), [(5, 0.8), (10, 0.8), (30, 0.9)])
def test_the_detectable_difference_is_detected_that_often(n: int, power: float) -> None:
    repeats = 40000
    difference = minimum_detectable_difference(2.0, n, power=power)
    draws = rng(n).normal(difference, 2.0, size=(repeats, n))
    found = (reference.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(power, abs=4 * math.sqrt(power * (1 - power) / repeats))


@pytest.mark.parametrize("n", [5, 10, 60])
def test_the_detectable_difference_agrees_with_the_noncentral_t(n: int) -> None:
    shift = minimum_detectable_difference(1.0, n, alpha=0.01) * math.sqrt(n)
    critical = reference.t.isf(0.005, n - 1)
    power = reference.nct.sf(critical, n - 1, shift) + reference.nct.cdf(-critical, n - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-9)


def test_tabled_sample_sizes() -> None:
    """Paired t, two-sided 5 %, power 80 %: 199, 34 and 15 pairs for d_z = 0.2, 0.5 and 0.8."""
    assert [clusters_needed(1.0, d) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 300), st.floats(0.01, 100), st.sampled_from([0.001, 0.05, 0.1]),
       st.sampled_from([0.5, 0.8, 0.95]))  # fmt: skip
def test_clusters_needed_is_the_inverse(n: int, sd: float, alpha: float, power: float) -> None:
    difference = minimum_detectable_difference(sd, n, alpha, power)
    assert clusters_needed(sd, difference, alpha, power) == n
    assert clusters_needed(sd, -1.001 * difference, alpha, power) <= n
    assert clusters_needed(sd, 0.999 * difference, alpha, power) == n + 1 or n > 100
    assert minimum_detectable_difference(sd, n + 1, alpha, power) < difference


@pytest.mark.filterwarnings("error")
def test_the_corners_of_the_ranges_have_a_solution() -> None:
    for alpha, power in itertools.product((1e-4, 0.05, 0.5), (0.51, 0.8, 0.999)):
        found = [minimum_detectable_difference(1.0, n, alpha, power) for n in (2, 3, 10, 10**6)]
        assert found == sorted(found, reverse=True) and found[-1] > 0


def test_planning_without_spread() -> None:
    assert minimum_detectable_difference(0.0, 5) == 0.0
    assert clusters_needed(0.0, 0.1) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, 5), "standard deviation"),
        ((math.nan, 5), "standard deviation"),
        ((1.0, 1), "n_clusters must be at least 2"),
        ((1.0, 5, 0.0), "alpha must lie"),
        ((1.0, 5, 0.05, 0.05), "power must lie"),
        ((1.0, 5, 0.05, 1.0), "power must lie"),
    ],
)
def test_planning_refuses_bad_input(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        minimum_detectable_difference(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("difference", [0.0, math.nan, math.inf, 1e-9])
def test_clusters_needed_refuses_what_it_cannot_reach(difference: float) -> None:
    with pytest.raises(ValueError, match="difference"):
        clusters_needed(1.0, difference)
