"""Paired comparison: brute force, symmetry, type I error by simulation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from benchmark.stats import (
    SignFlips,
    cluster_t_interval,
    paired_comparison,
)
from tests.stats.clusters import ROWS, clustered, compare, normal, rng


def test_wilcoxon_agrees_with_scipy() -> None:
    for n, method in ((8, "exact"), (50, "exact"), (51, "normal"), (300, "normal")):
        a, b = rng(n).normal(0.2, 1, size=(2, n))
        found = compare(a, b)
        theirs = reference.wilcoxon(a, b, method="exact" if method == "exact" else "approx")
        assert found.wilcoxon_method == method
        assert found.wilcoxon_p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_wilcoxon_of_a_worked_example() -> None:
    """All six positive: 2 / 2^6. One of the least rank against: ranks 1 or nothing, 4 / 2^6."""
    assert compare([1, 2, 3, 4, 5, 6], np.zeros(6)).wilcoxon_p == pytest.approx(2 / 64)
    one_against = compare([-1, 2, 3, 4, 5, 6], np.zeros(6))
    assert one_against.wilcoxon_p == pytest.approx(4 / 64)
    assert one_against.rank_biserial == pytest.approx((20 - 1) / 21)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_both_tests_agree_with_brute_force(differences: list[int]) -> None:
    """All sign patterns, written the slow way, ties and zeros included."""
    d = np.array(differences, dtype=float)
    found = compare(d, np.zeros(len(d)))
    left = d[d != 0]
    ranks = reference.rankdata(np.abs(left))
    observed = abs((np.sign(left) * ranks).sum())
    reached_sum = reached_ranks = 0
    for signs in itertools.product((-1, 1), repeat=len(d)):
        reached_sum += abs(np.dot(signs, d)) >= abs(d.sum())
    for signs in itertools.product((-1, 1), repeat=len(left)):
        reached_ranks += abs(np.dot(signs, ranks)) >= observed
    assert found.permutation_method == found.wilcoxon_method == "exact"
    assert found.permutation_p == pytest.approx(reached_sum / 2 ** len(d))
    assert found.wilcoxon_p == pytest.approx(reached_ranks / 2 ** len(left))


def test_flips_take_whole_images() -> None:
    """Four images with two samples each: 2^4 patterns, not 2^8."""
    d = np.array([1.0, 3.0, 2.0, 2.0, -1.0, 2.0, 0.5, 0.5])
    found = compare(d, np.zeros(8), list("aabbccdd"))
    assert (found.n, found.n_clusters) == (8, 4)
    assert found.permutation_p == 2 / 16
    assert found.mean_difference == d.mean()
    means = np.array([2.0, 2.0, 0.5, 0.5])
    assert found.sd_of_cluster_differences == pytest.approx(means.std(ddof=1))
    assert found.cohens_dz == pytest.approx(means.mean() / means.std(ddof=1))
    assert found.interval == cluster_t_interval(d, list("aabbccdd"))
    assert any("p cannot be below 0.125" in note for note in found.notes)


def test_drawn_flips_agree_with_the_normal_limit_and_are_never_zero() -> None:
    d = rng(4).normal(0.15, 1, size=200)
    found = compare(d, np.zeros(200), permutations=20000)
    assert found.permutation_method == "monte-carlo"
    z = d.sum() / math.sqrt((d**2).sum())
    assert found.permutation_p == pytest.approx(2 * reference.norm.sf(abs(z)), abs=0.01)
    assert compare(np.ones(100), np.zeros(100), permutations=99).permutation_p == 1 / 100


def test_drawn_flips_depend_on_the_seed_only() -> None:
    a, b = rng(1).normal(size=(2, 40))
    names = [str(i) for i in range(40)]
    once = paired_comparison(a, b, names, rng(7))
    assert once == paired_comparison(a, b, names, rng(7))
    again = paired_comparison(a, b, names, rng(8))
    assert again.permutation_p != once.permutation_p
    assert replace(again, permutation_p=once.permutation_p) == once


@settings(max_examples=60)
@given(ROWS, st.booleans())
def test_swapping_the_methods_turns_signs_only(rows: list[tuple[float, float, str]],
                                               many: bool) -> None:  # fmt: skip
    if many:  # more clusters than can be gone through
        rows = [(a, b, f"{name}{i}") for i in range(4) for a, b, name in rows]
    a, b, names = (list(column) for column in zip(*rows, strict=True))
    one = compare(a, b, names, permutations=200)
    other = compare(b, a, names, permutations=200)

    def turned(value: float | None) -> float | None:
        return None if value is None else -value

    mirrored = None if other.interval is None else (-other.interval[1], -other.interval[0])
    assert one.interval == (None if mirrored is None else pytest.approx(mirrored, abs=1e-12))
    assert replace(
        other, interval=one.interval, mean_difference=turned(other.mean_difference),
        rank_biserial=turned(other.rank_biserial), cohens_dz=turned(other.cohens_dz),
    ) == one  # fmt: skip


@settings(max_examples=60)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(rows: list[tuple[float, float, str]],
                                                  random: object) -> None:  # fmt: skip
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = (compare(*(list(c) for c in zip(*r, strict=True)))  # type: ignore[arg-type]
                  for r in (rows, mixed))  # fmt: skip
    if one.interval is not None:
        assert other.interval == pytest.approx(one.interval, abs=1e-12)
    assert replace(other, interval=one.interval) == one


def test_rounding_makes_no_difference_and_breaks_no_tie() -> None:
    """0.3 - 0.2 and 0.2 - 0.1 are not the same float64, 0.1 + 0.2 - 0.3 is not 0."""
    found = compare([0.3, 0.2, 0.1 + 0.2], [0.2, 0.1, 0.3])
    assert found.wilcoxon_p == found.permutation_p == 0.5  # as of two differences, both positive
    assert any("1 of 3 clusters do not differ" in note for note in found.notes)
    assert any("share a rank" in note for note in found.notes)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_equal_methods_are_told_and_no_error(value: float) -> None:
    found = compare(np.full(8, value), np.full(8, value))
    assert found.permutation_p == found.wilcoxon_p == 1.0
    assert found.mean_difference == found.sd_of_cluster_differences == 0.0
    assert found.interval == (0.0, 0.0)
    assert found.rank_biserial is None and found.cohens_dz is None
    assert "no cluster differs" in found.notes[0]


def test_a_constant_difference_has_no_dz() -> None:
    found = compare(np.full(7, 0.3), np.full(7, 0.1))
    assert found.cohens_dz is None and found.sd_of_cluster_differences == 0.0
    assert found.rank_biserial == 1.0
    assert found.permutation_p == found.wilcoxon_p == 2 / 2**7
    assert any("no length" in note for note in found.notes)


@pytest.mark.parametrize(("scores", "mean"), [([], None), ([1.0, 4.0], 2.5)])
def test_fewer_than_two_images_infer_nothing(scores: list[float], mean: float | None) -> None:
    found = compare(scores, np.zeros(len(scores)), ["a"] * len(scores))
    assert found.mean_difference == mean
    assert found.interval is found.permutation_p is found.wilcoxon_p is None
    assert found.cohens_dz is found.rank_biserial is found.sd_of_cluster_differences is None
    assert found.notes[0].startswith(f"insufficient_n: {found.n_clusters} cluster(s)")


def test_comparison_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="a has 2 scores but b has 3"):
        compare([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="2 values but 1 cluster names"):
        compare([1, 2], [1, 2], ["a"])
    with pytest.raises(ValueError, match=r"b\[2\] is nan"):
        compare([1, 2, 3], [1, 2, np.nan])
    with pytest.raises(ValueError, match=r"a\[0\] is inf"):
        compare([np.inf, 2], [1, 2])
    with pytest.raises(ValueError, match="1 dimension"):
        paired_comparison(np.ones((2, 2)), np.ones((2, 2)), ["a", "b"], rng())
    with pytest.raises(ValueError, match="resamples be positive"):
        compare([1, 2], [3, 4], permutations=0)


@pytest.mark.parametrize(("n_clusters", "repeats"), [(10, 3000), (40, 2500)])
def test_both_tests_err_in_5_percent_under_the_null(n_clusters: int, repeats: int) -> None:
    source = rng(100 + n_clusters)
    flips = ranks = 0
    for _ in range(repeats):
        values, names = clustered(source, n_clusters, normal)
        found = paired_comparison(values, np.zeros(len(values)), names, source, permutations=399)
        assert found.permutation_p is not None and found.wilcoxon_p is not None
        flips += found.permutation_p <= 0.05
        ranks += found.wilcoxon_p <= 0.05
    error = 4 * math.sqrt(0.05 * 0.95 / repeats)
    assert flips / repeats == pytest.approx(0.05, abs=error)
    assert ranks / repeats == pytest.approx(0.05, abs=error)


def test_taking_samples_for_independent_errs_far_more_often() -> None:
    """What the clusters are for: the same data with every sample a cluster of its own."""
    source, repeats, rejected = rng(9), 600, 0
    for _ in range(repeats):
        values, names = clustered(source, 15, normal)
        own = [str(i) for i in range(len(names))]
        found = paired_comparison(values, np.zeros(len(values)), own, source, permutations=199)
        assert found.permutation_p is not None
        rejected += found.permutation_p <= 0.05
    assert rejected / repeats > 0.12


def test_flips_drawn_beforehand_give_the_p_value_of_a_generator_of_the_same_seed() -> None:
    a, b = rng(5).normal(0.1, 1, size=(2, 60))
    clusters = [f"image{i // 2}" for i in range(60)]
    alone = paired_comparison(a, b, clusters, np.random.default_rng(3))
    shared = paired_comparison(a, b, clusters, SignFlips.draw(clusters, np.random.default_rng(3)))
    assert shared == alone


def test_flips_of_more_clusters_serve_a_comparison_of_fewer() -> None:
    a, b = rng(6).normal(0.3, 1, size=(2, 40))
    clusters = [f"image{i}" for i in range(40)]
    flips = SignFlips.draw(clusters, np.random.default_rng(3))
    kept = slice(10, 40)
    found = paired_comparison(a[kept], b[kept], clusters[kept], flips)
    alone = paired_comparison(a[kept], b[kept], clusters[kept], np.random.default_rng(9))
    assert found.permutation_method == "monte-carlo"
    assert found.permutation_p == pytest.approx(alone.permutation_p, abs=0.02)
