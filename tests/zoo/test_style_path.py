"""Pictures between a photograph and its stylised copy, and in wrong colours."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.zoo.mini.augment import Crops
from benchmark.zoo.mini.bank import PHOTO, STYLE_IDS, Bank
from benchmark.zoo.mini.style_path import (
    COLOURED,
    OnThePath,
    StylePath,
    luma,
    part_of_the_way,
    recolour,
)

WHOLE = Crops(min_area=0.8, whole=1.0)


def pictures(seed: int, count: int = 64) -> Tensor:
    """[N, 3, 4, 4] in [-0.5, 0.5], so that nothing is clamped."""
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) - 0.5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_brightness_and_colour_each_go_a_part_of_the_way(seed: int) -> None:
    photos, styled = pictures(0), pictures(1)
    between, share = part_of_the_way(photos, styled, torch.Generator().manual_seed(seed))

    def part(before: Tensor, found: Tensor, after: Tensor) -> Tensor:
        way = (after - before).flatten(1)
        return ((found - before).flatten(1) * way).sum(1) / way.square().sum(1)

    bright = part(luma(photos), luma(between), luma(styled))
    colour = part(photos - luma(photos), between - luma(between), styled - luma(styled))
    inside = (between.abs() < 1).flatten(1).all(1)
    torch.testing.assert_close(share[inside], ((bright + colour) / 2)[inside], atol=1e-4, rtol=0)
    assert float(bright.min()) > -0.01 and float(bright.max()) < 1.01
    together = ((bright - colour).abs() < 1e-4).float().mean()
    assert 0.1 < float(together) < 0.6


def test_other_hues_have_the_same_brightness_and_are_far_away() -> None:
    images = pictures(2) * 0.5
    images[:, 0] += 0.3  # reddish, all of them
    found = recolour(images, torch.Generator().manual_seed(0))
    torch.testing.assert_close(luma(found), luma(images), atol=1e-3, rtol=0)
    before, after = ((x - luma(x)).mean((2, 3)) for x in (images, found))
    cosine = F.cosine_similarity(before, after, dim=1)
    # less than the turn's cosine and a little, since luma weighs the channels
    assert float(cosine.max()) < math.cos(1.0) + 0.3 and float(cosine.min()) < -0.9


def test_grey_pictures_get_a_tint() -> None:
    grey = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    found = recolour(grey - 0.5, torch.Generator().manual_seed(0))
    assert float((found - luma(found)).abs().mean((1, 2, 3)).median()) > 0.1


def test_the_loss_is_least_where_the_guide_says_how_far_a_picture_is() -> None:
    truth = OnThePath(torch.tensor([3]), torch.tensor([0.7]), torch.tensor([5]))

    def loss(style: float, wrong: float) -> float:
        p = torch.full((2, PHOTO + 1), 1e-4)
        p[0, 3], p[0, PHOTO] = style, 1 - style
        p[1, 5], p[1, PHOTO] = wrong, 1 - wrong
        return float(truth.loss(p.log())[0])

    assert loss(0.7, 0.1) < min(loss(0.5, 0.1), loss(0.9, 0.1))
    assert loss(0.7, 0.1) < loss(0.7, 0.5) < loss(0.7, 0.99)


@pytest.fixture(scope="module")
def bank(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return Bank(tiny_corpus, "train", tmp_path_factory.mktemp("bank"), 1)


def test_only_styles_with_colours_of_their_own_are_recoloured(bank: Bank) -> None:
    path = StylePath(bank, 10, 40, WHOLE)
    images, truth = path.draw(torch.Generator().manual_seed(0))
    assert images.shape == (50, 3, 64, 64) and float(images.abs().max()) < 3
    assert {STYLE_IDS[i] for i in truth.recoloured.tolist()} <= set(COLOURED)
    assert len(truth.share) == len(truth.half_styled) == 10
    again, same = path.draw(torch.Generator().manual_seed(0))
    assert torch.equal(images, again) and torch.equal(truth.share, same.share)
