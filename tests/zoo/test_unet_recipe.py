"""What the mini U-Net is shown: pictures at three sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.errors import DataError
from benchmark.zoo.mini import corpus
from benchmark.zoo.mini.unet import (
    CLASSES,
    CONFIG,
    LABELS,
    PICTURES,
    SIDES,
    TIMESTEPS,
    UNetRecipe,
    class_index,
)
from benchmark.zoo.mini.unet_heads import HEADS_SHARE, UNetHeadsRecipe
from benchmark.zoo.mini.unet_heads import PICTURES as HEADS_PICTURES


@pytest.fixture
def black_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stylised pictures are black, which no photograph of the corpus is."""

    def black(folder: Path, split: str, copy: int, cache: Path) -> corpus.Pixels:
        count = len(corpus.load(folder, split, corpus.PHOTO_DOMAINS))
        return np.zeros((count, 64, 64, 3), np.uint8)

    monkeypatch.setattr(corpus, "stylised", black)


@pytest.fixture
def recipe(tiny_corpus: Path, tmp_path: Path, black_copies: None) -> UNetRecipe:
    return UNetRecipe(tiny_corpus, tmp_path, steps=1, batch_size=400, copies=1)


@pytest.fixture
def heads_recipe(tiny_corpus: Path, tmp_path: Path, black_copies: None) -> UNetHeadsRecipe:
    """The heads are white."""
    bank = tmp_path / "bank"
    bank.mkdir()
    np.save(bank / "dog-heads-train-68.npy", np.full((2, 68, 68, 3), 255, np.uint8))
    return UNetHeadsRecipe(tiny_corpus, bank, steps=1, batch_size=400, copies=1)


@pytest.mark.parametrize("side", SIDES)
def test_a_side_has_pictures_labels_and_timesteps_of_its_own(recipe: UNetRecipe, side: int) -> None:
    x0, labels, t = recipe.batch(side, torch.Generator().manual_seed(0))
    count = 200 * PICTURES[side]
    assert x0.shape == (count, 3, side, side) and x0.abs().max() <= 1
    names = {LABELS[int(label)] for label in labels}
    assert names == {c if side == 64 else f"{c}-{side}" for c in CLASSES}
    unconditional = (labels == class_index("unconditional", side)).float().mean()
    assert 0.08 < unconditional < 0.22 if side < 64 else 0.25 < unconditional < 0.4
    assert t.min() >= 0 and 800 < t.max() <= 999, "every timestep is seen at every side"
    first, end = TIMESTEPS[side]
    assert 0.87 < ((first <= t) & (t < end)).float().mean() < 0.97


def test_only_64_below_the_timesteps_of_transfer_is_stylised(recipe: UNetRecipe) -> None:
    for side in SIDES:
        x0, labels, t = recipe.batch(side, torch.Generator().manual_seed(1))
        black = (x0 == -1).flatten(1).all(1)
        unlabelled = labels == class_index("unconditional", side)
        if side == 64:
            assert not black[t >= TIMESTEPS[side][1]].any()
            assert 0.35 < black[t < TIMESTEPS[side][1]].float().mean() < 0.65
            assert 0.35 < unlabelled[black].float().mean() < 0.65
            assert 0.05 < unlabelled[~black].float().mean() < 0.25
        else:
            assert not black.any()


def test_labels_of_sides_and_domains() -> None:
    assert len(LABELS) == CONFIG.num_classes == len(set(LABELS))
    assert LABELS[: len(CLASSES)] == CLASSES
    assert LABELS[class_index("dogs", 16)] == "dogs-16"
    assert class_index("interiors", 32) == class_index("bedrooms", 32)


@pytest.mark.parametrize("side", SIDES)
def test_the_second_stage_shows_heads_and_at_small_sides_no_whole_dog(
    heads_recipe: UNetHeadsRecipe, side: int
) -> None:
    x0, labels, _ = heads_recipe.batch(side, torch.Generator().manual_seed(2))
    assert len(x0) == 200 * HEADS_PICTURES[side]
    white = (x0 == 1).flatten(1).all(1)
    unstylised = ~(x0 == -1).flatten(1).all(1)
    share = white.sum() / unstylised.sum()
    assert float(share) == pytest.approx(HEADS_SHARE[side], abs=0.1)
    dogs, unlabelled = (labels == class_index(n, side) for n in ("dogs", "unconditional"))
    assert torch.all(dogs[white] | unlabelled[white])
    assert float(unlabelled[white].float().mean()) < 0.1
    assert bool((dogs & ~white & unstylised).any()) is (side == 64)


def test_the_second_stage_starts_from_the_first(heads_recipe: UNetHeadsRecipe) -> None:
    with pytest.raises(DataError, match=r"starts from unet-base.* train it first"):
        heads_recipe.build()
