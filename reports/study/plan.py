"""Which pairs of image and prompt are shown, and under which names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmark.errors import RunDirectoryError, UsageError
from benchmark.noise import derived_seed
from reports.collect import CollectedRun
from reports.study.key import KeyItem

Grid = npt.NDArray[np.bool_]
Pair = tuple[str, str]

DEFAULT_PAIRS = 40


def draw_evenly(available: Grid, n: int, rng: np.random.Generator) -> Grid:
    """Draw ``n`` cells with row counts and column counts as equal as the grid allows.

    The sum of the squared counts of rows and columns is the smallest that any ``n`` available cells
    have; where no cell is missing, counts of rows differ by at most one, and those of columns too.
    Ties are broken at random. The cells are the edges of a flow from rows to columns with convex
    costs, found by successive shortest augmenting paths (Ahuja, Magnanti & Orlin 1993, section
    14.5): only the first edge (into a row) and the last one (out of a column) cost anything, so a
    path is the cheapest row that reaches a column by exchanging cells.

    Args:
        available: [R, C] which cells may be drawn.
        n: between 0 and the number of those.
        rng: breaks ties.

    Returns:
        [R, C] the drawn cells.

    Raises:
        ValueError: ``n`` is out of range.
    """
    if not 0 <= n <= available.sum():
        raise ValueError(f"n must lie in [0, {available.sum()}], got {n}")
    drawn = np.zeros_like(available)
    for _ in range(n):
        _augment(available, drawn, rng)
    return drawn


def _augment(available: Grid, drawn: Grid, rng: np.random.Generator) -> None:
    """Add one cell to ``drawn``, exchanging others where that evens the counts out."""
    n_rows, n_columns = available.shape
    # noise below one half orders what costs the same and nothing else
    row_cost = drawn.sum(axis=1) + 0.4 * rng.random(n_rows)
    column_cost = drawn.sum(axis=0) + 0.4 * rng.random(n_columns)
    row_cost[~available.any(axis=1)] = np.inf
    free = available & ~drawn
    from_column = np.full(n_rows, -1)
    from_row = np.full(n_columns, -1)
    reach = np.full(n_columns, np.inf)
    changed = True
    while changed:
        to_columns = np.where(free, row_cost[:, None], np.inf)
        better = to_columns.min(axis=0) < reach
        from_row[better] = to_columns.argmin(axis=0)[better]
        reach[better] = to_columns.min(axis=0)[better]
        to_rows = np.where(drawn, reach[None, :], np.inf)
        cheaper = to_rows.min(axis=1) < row_cost
        from_column[cheaper] = to_rows.argmin(axis=1)[cheaper]
        row_cost[cheaper] = to_rows.min(axis=1)[cheaper]
        changed = bool(cheaper.any())
    column = int(np.argmin(reach + column_cost))
    while column >= 0:
        row = int(from_row[column])
        drawn[row, column] = True
        column = int(from_column[row])
        if column >= 0:
            drawn[row, column] = False


def common_pairs(runs: Sequence[CollectedRun]) -> tuple[list[str], list[str], Grid]:
    """Image ids, prompt ids, and [images, prompts] which pairs every run made.

    Raises:
        RunDirectoryError: there is no such pair.
    """
    images = sorted(set(runs[0].image_ids))
    prompts = [prompt.id for prompt in runs[0].manifest.config.prompts]
    common = np.ones((len(images), len(prompts)), dtype=np.bool_)
    for run in runs:
        made = np.zeros_like(common)
        for image, prompt, ok in zip(run.image_ids, run.prompt_ids, run.made, strict=True):
            made[images.index(image), prompts.index(prompt)] = ok
        common &= made
    if not common.any():
        raise RunDirectoryError(
            "there is no image and prompt that all of these runs made, so there is nothing to show"
        )
    return images, prompts, common


def choose_pairs(runs: Sequence[CollectedRun], n: int | None, seed: int) -> list[Pair]:
    """Draw (image id, prompt id) pairs that every run made, by :func:`draw_evenly`.

    The draw depends on the seed, the dataset and which pairs there are, not on the methods.

    Args:
        runs: of one dataset and prompt set.
        n: how many; for None ``DEFAULT_PAIRS``, or all if there are fewer.

    Raises:
        UsageError: ``n`` is more than there are.
        RunDirectoryError: there is none.
    """
    images, prompts, common = common_pairs(runs)
    most = int(common.sum())
    if n is not None and n > most:
        raise UsageError(
            f"--images {n} asks for more than there are: all runs made {most} pairs of image and "
            f"prompt. Use --images {most} or less, or run more images or prompts."
        )
    config = runs[0].manifest.config
    label = f"{config.protocol}/{config.dataset}/{config.fingerprint}"
    rng = np.random.default_rng(derived_seed(seed, label, "study pairs"))
    drawn = draw_evenly(common, min(DEFAULT_PAIRS, most) if n is None else n, rng)
    return [(images[row], prompts[column]) for row, column in np.argwhere(drawn)]


def name_items(
    runs: Sequence[CollectedRun], pairs: Sequence[Pair], repeats: int, seed: int
) -> dict[str, KeyItem]:
    """Every pair by every method, and the repeats, under numbers dealt at random.

    Repeats are spread evenly over methods and pairs. A number says nothing about the method, about
    the pair, or about being a repeat.

    Args:
        runs: their order is that of the key's entries.
        repeats: how many items are shown twice.

    Returns:
        items by name, sorted by name.

    Raises:
        UsageError: more repeats than items.
    """
    n_items = len(runs) * len(pairs)
    if repeats > n_items:
        raise UsageError(f"--repeats {repeats} is more than the {n_items} pictures of the study")
    label = "/".join(run.manifest.config_hash for run in runs)
    rng = np.random.default_rng(derived_seed(seed, label, "study items"))
    repeated = draw_evenly(np.ones((len(runs), len(pairs)), dtype=np.bool_), repeats, rng)
    width = max(3, len(str(n_items + repeats)))
    numbers = iter(rng.permutation(n_items + repeats) + 1)
    items: dict[str, KeyItem] = {}
    for entry, run in enumerate(runs):
        texts = {prompt.id: prompt.caption for prompt in run.manifest.config.prompts}
        for number, (image, prompt) in enumerate(pairs):
            item = KeyItem(
                entry=entry, sample_id=f"{image}__{prompt}", image_id=image, prompt_id=prompt,
                prompt=texts[prompt],
            )  # fmt: skip
            name = f"p{next(numbers):0{width}d}"
            items[name] = item
            if repeated[entry, number]:
                again = f"p{next(numbers):0{width}d}"
                items[again] = item.model_copy(update={"repeat_of": name})
    return dict(sorted(items.items()))
