"""Outputs against style images: the metrics over the functions of style_distances.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.config import load_protocol
from benchmark.errors import DataError
from benchmark.metrics.base import MetricBatch, SampleScore
from benchmark.metrics.clip_style_image import ClipStyleImage
from benchmark.metrics.colour_histogram import ColourHistogram
from benchmark.metrics.gram_distance import GramDistance
from benchmark.metrics.pixels import to_float
from benchmark.metrics.sliced_wasserstein import SlicedWasserstein
from benchmark.metrics.style_distances import STYLE_LAYERS
from benchmark.zoo import ModelZoo
from benchmark.zoo.vgg import VggFeatures
from tests.metrics.conftest import seeded

METRICS = (ClipStyleImage, GramDistance, SlicedWasserstein, ColourHistogram)
VGG_METRICS = (GramDistance, SlicedWasserstein)


def score(metric: Any, outputs: Tensor, styles: Any) -> list[float]:
    metric.reset()
    metric.update(outputs, list(styles))
    return [sample.value for sample in metric.per_sample()]


@pytest.fixture(params=METRICS, ids=lambda cls: cls.name)
def metric(request: pytest.FixtureRequest, zoo: Any, scaled_vgg: VggFeatures) -> Any:
    if request.param in VGG_METRICS:
        return request.param(scaled_vgg)
    return request.param.from_zoo(zoo, [])


def best_of(metric: Any) -> float:
    return metric.bounds[1] if metric.direction == "higher" else metric.bounds[0]


def test_the_style_image_itself_has_the_best_value(metric: Any, photos: Tensor) -> None:
    assert score(metric, photos, photos) == pytest.approx([best_of(metric)] * 5, abs=1e-9)
    assert abs(score(metric, photos, photos.flip(0))[0] - best_of(metric)) > 1e-3


def test_growing_noise_is_never_better(
    metric: Any, photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    rows = [score(metric, noisy(strength), photos) for strength in (0, 9, 27, 81)]
    worse = -1 if metric.direction == "higher" else 1
    means = [worse * np.mean(row) for row in rows]
    assert means == sorted(means)
    assert means[0] < means[-1]


def test_values_do_not_depend_on_the_batch_nor_on_the_others_style(
    metric: Any, photos: Tensor
) -> None:
    outputs = torch.cat([photos, photos.flip(-1), 255 - photos])  # more than one pass of VGG
    styles: list[Tensor | None] = [photos[i % 4][:, : 30 + 4 * i] for i in range(15)]
    styles[3] = styles[9] = None
    together = score(metric, outputs, styles)
    for row in range(15):
        alone = score(metric, outputs[row : row + 1], styles[row : row + 1])[0]
        if styles[row] is None:
            assert together[row] is None and alone is None
        else:
            assert together[row] == pytest.approx(alone, rel=1e-5, abs=1e-6)


def test_without_a_style_image_the_metric_is_not_applicable(metric: Any, photos: Tensor) -> None:
    styles = [None, photos[0], None, None, None]
    batch = MetricBatch(photos, photos, [None] * 5, ["Photo"] * 5, ["dogs"] * 5, styles)
    metric.update_batch(batch)
    missing = SampleScore(None, "not_applicable")
    found = metric.per_sample()
    assert [found[0], *found[2:]] == [missing] * 4
    assert found[1].status == "ok"
    assert metric.compute().item() == found[1].value


def test_bad_images_are_refused(metric: Any, photos: Tensor) -> None:
    with pytest.raises(DataError, match=r"outputs: metrics read stored pixels, uint8"):
        score(metric, to_float(photos), photos)
    with pytest.raises(DataError, match=r"style image: metrics read stored pixels, uint8"):
        score(metric, photos, to_float(photos))
    with pytest.raises(ValueError, match="3 style images do not fit 5 outputs"):
        score(metric, photos, photos[:3])


@pytest.mark.parametrize("metric_class", VGG_METRICS)
def test_images_below_four_poolings_are_refused(
    metric_class: Any, scaled_vgg: VggFeatures, photos: Tensor
) -> None:
    metric = metric_class(scaled_vgg)
    with pytest.raises(DataError, match="at least 16 x 16 pixels, got 15 x 64"):
        score(metric, photos, photos[:, :, :15])
    with pytest.raises(DataError, match="at least 16 x 16 pixels, got 64 x 12"):
        score(metric, photos[..., :12], photos)
    assert None not in score(metric, photos[..., :16], photos[:, :, :16])


def maps_of(vgg: VggFeatures, image: Tensor) -> list[np.ndarray]:
    """Feature vectors [C, positions] of each style layer."""
    found = vgg(image[None].float() / 255, STYLE_LAYERS)
    return [found[name][0].flatten(1).numpy().astype(np.float64) for name in STYLE_LAYERS]


def test_gram_distance_agrees_with_numpy(scaled_vgg: VggFeatures, photos: Tensor) -> None:
    styles = photos.flip(0)[..., :48]
    expected = []
    for output, style in zip(photos, styles, strict=True):
        terms = []
        for a, b in zip(maps_of(scaled_vgg, output), maps_of(scaled_vgg, style), strict=True):
            difference = a @ a.T / a.shape[1] - b @ b.T / b.shape[1]
            terms.append((difference**2).sum() / (4 * len(a) ** 2))
        expected.append(np.mean(terms))
    assert score(GramDistance(scaled_vgg), photos, styles) == pytest.approx(expected, rel=1e-5)


def test_sliced_wasserstein_agrees_with_sorting_in_numpy(
    scaled_vgg: VggFeatures, photos: Tensor
) -> None:
    styles = photos.flip(0)
    generator = torch.Generator().manual_seed(0)
    directions = []
    for layer in maps_of(scaled_vgg, photos[0]):
        draws = torch.randn(len(layer), len(layer), generator=generator, dtype=torch.float64)
        directions.append((draws / draws.norm(dim=1, keepdim=True)).numpy())
    expected = []
    for output, style in zip(photos, styles, strict=True):
        pairs = zip(maps_of(scaled_vgg, output), maps_of(scaled_vgg, style), strict=True)
        expected.append(sum(
            ((np.sort(axes @ a) - np.sort(axes @ b)) ** 2).mean()
            for axes, (a, b) in zip(directions, pairs, strict=True)
        ))  # fmt: skip
    metric = SlicedWasserstein(scaled_vgg)
    assert score(metric, photos, styles) == pytest.approx(expected, rel=1e-5)
    # the directions belong to the metric and not to what it saw first
    assert score(metric, photos.flip(0), photos) == pytest.approx(expected[::-1], rel=1e-5)


def test_wide_layers_have_no_more_than_64_directions(photos: Tensor) -> None:
    wide = seeded(lambda: VggFeatures((4, 4, 8, 8, 96)))
    metric = SlicedWasserstein(wide)
    score(metric, photos[:1], photos[1:2])
    assert [len(axes) for axes in metric._directions.values()] == [4, 4, 8, 8, 64]


def test_clip_style_image_is_the_cosine_after_squeezing(zoo: Any, photos: Tensor) -> None:
    clip = zoo.clip("judge")
    styles = photos.flip(0)[..., :40]

    def embed(images: Tensor) -> np.ndarray:
        return clip.encode_image(clip.resize(to_float(images))).numpy().astype(np.float64)

    expected = [
        a @ b / np.sqrt((a @ a) * (b @ b))
        for a, b in zip(embed(photos), embed(styles), strict=True)
    ]
    assert score(ClipStyleImage(clip), photos, styles) == pytest.approx(expected, abs=1e-6)


def test_the_palette_alone_decides_the_colour_distance(photos: Tensor) -> None:
    turned = photos.flip(-1, -2)
    assert score(ColourHistogram(), turned, photos) == pytest.approx([0.0] * 5, abs=1e-9)
    black, white = torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.full((1, 3, 9, 2), 255)
    assert score(ColourHistogram(), black, white.to(torch.uint8)) == [1.0]


@pytest.mark.parametrize("metric_class", METRICS, ids=lambda cls: cls.name)
def test_the_shipped_models_find_the_style_image_of_two(metric_class: Any, photos: Tensor) -> None:
    """A recoloured photograph is nearer to the picture whose colours it took than to another."""
    shipped = metric_class.from_zoo(ModelZoo(load_protocol("mini-64-v1").models), [])
    style, other = photos[2], photos[3]
    mean, spread = style.float().mean((1, 2)), style.float().std((1, 2))
    source = photos[1].float()
    plain = (source - source.mean((1, 2), keepdim=True)) / source.std((1, 2), keepdim=True)
    output = (plain * spread.view(3, 1, 1) + mean.view(3, 1, 1)).clamp(0, 255).to(torch.uint8)
    near, far = (score(shipped, output[None], [image])[0] for image in (style, other))
    assert near > far if shipped.direction == "higher" else near < far
    assert shipped.bounds[0] < far < shipped.bounds[1] / 10 or metric_class in (
        ClipStyleImage, ColourHistogram,
    )  # fmt: skip
