"""Intervals: coverage by simulation, closed forms, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from benchmark.stats import (
    cluster_bootstrap,
    cluster_t_interval,
)
from benchmark.stats.intervals import _degrees_of_freedom
from tests.stats.clusters import Draw, Floats, clustered, normal, rng, skewed


@pytest.mark.parametrize("n_clusters", [10, 20, 60])
@pytest.mark.parametrize("image", [normal, skewed])
def test_the_recommended_interval_covers_95_percent(n_clusters: int, image: Draw) -> None:
    source, repeats = rng(n_clusters), 4000
    covered = 0
    for _ in range(repeats):
        values, names = clustered(source, n_clusters, image)
        interval = cluster_t_interval(values, names)
        assert interval is not None
        covered += interval[0] <= 0 <= interval[1]
    assert 0.93 <= covered / repeats <= 0.97


def test_the_percentile_bootstrap_is_honest_only_with_many_clusters() -> None:
    """The reason why it is not the recommended one; its docstring names these figures."""
    shares = {}
    for n_clusters in (10, 100):
        source, covered = rng(n_clusters), 0
        for _ in range(2000):
            values, names = clustered(source, n_clusters, normal)
            interval = cluster_bootstrap(values, names, source, 400)
            assert interval is not None
            covered += interval[0] <= 0 <= interval[1]
        shares[n_clusters] = covered / 2000
    assert 0.87 <= shares[10] <= 0.925
    assert 0.93 <= shares[100] <= 0.97


def test_with_equal_clusters_the_interval_is_that_of_the_cluster_means() -> None:
    values = rng(3).normal(size=(12, 4))
    names = list(np.repeat([f"i{i}" for i in range(12)], 4))
    means = values.mean(axis=1)
    expected = reference.t.interval(0.9, 11, means.mean(), reference.sem(means))
    assert cluster_t_interval(values.ravel(), names, 0.9) == pytest.approx(expected)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12))
def test_degrees_of_freedom_agree_with_the_matrices(sizes: list[int]) -> None:
    """Bell and McCaffrey's matrices at sample level, nothing written out."""
    n = sum(sizes)
    index = np.repeat(np.arange(len(sizes)), sizes)
    within = (index[:, None] == index).astype(float)
    residuals = np.eye(n) - 1 / n
    columns = []
    for g, size in enumerate(sizes):
        mine = index == g
        hat = np.full((size, size), 1 / n)
        scale = np.real(np.linalg.inv(_root(np.eye(size) - hat)))
        columns.append(residuals[:, mine] @ scale @ np.ones(size) / n)
    stacked = np.stack(columns, axis=1)
    spread = stacked.T @ within @ stacked
    expected = np.trace(spread) ** 2 / np.trace(spread @ spread)
    found = _degrees_of_freedom(np.array(sizes, dtype=float))
    assert found == pytest.approx(expected)
    assert 0.99 <= found <= len(sizes) - 0.99


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(values) @ vectors.T)


def test_copies_of_samples_do_not_shorten_the_interval() -> None:
    values = np.array([0.1, 0.9, 0.4, 0.7, 0.2, 0.5])
    names = [f"i{i}" for i in range(6)]
    once = cluster_t_interval(values, names)
    copied = cluster_t_interval(np.repeat(values, 50), list(np.repeat(names, 50)))
    assert once == pytest.approx(copied)


def test_intervals_of_too_little_or_constant_data() -> None:
    for values, names in ((np.ones(0), []), (np.ones(3), ["a"] * 3)):
        assert cluster_t_interval(values, names) is None
        assert cluster_bootstrap(values, names, rng()) is None
    assert cluster_t_interval(np.full(3, 0.1), ["a", "b", "b"]) == (0.1, 0.1)


def test_intervals_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match="3 values but 2 cluster names"):
        cluster_t_interval(np.ones(3), ["a", "b"])
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\)"):
        cluster_t_interval(np.ones(2), ["a", "b"], level=0.0)
    for bad in (np.nan, np.inf, -np.inf, 1e200):
        with pytest.raises(ValueError, match=r"values\[1\] is"):
            cluster_t_interval(np.array([1.0, bad]), ["a", "b"])
        with pytest.raises(ValueError, match=r"values\[1\] is"):
            cluster_bootstrap(np.array([1.0, bad]), ["a", "b"], rng())
