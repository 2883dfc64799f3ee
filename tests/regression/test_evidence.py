"""Evidence of paired scores, against scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.regression.evidence import ALPHA, evidence, images_needed

RNG = np.random.default_rng(5)
OLD = RNG.normal(0.5, 0.1, 12)
NEW = OLD + RNG.normal(-0.01, 0.02, 12)
IMAGES = [f"image{i:02}" for i in range(12)]


def test_one_sample_an_image_is_the_paired_t_test() -> None:
    found = evidence(OLD, NEW, IMAGES, higher_is_better=True)
    less = stats.ttest_rel(NEW, OLD, alternative="less")
    assert found.p_worse == pytest.approx(less.pvalue, rel=1e-6)
    assert found.p_better == pytest.approx(1 - less.pvalue, rel=1e-6)
    interval = stats.ttest_rel(NEW, OLD).confidence_interval(1 - 2 * ALPHA)
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert found.sd_of_images == pytest.approx(np.std(NEW - OLD, ddof=1))


def test_equal_clusters_are_the_t_test_of_their_means() -> None:
    found = evidence(OLD, NEW, [name for name in IMAGES[:6] for _ in range(2)], True)
    means = (NEW - OLD).reshape(6, 2).mean(axis=1)
    assert found.n_images == 6
    assert found.p_worse == pytest.approx(
        stats.ttest_1samp(means, 0, alternative="less").pvalue, rel=1e-6
    )


@pytest.mark.parametrize("margin", [0.005, 0.01, 0.02, 0.04])
def test_within_is_both_one_sided_tests(margin: float) -> None:
    found = evidence(OLD, NEW, IMAGES, True)
    gains = NEW - OLD
    both = max(
        stats.ttest_1samp(gains, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(gains, margin, alternative="less").pvalue,
    )
    assert found.within(margin) == (both < ALPHA)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20),
    st.booleans(),
)
def test_swapping_the_runs_or_the_direction_mirrors(
    rows: list[tuple[float, float]], higher: bool
) -> None:
    old, new = np.array(rows).T
    images = [str(i % 7) for i in range(len(rows))]
    one, other = evidence(old, new, images, higher), evidence(new, old, images, higher)
    assert one == evidence(new, old, images, not higher)
    assert one.gain == pytest.approx(-(other.gain or 0), abs=1e-12)
    if one.p_worse is not None:
        assert one.p_worse == pytest.approx(other.p_better, abs=1e-6)
        assert 0 < one.p_worse <= 1


def test_identical_scores_are_within_any_margin_and_prove_nothing() -> None:
    for images in (IMAGES, ["one"] * 12):
        assert evidence(OLD, OLD, images, True).within(1e-12)
    found = evidence(OLD, OLD, IMAGES, True)
    assert found.p_worse == found.p_better == 0.5


def test_differences_without_spread_are_judged_by_sign_flips() -> None:
    """The t interval has no length there, and would be certain of 2 images."""
    for n in (2, 5, 8):
        found = evidence(np.full(n, 0.75), np.full(n, 0.5), IMAGES[:n], True)
        assert found.p_worse == pytest.approx(0.5**n)
        assert not found.within(0.25) and found.within(0.26)


def test_yes_and_no_are_judged_by_sign_flips() -> None:
    """5 of 8 change the same way: 1 of 32 patterns is as extreme, where t says 0.006."""
    old, new = np.ones(8), np.array([0, 0, 0, 0, 0, 1, 1, 1.0])
    assert evidence(old, new, IMAGES[:8], True).p_worse == pytest.approx(1 / 32)


def test_samples_without_a_value_in_either_run_are_left_out() -> None:
    old, new = OLD.copy(), NEW.copy()
    old[3], new[5] = np.nan, np.nan
    kept = [i for i in range(12) if i not in {3, 5}]
    assert evidence(old, new, IMAGES, True) == evidence(
        old[kept], new[kept], [IMAGES[i] for i in kept], True
    )
    assert evidence(np.full(12, np.nan), NEW, IMAGES, True).gain is None


def test_one_image_gives_no_interval() -> None:
    found = evidence(OLD, NEW, ["one"] * 12, True)
    assert found.interval is None and found.p_worse is None and not found.within(10)
    assert images_needed(found, 0.1, 5) is None


@pytest.mark.parametrize("gain", [0.0, -0.004, -0.03])
def test_the_images_named_do_decide_in_four_of_five_checks(gain: float) -> None:
    """Checks simulated at that n and at the seen gain and spread, tests at Holm's first step."""
    rng = np.random.default_rng(11)
    noise = rng.standard_normal(10)
    noise = 0.02 * (noise - noise.mean()) / noise.std(ddof=1) + gain
    zeros = np.full(10, 0.3)
    found = evidence(zeros, zeros + noise, IMAGES[:10], True)
    n = images_needed(found, 0.006, 4)
    assert n is not None and n > 10
    draws = rng.normal(gain, 0.02, (4000, n))
    error = draws.std(axis=1, ddof=1) / np.sqrt(n)
    reach = stats.t.ppf(1 - ALPHA, n - 1) * error
    equivalent = np.abs(draws.mean(axis=1)) + reach < 0.006
    different = np.abs(draws.mean(axis=1)) > stats.t.ppf(1 - ALPHA / 4, n - 1) * error
    decided = (equivalent | different).mean()
    assert decided > 0.77, (n, decided)
