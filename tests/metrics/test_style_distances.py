"""Distances to a style image: Gram matrices, sliced Wasserstein, colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from benchmark.errors import DataError
from benchmark.metrics.style_distances import (
    STYLE_LAYERS,
    colour_histogram,
    colour_histogram_distance,
    gram_distance,
    gram_matrix,
    random_directions,
    sliced_wasserstein,
    squared_transport,
)

CHANNELS = (3, 5)


def maps(seed: int, height: int = 6, width: int = 7) -> dict[str, Tensor]:
    """Features of two images in two layers, rectified as VGG's are."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layer{place}": torch.randn(2, channels, height, width, generator=generator).relu()
        for place, channels in enumerate(CHANNELS)
    }


def directions(seed: int = 0, count: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layer{place}": random_directions(count, channels, generator)
        for place, channels in enumerate(CHANNELS)
    }


def swd(a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
    return sliced_wasserstein(a, b, directions())


def shuffled(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same feature vectors in other places."""
    generator = torch.Generator().manual_seed(9)
    moved = {}
    for name, layer in features.items():
        order = torch.randperm(layer.shape[2] * layer.shape[3], generator=generator)
        moved[name] = layer.flatten(2)[..., order].view_as(layer)
    return moved


feature_distance = pytest.mark.parametrize("distance", [gram_distance, swd])


@feature_distance
def test_feature_distances_are_zero_for_equal_features_wherever_they_lie(distance: Any) -> None:
    a = maps(0)
    assert distance(a, a).tolist() == [0.0, 0.0]
    assert distance(a, shuffled(a)).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


@feature_distance
def test_feature_distances_are_symmetric_positive_and_by_sample(distance: Any) -> None:
    a, b = maps(0), maps(1)
    found = distance(a, b)
    assert found.dtype == torch.float64
    assert found.shape == (2,)
    assert found.tolist() == pytest.approx(distance(b, a).tolist(), rel=1e-12)
    assert min(found.tolist()) > 1e-4
    for i in range(2):
        alone = distance(*({k: v[i : i + 1] for k, v in x.items()} for x in (a, b)))
        assert alone.item() == pytest.approx(found[i].item(), rel=1e-12)


@feature_distance
def test_feature_distances_do_not_depend_on_the_order_of_the_layers(distance: Any) -> None:
    a, b = maps(0), maps(1)
    expected = distance(a, b).tolist()
    assert distance(a, dict(reversed(b.items()))).tolist() == pytest.approx(expected, rel=1e-12)
    assert distance(dict(reversed(a.items())), b).tolist() == pytest.approx(expected, rel=1e-12)


@feature_distance
def test_a_tiled_style_image_of_another_size_is_the_same_style(distance: Any) -> None:
    a, b = maps(0), maps(1)
    tiled = {name: layer.repeat(1, 1, 2, 3) for name, layer in b.items()}
    assert distance(b, tiled).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert distance(a, tiled).tolist() == pytest.approx(distance(a, b).tolist(), rel=1e-9)


@feature_distance
def test_feature_distances_grow_with_noise(
    distance: Any, zoo: Any, photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    def features(images: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = zoo.vgg()(images.float() / 255, STYLE_LAYERS)
        return found

    axes = {
        name: random_directions(16, layer.shape[1], torch.Generator().manual_seed(2))
        for name, layer in features(photos).items()
    }
    rows = []
    for strength in (0, 9, 27, 81):
        pair = features(noisy(strength)), features(photos)
        found = gram_distance(*pair) if distance is gram_distance else sliced_wasserstein(
            *pair, axes
        )  # fmt: skip
        rows.append(found.tolist())
    for image in range(5):
        course = [row[image] for row in rows]
        assert course == sorted(course)
        assert course[0] == 0 < course[1]


@feature_distance
@pytest.mark.parametrize(("change", "message"), [
    (lambda a: {}, "at least one; got layer0, layer1 and none"),
    (lambda a: {"layer0": a["layer0"]}, "got layer0, layer1 and layer0"),
    (lambda a: {**a, "layer1": a["layer0"]}, r"layer1 must be .* got \[2, 5, 6, 7\] and \[2, 3"),
    (lambda a: {**a, "layer0": a["layer0"][:1]}, r"layer0 must be .* and \[1, 3, 6, 7\]"),
    (lambda a: {**a, "layer0": a["layer0"][0]}, r"must be \[N, C, H, W\]"),
    (lambda a: {**a, "layer0": a["layer0"][:, :, :0]}, r"and \[2, 3, 0, 7\]"),
])  # fmt: skip
def test_features_that_do_not_fit_are_refused(distance: Any, change: Any, message: str) -> None:
    a = maps(0)
    with pytest.raises(ValueError, match=message):
        distance(a, change(a))


# Gram matrices


def test_gram_distance_agrees_with_the_loops_of_the_paper() -> None:
    a, b = maps(0), maps(1)

    def layer_loss(f: np.ndarray, g: np.ndarray) -> float:
        n, m = f.shape
        total = 0.0
        for i in range(n):
            for j in range(n):
                gram_f = sum(f[i, k] * f[j, k] for k in range(m))
                gram_g = sum(g[i, k] * g[j, k] for k in range(m))
                total += (gram_f - gram_g) ** 2
        return total / (4 * n**2 * m**2)

    for image in range(2):
        rows = [
            [x[name][image].flatten(1).numpy().astype(np.float64) for name in a] for x in (a, b)
        ]
        expected = sum(0.5 * layer_loss(f, g) for f, g in zip(*rows, strict=True))
        assert gram_distance(a, b)[image].item() == pytest.approx(expected, rel=1e-12)


def test_gram_matrix_of_known_features() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    assert gram_matrix(features).tolist() == [[[2.5, 1.5], [1.5, 4.5]]]


def test_gram_distance_of_constant_maps() -> None:
    # G = 4 in every entry against 1: (16 - 1) ** 2 / 4
    four, one = torch.full((1, 3, 5, 5), 4.0), torch.full((1, 3, 2, 9), 1.0)
    assert gram_distance({"a": four}, {"a": one}).item() == 15**2 / 4
    # the mean over the layers, the second of which is equal
    assert gram_distance({"a": four, "b": one}, {"a": one, "b": one}).item() == 15**2 / 8


# sliced Wasserstein


def test_sliced_wasserstein_agrees_with_sorting_in_numpy() -> None:
    a, b, axes = maps(0), maps(1), directions()
    for image in range(2):
        expected = 0.0
        for name in a:
            f, g = (x[name][image].flatten(1).double().numpy().T for x in (a, b))
            costs = [
                np.mean((np.sort(f @ v) - np.sort(g @ v)) ** 2) for v in axes[name].numpy()
            ]  # fmt: skip
            expected += np.mean(costs)
        found = sliced_wasserstein(a, b, axes)[image].item()
        assert found == pytest.approx(expected, rel=1e-12)


numbers = st.lists(st.integers(-20, 20), min_size=1, max_size=9)


@settings(max_examples=60)
@given(numbers, numbers)
def test_transport_of_unequal_samples_is_that_of_their_repeats(a: list[int], b: list[int]) -> None:
    k, n = len(a), len(b)
    found = squared_transport(torch.tensor(a), torch.tensor(b)).item()
    expected = np.mean((np.sort(np.repeat(a, n)) - np.sort(np.repeat(b, k))) ** 2)
    assert found == pytest.approx(expected, abs=1e-9)
    # the first power's mean, which SciPy knows, cannot exceed the root of the second's
    assert stats.wasserstein_distance(a, b) <= np.sqrt(found) + 1e-9


def test_transport_of_known_samples() -> None:
    a, b = torch.tensor([4.0, 0.0]), torch.tensor([1.0, 1.0, 1.0])
    assert squared_transport(a, b).item() == pytest.approx((1 + 9) / 2)
    # quantiles 0 0 0 | 4 4 4 against 0 0 | 2 2 | 4 4 in sixths
    assert squared_transport(a, torch.tensor([2.0, 4.0, 0.0])).item() == pytest.approx(8 / 6)


def test_a_shift_of_all_features_costs_its_square_on_the_axes() -> None:
    a = maps(0)
    shift = {name: torch.arange(1.0, layer.shape[1] + 1) for name, layer in a.items()}
    b = {name: layer + shift[name].view(-1, 1, 1) for name, layer in a.items()}
    axes = {name: torch.eye(layer.shape[1]) for name, layer in a.items()}
    expected = sum(step.square().mean().item() for step in shift.values())
    assert sliced_wasserstein(a, b, axes).tolist() == pytest.approx([expected] * 2, rel=1e-5)


def test_sliced_wasserstein_tells_apart_what_gram_matrices_cannot() -> None:
    # equal first and second moments of one channel, another third one
    a = torch.tensor([0.0, 0.0, 0.0, 4.0]).view(1, 1, 1, 4)
    b = torch.tensor([1.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 4) * 2
    assert gram_distance({"x": a}, {"x": b}).item() == 0.0
    axes = {"x": torch.ones(1, 1)}
    assert sliced_wasserstein({"x": a}, {"x": b}, axes).item() == (3 * 4 + 4) / 4


def test_directions_are_unit_reproducible_and_even() -> None:
    found = random_directions(20_000, 3, torch.Generator().manual_seed(5))
    assert found.dtype == torch.float64
    assert torch.allclose(found.norm(dim=1), torch.ones(20_000, dtype=torch.float64))
    assert torch.equal(found, random_directions(20_000, 3, torch.Generator().manual_seed(5)))
    # on the sphere each coordinate is uniform (Archimedes)
    for column in found.T.numpy():
        assert stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_directions_leave_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    first, second = random_directions(2, 3, generator), random_directions(2, 3, generator)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("count", "channels"), [(0, 3), (4, 0), (-1, 3)])
def test_empty_directions_are_refused(count: int, channels: int) -> None:
    with pytest.raises(ValueError, match="at least 1, got"):
        random_directions(count, channels, torch.Generator())


@pytest.mark.parametrize(("axes", "message"), [
    ({}, r"layer0 needs directions of shape \[D, 3\] with D at least 1, got none"),
    ({"layer0": torch.ones(4, 5)}, r"\[D, 3\] with D at least 1, got \[4, 5\]"),
    ({"layer0": torch.ones(0, 3)}, r"got \[0, 3\]"),
    ({"layer0": torch.ones(3)}, r"got \[3\]"),
])  # fmt: skip
def test_directions_that_do_not_fit_are_refused(axes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sliced_wasserstein(maps(0), maps(1), axes)


# colours


def flat(*colour: int, size: int = 4) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, size, size)


def test_histogram_agrees_with_sharing_out_each_pixel(photos: Tensor) -> None:
    small = photos[:2, :, 10:22, 10:22]
    for image, found in zip(small, colour_histogram(small), strict=True):
        expected = np.zeros((8, 8, 8))
        for pixel in image.flatten(1).T.numpy().astype(np.float64):
            places = pixel * 7 / 255
            low = np.minimum(places.astype(int), 6)
            part = places - low
            for corner in np.ndindex(2, 2, 2):
                share = np.prod(np.where(corner, part, 1 - part))
                expected[tuple(low + corner)] += share / 144
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_histogram_of_known_colours() -> None:
    found = colour_histogram(torch.cat([flat(255, 0, 0), flat(0, 0, 255)]))
    assert found[0, 7, 0, 0] == found[1, 0, 0, 7] == 1
    assert found.sum((1, 2, 3)).tolist() == [1.0, 1.0]


def test_colour_distance_is_zero_for_one_palette_wherever_it_lies(photos: Tensor) -> None:
    assert colour_histogram_distance(photos, photos).tolist() == [0.0] * 5
    turned = photos.flip(-1).transpose(-1, -2)
    assert colour_histogram_distance(photos, turned).max().item() < 1e-7
    tiled = photos.repeat(1, 1, 2, 3)
    assert colour_histogram_distance(photos, tiled).max().item() < 1e-7


def test_colour_distance_is_a_bounded_metric(photos: Tensor) -> None:
    first, second, third = photos, photos.flip(0)[:, [2, 0, 1]], 255 - photos
    there = colour_histogram_distance(first, second)
    assert there.tolist() == colour_histogram_distance(second, first).tolist()
    assert there.min() > 0.1
    assert there.max() <= 1
    around = colour_histogram_distance(first, third) + colour_histogram_distance(third, second)
    assert (there <= around + 1e-12).all()


def test_colour_distances_with_a_closed_form() -> None:
    black, white, red = flat(0, 0, 0), flat(255, 255, 255), flat(255, 0, 0, size=9)
    assert colour_histogram_distance(black, white).item() == pytest.approx(1.0, abs=1e-12)
    assert colour_histogram_distance(black, red).item() == pytest.approx(1.0, abs=1e-12)
    half = torch.cat([black, white], dim=-1)
    # Bhattacharyya coefficient sqrt(1 / 2)
    assert colour_histogram_distance(black, half).item() == pytest.approx(
        np.sqrt(1 - np.sqrt(0.5))
    )  # fmt: skip
    # nodes lie 255 / 7 apart: 20 shares the first one with black, 51 lies beyond it
    near = colour_histogram_distance(flat(20, 0, 0), black).item()
    assert near == pytest.approx(np.sqrt(1 - np.sqrt(1 - 20 * 7 / 255)))
    assert colour_histogram_distance(flat(51, 0, 0), black).item() == pytest.approx(1.0, abs=1e-12)


def test_colour_distance_sees_what_single_channels_and_chroma_cannot() -> None:
    red_green = torch.cat([flat(255, 0, 0), flat(0, 255, 0)], dim=-1)
    yellow_black = torch.cat([flat(255, 255, 0), flat(0, 0, 0)], dim=-1)
    assert colour_histogram_distance(red_green, yellow_black).item() == pytest.approx(
        1.0, abs=1e-12
    )
    assert colour_histogram_distance(flat(40, 40, 40), flat(215, 215, 215)).item() == pytest.approx(
        1.0, abs=1e-12
    )


def test_one_grey_level_is_a_small_step_anywhere() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 3, 2, 2)
    steps = colour_histogram_distance(levels[:-1], levels[1:])
    assert steps.max() < 0.21


def test_colour_distance_grows_with_a_cast(photos: Tensor) -> None:
    cast = torch.tensor([1.0, 0.0, -1.0]).view(3, 1, 1)
    rows = [
        colour_histogram_distance((photos + k * cast).clamp(0, 255).to(torch.uint8), photos)
        for k in (0, 5, 20, 60)
    ]
    assert (torch.stack(rows).diff(dim=0) > 0).all()


def test_large_batches_are_cut_without_mixing(photos: Tensor) -> None:
    many = photos[torch.arange(19) % 5]
    found = colour_histogram(many)
    assert torch.allclose(found, colour_histogram(photos)[torch.arange(19) % 5], atol=1e-12)


def test_images_that_are_no_pixels_are_refused(photos: Tensor) -> None:
    with pytest.raises(DataError, match="metrics read stored pixels"):
        colour_histogram_distance(photos, photos.float() / 255)
    with pytest.raises(ValueError, match="5 images cannot be compared with 3"):
        colour_histogram_distance(photos, photos[:3])
