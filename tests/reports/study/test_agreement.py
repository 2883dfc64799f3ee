from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.stats.inputs import Floats
from reports.study.agreement import icc, krippendorff_alpha

# Shrout & Fleiss 1979, table 2: six targets by four judges
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]],
    dtype=np.float64,
)
NONE = math.nan
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section D: four observers
KRIPPENDORFF = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]).T  # fmt: skip


def alpha(table: Floats) -> float | None:
    clusters = [str(row) for row in range(len(table))]
    return krippendorff_alpha(table, clusters, np.random.default_rng(0), resamples=20).value


def coincidence_alpha(table: Floats) -> float:
    """Krippendorff's own recipe: the matrix of coincidences of values, then the ratio."""
    values = sorted({float(v) for v in table.ravel() if not math.isnan(v)})
    place = {value: number for number, value in enumerate(values)}
    matrix = np.zeros((len(values), len(values)))
    for row in table:
        rated = [float(v) for v in row if not math.isnan(v)]
        for a, b in itertools.permutations(rated, 2):
            matrix[place[a], place[b]] += 1 / (len(rated) - 1)
    totals = matrix.sum(axis=1)
    n = totals.sum()
    squared = np.subtract.outer(values, values) ** 2
    expected = (np.outer(totals, totals) * squared).sum() / (n - 1)
    return float(1 - (matrix * squared).sum() / expected)


def test_icc_of_shrout_and_fleiss() -> None:
    single, average = icc(SHROUT_FLEISS)
    assert single.value == pytest.approx(0.29, abs=0.005)
    assert average.value == pytest.approx(0.62, abs=0.005)
    # intervals as the R package psych prints them for these data (ICC2 and ICC2k)
    assert single.interval == pytest.approx((0.019, 0.76), abs=0.005)
    assert average.interval == pytest.approx((0.07, 0.93), abs=0.005)


def test_alpha_of_krippendorffs_example() -> None:
    assert alpha(KRIPPENDORFF) == pytest.approx(0.849, abs=0.0005)
    assert coincidence_alpha(KRIPPENDORFF) == pytest.approx(0.849, abs=0.0005)


@given(seed=st.integers(0, 500), items=st.integers(2, 8), raters=st.integers(2, 5),
       holes=st.floats(0, 0.5))  # fmt: skip
def test_alpha_is_that_of_the_coincidence_matrix(
    seed: int, items: int, raters: int, holes: float
) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 101, (items, raters)).astype(np.float64)
    table[rng.random(table.shape) < holes] = NONE
    found = alpha(table)
    if found is not None:
        assert found == pytest.approx(coincidence_alpha(table), abs=1e-9)


@given(seed=st.integers(0, 500), shift=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_the_unit_of_the_scale_does_not_matter(seed: int, shift: float, scale: float) -> None:
    table = np.random.default_rng(seed).normal(50, 20, (6, 4))
    changed = shift + scale * table
    assert alpha(changed) == pytest.approx(alpha(table), abs=1e-6)
    for one, other in zip(icc(table), icc(changed), strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-6)


def test_icc_estimates_the_share_of_the_items() -> None:
    """Variances 9, 4 and 1 of items, raters and rest make ICC(2,1) = 9 / 14."""
    rng = np.random.default_rng(1)
    found = []
    covered = 0
    for _ in range(400):
        table = 3 * rng.normal(size=(40, 1)) + 2 * rng.normal(size=(1, 12)) + rng.normal(
            size=(40, 12)
        )  # fmt: skip
        single, _ = icc(table)
        assert single.value is not None
        assert single.interval is not None
        found.append(single.value)
        covered += single.interval[0] <= 9 / 14 <= single.interval[1]
    assert np.mean(found) == pytest.approx(9 / 14, abs=0.02)
    assert covered / 400 >= 0.92


def test_perfect_agreement_is_one() -> None:
    table = np.tile(np.array([[10.0], [50.0], [80.0]]), (1, 3))
    for one in icc(table):
        assert one.value == 1
        assert one.note is not None
    assert alpha(table) == 1


def test_a_rater_who_is_always_harsher_lowers_absolute_agreement() -> None:
    base = np.array([10.0, 40.0, 60.0, 80.0])
    table = np.stack([base, base - 10], axis=1)
    single, _ = icc(table)
    assert single.value is not None
    assert 0.8 < single.value < 1
    value = alpha(table)
    assert value is not None
    assert value < 1


@pytest.mark.parametrize(
    ("table", "note"),
    [
        (np.array([[1.0], [2.0]]), "at least 2 raters"),
        (np.array([[1.0, 2.0]]), "2 pictures"),
        (np.full((4, 3), 50.0), "all ratings are equal"),
        (np.zeros((0, 0)), "at least 2 raters"),
    ],
)
def test_icc_says_where_it_is_not_defined(table: Floats, note: str) -> None:
    for one in icc(table):
        assert one.value is None
        assert note in str(one.note)


@pytest.mark.parametrize(
    ("table", "note"),
    [
        (np.array([[1.0], [2.0]]), "no picture has two raters"),
        (np.array([[1.0, NONE], [NONE, 3.0]]), "no picture has two raters"),
        (np.full((4, 3), 50.0), "all ratings are equal"),
        (np.zeros((0, 2)), "no picture has two raters"),
    ],
)
def test_alpha_says_where_it_is_not_defined(table: Floats, note: str) -> None:
    clusters = [str(row) for row in range(len(table))]
    found = krippendorff_alpha(table, clusters, np.random.default_rng(0))
    assert found.value is None
    assert note in str(found.note)


def test_alpha_draws_whole_images_for_its_interval() -> None:
    """Copies of an item within its image add nothing that is known."""
    rng = np.random.default_rng(2)
    truth = rng.normal(50, 15, (12, 1))
    table = truth + rng.normal(0, 10, (12, 5))
    images = [f"i{row}" for row in range(12)]
    once = krippendorff_alpha(table, images, np.random.default_rng(0))
    often = krippendorff_alpha(np.tile(table, (6, 1)), images * 6, np.random.default_rng(0))
    assert once.interval is not None
    assert often.interval is not None
    assert often.value == pytest.approx(once.value, abs=0.02)
    assert often.interval == pytest.approx(once.interval, abs=0.03)
    alone = krippendorff_alpha(table, ["same"] * 12, np.random.default_rng(0))
    assert alone.interval is None
    assert alone.note is not None


def test_alpha_draws_are_reproducible() -> None:
    images = [str(row) for row in range(12)]
    first, second = (
        krippendorff_alpha(KRIPPENDORFF, images, np.random.default_rng(5)) for _ in range(2)
    )
    assert first == second
    assert first.interval is not None
    assert first.value is not None
    assert first.interval[0] < first.value < first.interval[1]
