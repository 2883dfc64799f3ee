"""Random crops: geometry, independence of samples, and the distance to ZeCon's own augmentation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from benchmark.guidance.crops import (
    CropMaps,
    affine_map,
    cut,
    draw_crops,
    perspective_map,
    sample_bilinear,
)
from benchmark.noise import NoiseSource
from tests.golden.official_format import named_normal, picture

GOLDEN = Path(__file__).parents[1] / "golden"


def window_maps(corners: Tensor, side: int, size: int) -> CropMaps:
    """Plain windows of ``side`` pixels at top-left ``corners`` [N, 2] of one image."""
    centre = (2 * corners.float() + side) / size - 1
    count = len(corners)
    return CropMaps(
        centre[None], torch.full((1, count, 2), side / size),
        affine_map(torch.zeros(1, count), torch.zeros(1, count, 2)),
        perspective_map(torch.zeros(1, count, 4, 2)),
    )  # fmt: skip


@given(st.integers(0, 16), st.integers(0, 16))
@settings(max_examples=20, deadline=None)
def test_a_window_at_its_own_size_is_a_slice(x: int, y: int) -> None:
    image = named_normal("slice", (1, 3, 32, 32))
    crop = cut(image, window_maps(torch.tensor([[x, y]]), 16, 32), 16)
    torch.testing.assert_close(crop, image[:, :, y : y + 16, x : x + 16], atol=1e-5, rtol=1e-5)


def test_close_to_the_official_augmentation_with_its_parameters() -> None:
    """``tests/golden/make_crops.py``: ImageAugmentations of YSerin/ZeCon 51e679e with kornia 0.6.4.

    Upstream resamples thrice at 128 pixels and pools, ours once: on smooth images crops differ by
    0.01 of [-1, 1] on average, and by more where the rim of the perspective map falls (upstream
    fades it over a pixel before pooling).
    """
    golden = load_file(GOLDEN / "crops.safetensors")
    size, last = 64, 127
    x1, y1, x2, y2 = golden["box"].unbind(1)
    ends = golden["corners"] * 2 / last - 1
    square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    maps = CropMaps(
        torch.stack([(x1 + x2 + 1) / size - 1, (y1 + y2 + 1) / size - 1], 1)[None],
        # kornia measures a box between the centres of its outer pixels
        torch.stack([(x2 - x1) / size, (y2 - y1) / size], 1)[None],
        # and turns clockwise
        affine_map(-golden["angle"].deg2rad(), golden["translation"] * 2 / last)[None],
        perspective_map((square - ends) / square)[None],
    )
    image = picture("crops", size)
    for expected, side in ((golden["pooled"], 32), (golden["crop"], 128)):
        ours = cut(image, maps, side)[: len(expected)]
        difference = (ours - expected).abs()
        assert difference.mean() < 0.015
        assert difference.median() < 0.005
        assert difference.mean() < 0.1 * expected.std()


def test_perspective_moves_the_corners_inward() -> None:
    inward = torch.rand(5, 4, 2, generator=torch.Generator().manual_seed(0)) * 0.6
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    homography = perspective_map(inward)
    moved = corners * (1 - inward)
    points = torch.cat([moved, torch.ones(5, 4, 1)], -1)
    seen = torch.einsum("nij,nkj->nki", homography, points)
    torch.testing.assert_close(seen[..., :2] / seen[..., 2:], corners.expand(5, -1, -1))


def test_affine_map_undoes_rotation_and_shift() -> None:
    angle, shift = torch.tensor([math.radians(10)]), torch.tensor([[0.1, -0.2]])
    inverse = affine_map(angle, shift)[0]
    cos, sin = math.cos(angle), math.sin(angle)
    point = torch.tensor([0.3, 0.5])
    there = torch.tensor([[cos, sin], [-sin, cos]]) @ point + shift[0]
    torch.testing.assert_close(inverse[:, :2] @ there + inverse[:, 2], point)


@given(st.floats(0.01, 0.5), st.floats(0.0, 0.5), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_windows_lie_in_the_image_and_have_the_asked_area(
    low: float, extra: float, seed: int
) -> None:
    noise = NoiseSource(seed, ["a", "b"])
    maps = draw_crops(noise, "crops/1", 16, scale=(low, low + extra), augment=True)
    assert maps.centre.shape == (2, 16, 2)
    assert ((maps.centre.abs() + maps.half_size) <= 1 + 1e-6).all()
    area = maps.half_size.prod(-1)
    ratio = maps.half_size[..., 0] / maps.half_size[..., 1]
    inside = (maps.half_size < 1).all(-1)
    assert (area <= low + extra + 1e-6).all()
    assert (area[inside] >= low - 1e-6).all()
    assert (ratio[inside].log().abs() <= math.log(4 / 3) + 1e-5).all()


def test_crops_of_a_sample_ignore_its_neighbours() -> None:
    images = named_normal("batch", (3, 3, 32, 32))
    maps = draw_crops(NoiseSource(3, ["a", "b", "c"]), "crops", 5, scale=(0.1, 0.3), augment=True)
    together = cut(images, maps, 16).view(3, 5, 3, 16, 16)
    alone = draw_crops(NoiseSource(3, ["b"]), "crops", 5, scale=(0.1, 0.3), augment=True)
    torch.testing.assert_close(cut(images[1:2], alone, 16), together[1])
    other = draw_crops(NoiseSource(3, ["b"]), "other", 5, scale=(0.1, 0.3), augment=True)
    assert not torch.equal(other.centre, alone.centre)


def test_without_augmentation_the_whole_image_is_only_resized() -> None:
    image = picture("plain", 32)
    maps = draw_crops(NoiseSource(0, ["a"]), "crops", 2, scale=None, augment=False)
    crops = cut(image, maps, 32)
    torch.testing.assert_close(crops, image.expand(2, -1, -1, -1), atol=1e-5, rtol=1e-5)


def test_outside_of_the_perspective_is_grey_and_the_gradient_finite() -> None:
    image = torch.ones(1, 3, 32, 32, requires_grad=True)
    maps = draw_crops(NoiseSource(0, ["a"]), "crops", 64, scale=(0.01, 0.3), augment=True)
    crops = cut(image, maps, 24)
    # of a white image every crop is white or grey
    assert ((crops - 1).abs() < 1e-5).logical_or(crops == 0).all()
    grey = (crops == 0).float().mean()
    assert 0.2 < grey < 0.8  # corners move inward by up to 0.7 of half the side
    crops.square().sum().backward()
    assert image.grad is not None and image.grad.isfinite().all() and image.grad.abs().sum() > 0


def test_a_point_at_the_horizon_gives_no_nan() -> None:
    """w = 0 on a pixel: its mask must not let the NaN of 0 * infinity into the gradient."""
    image = named_normal("horizon", (1, 3, 8, 8)).requires_grad_()
    maps = window_maps(torch.tensor([[0, 0]]), 8, 8)
    homography = torch.eye(3).view(1, 1, 3, 3).clone()
    homography[..., 2, :] = torch.tensor([1.0, 0.0, 0.125])  # zero in one column of an 8-wide crop
    maps = CropMaps(maps.centre, maps.half_size, maps.affine, homography)
    crops = cut(image, maps, 8)
    crops.sum().backward()
    assert crops.isfinite().all()
    assert image.grad is not None and image.grad.isfinite().all()


def test_autocast_does_not_blur_the_coordinates() -> None:
    image = picture("cast", 64)
    maps = draw_crops(NoiseSource(0, ["a"]), "crops", 4, scale=(0.1, 0.3), augment=True)
    with torch.autocast("cpu", torch.bfloat16):
        cast = cut(image, maps, 32)
    assert torch.equal(cast, cut(image, maps, 32))


@pytest.mark.parametrize("count", [1, 7])
def test_crops_are_sample_major(count: int) -> None:
    images = torch.stack([torch.full((3, 16, 16), float(i)) for i in range(3)])
    maps = draw_crops(NoiseSource(0, ["a", "b", "c"]), "c", count, scale=(0.2, 0.3), augment=False)
    means = cut(images, maps, 8).mean((1, 2, 3))
    torch.testing.assert_close(means, torch.arange(3.0).repeat_interleave(count))


def test_deterministic_sampling_gives_the_same_crops_and_gradients() -> None:
    image = named_normal("deterministic", (2, 3, 20, 28)).requires_grad_()
    grid = 2.4 * torch.rand(2, 9, 7, 2, generator=torch.Generator().manual_seed(0)) - 1.2
    probe = named_normal("probe", (2, 3, 9, 7))
    results = []
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        try:
            crops = sample_bilinear(image, grid)
            results.append((crops.detach(), torch.autograd.grad((crops * probe).sum(), image)[0]))
        finally:
            torch.use_deterministic_algorithms(False)
    for usual, deterministic_result in zip(*results, strict=True):
        torch.testing.assert_close(usual, deterministic_result, atol=1e-5, rtol=1e-5)


def test_crops_are_shifted_up_and_down_alone_as_upstream() -> None:
    maps = draw_crops(NoiseSource(0, ["a"]), "crops", 400, scale=None, augment=True)
    rotation, moved = maps.affine[..., :2], maps.affine[..., 2:]
    shift = -torch.linalg.solve(rotation, moved)[..., 0]  # undo the rotation of the inverse map
    assert shift[..., 0].abs().max() < 1e-6
    assert 0.18 < shift[..., 1].abs().max() <= 0.2  # a tenth of the side, which is 2 long
