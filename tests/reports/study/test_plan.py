from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import RunDirectoryError, UsageError
from reports.study.new import read_entries
from reports.study.plan import choose_pairs, draw_evenly, name_items
from tests.runs import write_run


def unevenness(drawn: npt.NDArray[np.bool_]) -> int:
    return int((drawn.sum(axis=0) ** 2).sum() + (drawn.sum(axis=1) ** 2).sum())


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_counts_of_rows_and_columns_differ_by_at_most_one(
    rows: int, columns: int, share: float, seed: int
) -> None:
    n = round(share * rows * columns)
    drawn = draw_evenly(np.ones((rows, columns), dtype=bool), n, np.random.default_rng(seed))
    assert drawn.sum() == n
    assert np.ptp(drawn.sum(axis=0)) <= 1
    assert np.ptp(drawn.sum(axis=1)) <= 1


@given(cells=st.lists(st.booleans(), min_size=12, max_size=12), n=st.integers(0, 6),
       seed=st.integers(0, 99))  # fmt: skip
def test_with_missing_cells_no_draw_is_more_even(cells: list[bool], n: int, seed: int) -> None:
    available = np.array(cells).reshape(4, 3)
    n = min(n, int(available.sum()))
    drawn = draw_evenly(available, n, np.random.default_rng(seed))
    assert drawn.sum() == n
    assert not (drawn & ~available).any()
    best = None
    for chosen in itertools.combinations(np.flatnonzero(available), n):
        other = np.zeros(12, dtype=bool)
        other[list(chosen)] = True
        cost = unevenness(other.reshape(4, 3))
        best = cost if best is None else min(best, cost)
    assert unevenness(drawn) == best


def test_every_cell_has_the_same_chance() -> None:
    rng = np.random.default_rng(0)
    times = sum(draw_evenly(np.ones((3, 4), dtype=bool), 5, rng).astype(int) for _ in range(3000))
    # 3000 x 5/12 with a standard deviation of 27
    assert np.abs(times - 1250).max() < 110


def test_a_draw_is_bounded_by_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"n must lie in \[0, 4\], got 5"):
        draw_evenly(np.ones((2, 2), dtype=bool), 5, np.random.default_rng(0))


def test_the_draw_hangs_on_the_seed_and_not_on_the_methods(tmp_path: Path) -> None:
    for method in ("ours", "zecon", "other"):
        write_run(tmp_path / "a", method=method, n_images=12)
    write_run(tmp_path / "b", method="zecon", n_images=12)
    three, one = read_entries([tmp_path / "a"]), read_entries([tmp_path / "b"])
    assert choose_pairs(three, 10, seed=3) == choose_pairs(one, 10, seed=3)
    assert choose_pairs(three, 10, seed=3) != choose_pairs(three, 10, seed=4)
    assert name_items(three, choose_pairs(three, 10, 3), 4, seed=3) == name_items(
        three, choose_pairs(three, 10, 3), 4, seed=3
    )


def test_only_pairs_that_all_methods_made_are_drawn(tmp_path: Path) -> None:
    write_run(tmp_path, method="ours", n_images=3, failed=["image0000__golden"])
    write_run(tmp_path, method="zecon", n_images=3, failed=["image0002__red-bricks"])
    pairs = choose_pairs(read_entries([tmp_path]), None, seed=0)
    assert len(pairs) == 4
    assert ("image0000", "golden") not in pairs
    assert ("image0002", "red-bricks") not in pairs
    with pytest.raises(UsageError, match=r"--images 5 .* all runs made 4 pairs"):
        choose_pairs(read_entries([tmp_path]), 5, seed=0)


def test_runs_without_a_common_pair_cannot_be_studied(tmp_path: Path) -> None:
    samples = ["image0000__golden", "image0000__red-bricks"]
    write_run(tmp_path, method="ours", n_images=1, failed=samples[:1])
    write_run(tmp_path, method="zecon", n_images=1, failed=samples[1:])
    with pytest.raises(RunDirectoryError, match="no image and prompt that all"):
        choose_pairs(read_entries([tmp_path]), None, seed=0)


def test_methods_show_the_same_pairs_and_repeats_are_spread(tmp_path: Path) -> None:
    for method in ("ours", "zecon"):
        write_run(tmp_path, method=method, n_images=6)
    runs = read_entries([tmp_path])
    pairs = choose_pairs(runs, 8, seed=0)
    items = name_items(runs, pairs, 5, seed=0)
    originals = [item for item in items.values() if item.repeat_of is None]
    repeats = [item for item in items.values() if item.repeat_of is not None]
    for entry in (0, 1):
        shown = [(item.image_id, item.prompt_id) for item in originals if item.entry == entry]
        assert sorted(shown) == sorted(pairs)
    assert len(items) == 2 * 8 + 5
    assert sorted(Counter(item.entry for item in repeats).values()) == [2, 3]
    assert len({item.sample_id for item in repeats}) == 5
    for item in repeats:
        assert item.repeat_of is not None
        assert items[item.repeat_of] == item.model_copy(update={"repeat_of": None})
    with pytest.raises(UsageError, match="--repeats 17 is more than the 16 pictures"):
        name_items(runs, pairs, 17, seed=0)


def test_names_of_items_say_nothing_of_their_method(tmp_path: Path) -> None:
    for method in ("ours", "zecon"):
        write_run(tmp_path, method=method, n_images=20)
    runs = read_entries([tmp_path])
    items = name_items(runs, choose_pairs(runs, 40, seed=0), 10, seed=0)
    entries = np.array([item.entry for item in items.values()])
    repeated = np.array([item.repeat_of is not None for item in items.values()])
    place = np.arange(len(items))
    # a rank correlation of 90 names has a standard deviation of about 0.11 under chance
    for told in (entries, repeated):
        assert abs(np.corrcoef(place, told)[0, 1]) < 0.33
    assert [*items] == [f"p{number:03d}" for number in range(1, 91)]
