"""Guidance losses against ZeCon's code (``tests/golden/make_zecon.py``, YSerin/ZeCon 51e679e)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter
from torch import Tensor

from benchmark.guidance.content import ContrastiveReference
from benchmark.guidance.gradient import LossGradient, unit_gradient
from benchmark.guidance.losses import (
    info_nce,
    mean_squared,
    range_penalty,
    unit_channels,
    with_tone,
)
from benchmark.guidance.style import StyleTarget, directional_loss, global_loss
from benchmark.zoo.vgg import VggFeatures
from tests.golden.official_format import VGG_WIDTHS, filled_state, named_normal, shapes_of

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "zecon.safetensors")


@pytest.mark.parametrize("sides", [(64, 64), (16, 24), (5, 3)])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_tone_is_what_scipys_blur_leaves(share: float, sides: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(0))
    sigma = min(sides) / 8
    reach = min(math.ceil(3 * sigma), min(sides) - 1)
    tone = gaussian_filter(
        images.double().numpy(), (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, reach, reach)
    )
    torch.testing.assert_close(
        with_tone(images, share), images - (1 - share) * torch.from_numpy(tone).float(),
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip


def test_with_tone_a_tint_costs_nothing_and_an_edge_as_much_as_before() -> None:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tinted = picture + torch.tensor([0.3, -0.2, 0.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(with_tone(tinted, 0.0), with_tone(picture, 0.0))
    torch.testing.assert_close(
        mean_squared(with_tone(tinted, 0.5), with_tone(picture, 0.5)),
        0.25 * mean_squared(tinted, picture),
    )
    assert with_tone(picture, 1.0) is picture
    line = picture.clone()
    line[..., 16] += 0.3
    moved = mean_squared(with_tone(line, 0.0), with_tone(picture, 0.0))
    assert moved > 0.8 * mean_squared(line, picture)


def test_range_penalty_equals_the_official_one(golden: dict[str, Tensor]) -> None:
    images = 1.5 * named_normal("losses/images", (2, 3, 8, 8))
    torch.testing.assert_close(range_penalty(images), golden["losses/range"])


def test_clip_losses_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    embeddings = named_normal("losses/embeddings", (6, 24))
    style = StyleTarget(
        named_normal("losses/text", (1, 24)), named_normal("losses/source", (1, 24))
    )
    whole = named_normal("losses/whole", (1, 24))
    # each crop as a sample of its own gives the distances one by one
    each = StyleTarget(style.target.expand(6, -1), style.source.expand(6, -1))
    torch.testing.assert_close(global_loss(embeddings[:, None], each), golden["losses/global"])
    torch.testing.assert_close(
        directional_loss(embeddings[:, None], whole[None], each), golden["losses/directional"]
    )
    # and the loss of a sample is their mean
    torch.testing.assert_close(
        global_loss(embeddings[None], style)[0], golden["losses/global"].mean()
    )
    torch.testing.assert_close(
        directional_loss(embeddings[None], whole[None], style)[0],
        golden["losses/directional"].mean(),
    )


def test_contrastive_loss_equals_the_official_one(golden: dict[str, Tensor]) -> None:
    outputs = [named_normal(f"losses/features/{i}", (1, 8, 6, 6)) for i in range(2)]
    sources = [named_normal(f"losses/others/{i}", (1, 8, 6, 6)) for i in range(2)]
    reference = ContrastiveReference(sources, [None, None], torch.tensor([0]), anchors=256)
    loss = reference.loss(
        outputs, lambda place, n: named_normal(f"losses/order/{place}", (n,)).argsort()[None], 0.07
    )
    torch.testing.assert_close(loss[0], golden["losses/contrastive"])


def test_vgg_loss_equals_the_official_one(golden: dict[str, Tensor]) -> None:
    vgg = VggFeatures(VGG_WIDTHS)
    vgg = VggFeatures.from_state_dict(filled_state(shapes_of(vgg), "vgg"))
    a, b = (
        vgg(named_normal(f"losses/vgg/{i}", (1, 3, 32, 32)), ("conv1_1", "conv2_1"))
        for i in range(2)
    )
    loss = sum(mean_squared(a[name], b[name]) for name in a)
    torch.testing.assert_close(loss[0], golden["losses/vgg"])


@given(st.integers(2, 40), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_contrast_is_log_n_without_information_and_small_for_equal_features(
    count: int, seed: int
) -> None:
    same = unit_channels(torch.ones(1, count, 8))
    assert info_nce(same, same, 0.07).item() == pytest.approx(math.log(count), abs=1e-4)
    distinct = torch.eye(count)[None]
    assert info_nce(distinct, distinct, 0.07).item() < 1e-4
    keys = unit_channels(named_normal(f"nce/{seed}", (1, count, 8)))
    swapped = keys.roll(1, dims=1)
    assert info_nce(keys, keys, 0.07) < info_nce(swapped, keys, 0.07)


def test_keys_receive_no_gradient() -> None:
    query = unit_channels(named_normal("q", (1, 5, 8))).requires_grad_()
    key = unit_channels(named_normal("k", (1, 5, 8))).requires_grad_()
    info_nce(query, key, 0.07).sum().backward()
    assert query.grad is not None and query.grad.abs().sum() > 0
    assert key.grad is None


def test_directional_loss_rewards_the_wanted_direction() -> None:
    source, target = named_normal("s", (1, 24)), named_normal("t", (1, 24))
    style = StyleTarget(target, source)
    start = named_normal("image", (1, 1, 24))
    along = start + 0.3 * (target - source)
    assert directional_loss(along, start, style).item() == pytest.approx(0.0, abs=1e-5)
    against = start - 0.3 * (target - source)
    assert directional_loss(against, start, style).item() == pytest.approx(2.0, abs=1e-5)


def test_losses_of_a_sample_ignore_its_neighbours() -> None:
    images = named_normal("neighbours", (3, 3, 8, 8))
    for loss in (range_penalty(images), mean_squared(images, images.flip(1))):
        assert loss.shape == (3,)
    alone = mean_squared(images[1:2], images.flip(1)[1:2])
    torch.testing.assert_close(mean_squared(images, images.flip(1))[1:2], alone)


def test_unit_gradients_move_a_picture_by_their_weights_whatever_the_scale_of_the_loss() -> None:
    image = 1.5 * named_normal("unit", (2, 3, 4, 4))

    def gradient(scale: float) -> Tensor:
        total = LossGradient(image, unit=["mse", "vgg"])
        losses = {
            "mse": scale * mean_squared(total.image, image.flip(3)),
            "vgg": mean_squared(total.image**2, image),
            "range": range_penalty(total.image),
        }
        total.add(losses, {"mse": 2.0, "vgg": 0.5, "range": 3.0})
        return total.total

    torch.testing.assert_close(gradient(1.0), gradient(1e6))
    leaf = image.clone().requires_grad_()
    parts = []
    for loss, weight in (
        (mean_squared(leaf, image.flip(3)), 2.0), (mean_squared(leaf**2, image), 0.5),
    ):  # fmt: skip
        (plain,) = torch.autograd.grad(loss.sum(), leaf)
        unit = unit_gradient(plain)
        torch.testing.assert_close(unit.square().mean((1, 2, 3)), torch.ones(2))
        parts.append(weight * unit)
    (barrier,) = torch.autograd.grad(3.0 * range_penalty(leaf).sum(), leaf)
    torch.testing.assert_close(gradient(1.0), sum(parts) + barrier)


def test_a_loss_without_a_gradient_stays_without_one() -> None:
    gradient = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    assert torch.equal(unit_gradient(gradient), gradient)


def test_branches_add_up_to_the_gradient_of_the_whole_sum() -> None:
    image = 1.5 * named_normal("branches", (2, 3, 4, 4))
    weights = {"range": 3.0, "mse": 5.0, "unused": 7.0}
    total = LossGradient(image)
    total.add({"range": range_penalty(total.image)}, weights)
    total.add({"mse": mean_squared(total.image, image.flip(3))}, weights)
    total.add({}, weights)
    leaf = image.clone().requires_grad_()
    loss = 3.0 * range_penalty(leaf) + 5.0 * mean_squared(leaf, image.flip(3))
    (expected,) = torch.autograd.grad(loss.sum(), leaf)
    torch.testing.assert_close(total.total, expected)
    torch.testing.assert_close(sum(total.values.values()), loss.detach())
    assert list(total.values) == ["range", "mse"]
