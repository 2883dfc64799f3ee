from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from benchmark.stats import cluster_t_interval
from benchmark.stats.inputs import Floats
from reports.study.crossed import CrossedMean, crossed_mean


def layout(raters: int, images: int, prompts: int = 1) -> tuple[list[str], list[str]]:
    cells = [(r, i) for r in range(raters) for i in range(images) for _ in range(prompts)]
    return [f"r{r}" for r, _ in cells], [f"i{i}" for _, i in cells]


def of_table(table: Floats) -> CrossedMean:
    return crossed_mean(table.ravel(), *layout(*table.shape))


def test_a_complete_layout_gives_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    table = 60 + 9 * rng.normal(size=(6, 1)) + 7 * rng.normal(size=(1, 9)) + 5 * rng.normal(
        size=(6, 9)
    )  # fmt: skip
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    ms_rows = 9 * rows.var(ddof=1)
    ms_columns = 6 * columns.var(ddof=1)
    rest = table - rows[:, None] - columns[None, :] + mean
    ms_rest = (rest**2).sum() / (5 * 8)
    variance = (ms_rows + ms_columns - ms_rest) / table.size
    df = (ms_rows + ms_columns - ms_rest) ** 2 / (
        ms_rows**2 / 5 + ms_columns**2 / 8 + ms_rest**2 / 40
    )
    found = of_table(table)
    assert found.mean == pytest.approx(mean)
    assert found.error == pytest.approx(math.sqrt(variance))
    assert found.df == pytest.approx(max(df, 5))
    half = student.ppf(0.975, found.df) * math.sqrt(variance)
    assert found.interval() == pytest.approx((mean - half, mean + half))


def test_without_rater_effect_it_is_the_interval_by_images() -> None:
    """All raters give equal values: only images count, as with one rating of each."""
    values = np.array([50.0, 61.0, 72.0, 40.0, 55.0, 58.0])
    found = of_table(np.tile(values, (5, 1)))
    by_images = cluster_t_interval(values, [str(i) for i in range(6)])
    assert by_images is not None
    assert found.error == pytest.approx(values.std(ddof=1) / math.sqrt(6))
    assert found.df == pytest.approx(5)
    assert found.interval() == pytest.approx(by_images)


@given(seed=st.integers(0, 200), raters=st.integers(2, 6), images=st.integers(2, 6))
def test_the_roles_of_raters_and_images_can_be_swapped(seed: int, raters: int, images: int) -> None:
    table = np.random.default_rng(seed).normal(50, 10, (raters, images))
    one, other = of_table(table), of_table(table.T)
    assert one.error == pytest.approx(other.error)
    assert one.df == pytest.approx(other.df)


@given(seed=st.integers(0, 200), shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
def test_intervals_move_and_stretch_with_the_scale(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 10, 30)
    raters = rng.choice(list("abcde"), 30).tolist()
    images = rng.choice(list("uvwxyz"), 30).tolist()
    base = crossed_mean(values, raters, images).interval()
    moved = crossed_mean(shift + scale * values, raters, images).interval()
    assert base is not None
    assert moved == pytest.approx([shift + scale * end for end in base], abs=1e-6)


def test_partial_answers_enter_with_what_they_have() -> None:
    values = np.array([10.0, 20.0, 30.0, 40.0, 90.0])
    found = crossed_mean(values, ["a", "a", "b", "b", "c"], ["u", "v", "u", "v", "u"])
    assert (found.n, found.n_raters, found.n_images) == (5, 3, 2)
    assert found.mean == pytest.approx(38)
    assert found.interval() is not None


@pytest.mark.parametrize(("raters", "images"), [(["a"] * 3, list("uvw")), (list("abc"), ["u"] * 3)])
def test_one_rater_or_one_image_has_no_interval(raters: list[str], images: list[str]) -> None:
    found = crossed_mean(np.array([1.0, 2.0, 3.0]), raters, images)
    assert found.mean == 2
    assert found.interval() is None
    assert found.p_value() is None
    note = found.note()
    assert note is not None
    assert note.startswith("insufficient_n")


def test_equal_ratings_have_an_interval_without_width_and_no_test() -> None:
    found = of_table(np.full((3, 4), 70.0))
    assert found.interval() == (70, 70)
    assert found.p_value() is None
    assert found.note() == "all values are equal"


def test_no_ratings_have_no_mean() -> None:
    found = crossed_mean(np.array([]), [], [])
    assert (found.mean, found.interval(), found.note()) == (None, None, "no ratings")


def test_values_must_be_numbers() -> None:
    with pytest.raises(ValueError, match=r"values\[1\] is nan"):
        crossed_mean(np.array([1.0, math.nan]), ["a", "b"], ["u", "v"])


Draw = Callable[[np.random.Generator], tuple[Floats, list[str], list[str]]]


def ratings(
    raters: int, images: int, prompts: int, sd_rater: float, sd_image: float, mean: float = 0.0,
    partial: float = 0.0, on_scale: bool = False,
) -> Draw:  # fmt: skip
    """Ratings with effects of raters and images, an interaction (5) and a rest (12)."""
    rater, image = layout(raters, images, prompts)
    r = np.array([int(name[1:]) for name in rater])
    i = np.array([int(name[1:]) for name in image])

    def draw(rng: np.random.Generator) -> tuple[Floats, list[str], list[str]]:
        values = (
            mean + rng.normal(0, sd_rater, raters)[r] + rng.normal(0, sd_image, images)[i]
            + rng.normal(0, 5, (raters, images))[r, i] + rng.normal(0, 12, len(r))
        )  # fmt: skip
        if on_scale:
            values = np.clip(np.rint(values), 0, 100)
        share = np.where(rng.random(raters) < partial, rng.uniform(0.3, 0.9, raters), 1.0)
        kept = np.flatnonzero(rng.random(len(r)) < share[r])
        return values[kept], [rater[k] for k in kept], [image[k] for k in kept]

    return draw


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(ratings(20, 40, 1, 10, 10), id="the paper's size"),
        pytest.param(ratings(5, 10, 2, 10, 10), id="few of both"),
        pytest.param(ratings(5, 10, 2, 12, 2), id="raters differ"),
        pytest.param(ratings(8, 10, 2, 2, 12), id="images differ"),
        pytest.param(ratings(10, 12, 2, 8, 10, partial=0.4), id="partial answers"),
    ],
)
def test_a_95_percent_interval_covers_93_to_97_percent(draw: Draw) -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(1200):  # a standard deviation of 0.6 points
        interval = crossed_mean(*draw(rng)).interval()
        assert interval is not None
        hits += interval[0] <= 0 <= interval[1]
    assert 0.93 <= hits / 1200 <= 0.97


def test_it_stays_cautious_where_neither_raters_nor_images_differ() -> None:
    rng = np.random.default_rng(8)
    draw = ratings(6, 10, 1, 0, 0)
    hits = 0
    for _ in range(1000):
        interval = crossed_mean(*draw(rng)).interval()
        assert interval is not None
        hits += interval[0] <= 0 <= interval[1]
    assert hits / 1000 >= 0.95


def test_ratings_on_the_bounded_scale_are_covered_too() -> None:
    draw = ratings(12, 20, 1, 8, 8, mean=85, on_scale=True)
    rng = np.random.default_rng(9)
    # the mean of clipped ratings, known from many draws
    truth = np.mean([draw(rng)[0].mean() for _ in range(4000)])
    hits = 0
    for _ in range(1200):
        interval = crossed_mean(*draw(rng)).interval()
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert 0.93 <= hits / 1200 <= 0.97


def test_p_values_reject_a_true_hypothesis_at_their_level() -> None:
    rng = np.random.default_rng(10)
    draw = ratings(8, 16, 1, 6, 6)
    p = [crossed_mean(*draw(rng)).p_value() for _ in range(1200)]
    rejected = np.mean([value is not None and value < 0.05 for value in p])
    assert 0.03 <= rejected <= 0.07
