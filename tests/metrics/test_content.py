"""How much content is kept: VGG content distance, CLIP likeness to the source, edges."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage import filters
from torch import Tensor

from benchmark import registry
from benchmark.config import load_protocol
from benchmark.errors import DataError
from benchmark.metrics.base import MetricBatch, SampleMetric, SampleScore
from benchmark.metrics.clip_image_source import ClipImageSource
from benchmark.metrics.edge_agreement import EdgeAgreement, correlation, sobel_magnitude
from benchmark.metrics.pixels import to_float
from benchmark.metrics.vgg_content import LAYER, VggContent, content_distance
from benchmark.metrics.vgg_space import CEILING
from benchmark.zoo import ModelZoo
from benchmark.zoo.vgg import VggFeatures

IDENTITY = {"vgg_content": 0.0, "clip_image_source": 1.0, "edge_agreement": 1.0}
METRICS = (VggContent, ClipImageSource, EdgeAgreement)


def score(metric: Any, outputs: Tensor, sources: Tensor) -> list[float]:
    metric.reset()
    metric.update(outputs, sources)
    return [sample.value for sample in metric.per_sample()]


@pytest.fixture(params=METRICS, ids=lambda cls: cls.name)
def metric(request: pytest.FixtureRequest, zoo: Any, scaled_vgg: VggFeatures) -> Any:
    return (
        VggContent(scaled_vgg) if request.param is VggContent else request.param.from_zoo(zoo, [])
    )


def test_the_metrics_are_registered_and_say_what_a_summary_can_store() -> None:
    for cls in METRICS:
        assert registry.load(registry.METRICS, cls.name) is cls
        assert cls.higher_is_better == (cls.direction == "higher")
        json.dumps([cls.version, cls.bounds, cls.encoders, cls.description], allow_nan=False)


def test_values_lie_within_bounds_and_do_not_depend_on_the_batch(
    metric: Any, photos: Tensor
) -> None:
    extremes = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    extremes[1] = 255
    extremes[2, :, ::4] = 255  # stripes
    extremes[3, :, 5:9, 5:9] = torch.tensor([255, 0, 128]).view(3, 1, 1)
    outputs = torch.cat([photos.flip(0), 255 - photos, extremes, photos])
    sources = torch.cat([photos, photos, extremes.flip(0), photos])
    together = score(metric, outputs, sources)
    alone = [score(metric, outputs[i : i + 1], sources[i : i + 1])[0] for i in range(19)]
    low, high = metric.bounds
    for value, single in zip(together, alone, strict=True):
        if value is None:
            assert single is None
            continue
        assert low <= value <= high
        assert value == pytest.approx(single, abs=1e-5)
    assert together.count(None) == (2 if metric.name == "edge_agreement" else 0)


def test_both_ends_of_a_lopsided_image_count(metric: Any, photos: Tensor) -> None:
    source = photos[:1, :, 16:48]
    left, right = source.clone(), source.clone()
    left[..., :12] = left[..., :12].flip(-1)
    right[..., -12:] = right[..., -12:].flip(-1)
    for output in (left, right):
        assert abs(score(metric, output, source)[0] - IDENTITY[metric.name]) > 1e-4


def test_bad_images_are_refused(metric: Any, photos: Tensor) -> None:
    with pytest.raises(DataError, match=r"uint8 in 0\.\.255, but got torch\.float32"):
        metric.update(to_float(photos), photos)
    with pytest.raises(DataError, match="sources: metrics read stored pixels"):
        metric.update(photos, to_float(photos))
    with pytest.raises(DataError, match=r"shape \[N, 3, H, W\]"):
        metric.update(photos.permute(0, 2, 3, 1), photos.permute(0, 2, 3, 1))
    with pytest.raises(DataError, match="must have one shape"):
        metric.update(photos, photos[..., :32])


@pytest.mark.parametrize(("metric_class", "least"), [(VggContent, 8), (EdgeAgreement, 3)])
def test_images_below_the_least_size_are_refused(
    metric_class: type[SampleMetric], least: int, zoo: Any, photos: Tensor
) -> None:
    metric: Any = metric_class.from_zoo(zoo, [])
    small = photos[:, :, : least - 1]
    with pytest.raises(DataError, match=f"at least {least} x {least} pixels, got {least - 1} x 64"):
        metric.update(small, small)
    score(metric, photos[:, :, :least, :least], photos[:, :, -least:, :least])


def test_a_batch_hands_over_outputs_and_sources_in_this_order(zoo: Any, photos: Tensor) -> None:
    flat = torch.full_like(photos, 90)
    batch = MetricBatch(flat, photos, [None] * 5, ["Photo"] * 5, ["faces"] * 5, [None] * 5)
    metric = EdgeAgreement.from_zoo(zoo, [])
    metric.update_batch(batch)
    assert metric.per_sample() == [SampleScore(0.0, "ok")] * 5


# VGG content


def test_content_distance_of_known_maps() -> None:
    a = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]]], [[[1.0, 1.0]], [[1.0, 1.0]]]])
    b = torch.zeros_like(a)
    assert content_distance(a, b).tolist() == [2.5, 1.0]
    assert content_distance(2 * a, b).tolist() == [10.0, 4.0]
    # twice the positions, twice the channels: the mean stays
    assert content_distance(a.repeat(1, 2, 3, 2), b.repeat(1, 2, 3, 2)).tolist() == [2.5, 1.0]


def test_vgg_content_agrees_with_convolutions_in_scipy(
    scaled_vgg: VggFeatures, photos: Tensor
) -> None:
    """The whole way from pixels to the value, without PyTorch."""
    small = photos[:2, :, 20:36, 20:36]
    outputs = small.flip(0)
    features: Any = scaled_vgg.features
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def conv4_2(image: Tensor) -> np.ndarray:
        x = (image.numpy() / 255 - mean[:, None, None]) / std[:, None, None]
        # convolutions of stages 1 to 4, in torchvision's numbering; pools after 2, 7 and 16
        for index in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21):
            weight, bias = features[index].weight.numpy(), features[index].bias.numpy()
            x = np.stack(
                [
                    b + sum(
                        ndimage.correlate(plane, kernel.astype(float), mode="constant")
                        for plane, kernel in zip(x, kernels, strict=True)
                    )
                    for kernels, b in zip(weight, bias, strict=True)
                ]
            )  # fmt: skip
            x = np.maximum(x, 0)
            if index in (2, 7, 16):
                channels, height, width = x.shape
                x = x.reshape(channels, height // 2, 2, width // 2, 2).max((2, 4))
        return x

    expected = [
        ((conv4_2(a) - conv4_2(b)) ** 2).mean() for a, b in zip(outputs, small, strict=True)
    ]
    assert score(VggContent(scaled_vgg), outputs, small) == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-4


class FixedFeatures:
    """An encoder whose map is the red channel times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, images: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
        assert layers == (LAYER,)
        return {LAYER: images[:, :1].double() * self.factor}


def test_vgg_content_is_cut_off_at_the_ceiling_but_a_failure_is_not() -> None:
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    found = [VggContent(FixedFeatures(factor)) for factor in (3.0, 2e3, 1e200)]
    for metric in found:
        metric.update(white, white - 255)
    assert found[0].per_sample()[0] == SampleScore(pytest.approx(9.0), "ok")
    assert found[1].per_sample() == [SampleScore(CEILING, "ok")]
    assert found[2].per_sample()[0].value is None
    assert found[2].per_sample()[0].status.startswith("failed")


def test_vgg_content_sees_a_loss_of_contrast(scaled_vgg: VggFeatures, photos: Tensor) -> None:
    metric = VggContent(scaled_vgg)
    fades = [score(metric, (photos.float() * k).to(torch.uint8), photos) for k in (0.9, 0.6, 0.3)]
    for image in range(5):
        course = [row[image] for row in fades]
        assert 0 < course[0] < course[1] < course[2]


def test_content_distances_of_the_trained_models_grow_with_noise(
    photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    shipped = ModelZoo(load_protocol("mini-64-v1").models)
    content, likeness = VggContent.from_zoo(shipped, []), ClipImageSource.from_zoo(shipped, [])
    outputs = [noisy(strength) for strength in (0, 8, 25, 80)]
    distances = [np.mean(score(content, images, photos)) for images in outputs]
    cosines = [np.mean(score(likeness, images, photos)) for images in outputs]
    assert distances == sorted(distances)
    assert cosines == sorted(cosines, reverse=True)
    stripes = torch.zeros_like(photos[:1])
    stripes[..., ::2] = 255
    assert distances[-1] < score(content, stripes, torch.zeros_like(stripes))[0] < 2


# CLIP likeness


def test_clip_image_source_is_the_cosine(zoo: Any, photos: Tensor) -> None:
    clip = zoo.clip("judge")

    def embed(images: Tensor) -> np.ndarray:
        return clip.encode_image(clip.resize(to_float(images))).numpy().astype(np.float64)

    outputs = (255 - photos).flip(0)
    expected = [
        a @ b / np.sqrt((a @ a) * (b @ b))
        for a, b in zip(embed(outputs), embed(photos), strict=True)
    ]
    assert score(ClipImageSource(clip), outputs, photos) == pytest.approx(expected, abs=1e-6)
    assert max(expected) - min(expected) > 0.01


# edges


def test_edges_agree_with_scikit_image_and_numpy(photos: Tensor) -> None:
    outputs = photos.flip(-1)

    def edges(image: Tensor) -> np.ndarray:
        grey = image.permute(1, 2, 0).numpy() @ np.array([0.299, 0.587, 0.114])
        # scikit-image divides by the root of the number of axes
        return filters.sobel(grey)[1:-1, 1:-1] * np.sqrt(2)

    found = sobel_magnitude(photos).numpy()
    for image, steepness in zip(photos, found, strict=True):
        # their kernels sum to 1, over a step of two pixels
        np.testing.assert_allclose(steepness, edges(image) / 2, atol=1e-9)
    expected = [
        stats.pearsonr(edges(a).ravel(), edges(b).ravel()).statistic
        for a, b in zip(outputs, photos, strict=True)
    ]
    assert score(EdgeAgreement(), outputs, photos) == pytest.approx(expected, abs=1e-9)


def test_sobel_of_a_ramp_is_its_slope() -> None:
    steps = torch.arange(8, dtype=torch.uint8)
    across = (7 * steps).expand(1, 3, 6, 8)
    both = (3 * steps[:6, None] + 4 * steps).expand(1, 3, 6, 8)
    assert torch.equal(sobel_magnitude(across), torch.full((1, 4, 6), 7.0, dtype=torch.float64))
    assert torch.equal(sobel_magnitude(both), torch.full((1, 4, 6), 5.0, dtype=torch.float64))
    green = torch.zeros(1, 3, 6, 8, dtype=torch.uint8)
    green[:, 1] = 10 * steps
    assert sobel_magnitude(green).unique().tolist() == pytest.approx([5.87])


def test_edges_stay_under_contrast_brightness_negative_and_hue(photos: Tensor) -> None:
    dark = photos // 4
    bright = dark * 2 + 100
    assert score(EdgeAgreement(), bright, dark) == pytest.approx([1.0] * 5, abs=1e-12)
    assert score(EdgeAgreement(), 255 - photos, photos) == pytest.approx([1.0] * 5, abs=1e-12)
    grey = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red, green = grey.clone(), grey.clone()
    red[:, 0, 8:20, 8:20], green[:, 1, 8:20, 8:20] = 200, 150
    assert score(EdgeAgreement(), red, green) == pytest.approx([1.0], abs=1e-12)


def test_moved_and_foreign_edges_score_lower(photos: Tensor) -> None:
    metric = EdgeAgreement()
    moved = [score(metric, photos.roll(shift, -1), photos) for shift in (1, 4)]
    foreign = score(metric, photos.roll(1, 0), photos)
    for image in range(5):
        assert 1 > moved[0][image] > moved[1][image]
        assert moved[0][image] > foreign[image]
    assert max(foreign) < 0.5


def test_edges_that_avoid_each_other_are_negative() -> None:
    source = torch.zeros(1, 3, 32, 66, dtype=torch.uint8)
    output = source.clone()
    # every second column of one half is steep: p = a quarter of the columns
    source[..., 2:33:4] = 255
    output[..., 34:65:4] = 255
    # two maps of p ones each that never meet correlate by -p / (1 - p)
    assert score(EdgeAgreement(), output, source) == pytest.approx([-1 / 3], abs=1e-12)


def test_without_edges_to_keep_there_is_no_value_and_lost_edges_are_a_zero(photos: Tensor) -> None:
    flat = torch.tensor([73, 201, 19], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    ramp = (3 * torch.arange(64, dtype=torch.uint8)).expand(1, 3, 64, 64)
    photo = photos[:1]
    metric = EdgeAgreement()
    metric.update(
        torch.cat([photo, photo, flat, flat, ramp]), torch.cat([flat, ramp, flat, photo, photo])
    )
    nothing, lost = SampleScore(None, "not_applicable"), SampleScore(0.0, "ok")
    assert metric.per_sample() == [nothing, nothing, nothing, lost, lost]
    assert metric.compute().item() == 0.0


def test_stripes_of_two_pixels_are_beyond_the_window() -> None:
    stripes = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    stripes[..., ::2] = 255
    metric = EdgeAgreement()
    metric.update(stripes, stripes)
    assert metric.per_sample() == [SampleScore(None, "not_applicable")]


def test_the_status_stays_with_its_sample_in_large_batches(photos: Tensor) -> None:
    sources = photos[torch.arange(20) % 5].clone()
    sources[[3, 8, 17]] = 50
    metric = EdgeAgreement()
    metric.update(sources, sources)
    missing = [i for i, s in enumerate(metric.per_sample()) if s.status == "not_applicable"]
    assert missing == [3, 8, 17]
    assert metric.compute().item() == pytest.approx(1.0)


def test_correlation_of_known_maps() -> None:
    a = torch.tensor([[[1.0, 2.0, 3.0]]]).repeat(4, 1, 1)
    b = torch.tensor([[[10.0, 20.0, 30.0]], [[3.0, 2.0, 1.0]], [[1.0, 0.0, 1.0]], [[0.1] * 3]])
    assert correlation(a, b).tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0], abs=1e-12)


def test_an_even_map_correlates_with_nothing_whatever_its_mean_rounds_to() -> None:
    # among a hundred levels the mean of some is off by a rounding
    even = torch.linspace(0.1, 7.3, 100, dtype=torch.float64).view(100, 1, 1).expand(100, 7, 9)
    centred = even - even.mean((1, 2), keepdim=True)
    assert centred.abs().max() > 0
    varied = torch.arange(63, dtype=torch.float64).view(1, 7, 9).square().expand(100, 7, 9)
    for found in (correlation(even, varied), correlation(varied, even), correlation(even, even)):
        assert found.tolist() == [0.0] * 100
