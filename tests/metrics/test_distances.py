"""Distances between source and output: PSNR, SSIM, LPIPS-style, DINO structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmark.errors import DataError, UsageError
from benchmark.metrics.clip_image_source import ClipImageSource
from benchmark.metrics.dino_structure import DinoStructure, self_similarity
from benchmark.metrics.edge_agreement import EdgeAgreement
from benchmark.metrics.lpips_vgg import LAYERS, LpipsVgg, unit_channel_distance
from benchmark.metrics.psnr import Psnr
from benchmark.metrics.ssim import Ssim
from benchmark.metrics.vgg_content import VggContent
from benchmark.zoo.vgg import VggFeatures

IDENTITY = {
    "psnr": 100.0, "ssim": 1.0, "lpips_vgg": 0.0, "dino_structure": 0.0,
    "vgg_content": 0.0, "clip_image_source": 1.0, "edge_agreement": 1.0,
}  # fmt: skip
METRICS = (Psnr, Ssim, LpipsVgg, DinoStructure)


def score(metric: Any, outputs: Tensor, sources: Tensor) -> list[float]:
    metric.reset()
    metric.update(outputs, sources)
    return [sample.value for sample in metric.per_sample()]


@pytest.fixture(params=METRICS, ids=lambda cls: cls.name)
def metric(request: pytest.FixtureRequest, zoo: Any) -> Any:
    return request.param.from_zoo(zoo, [])


@pytest.fixture(params=(*METRICS, VggContent, ClipImageSource, EdgeAgreement))
def any_metric(request: pytest.FixtureRequest, zoo: Any, scaled_vgg: VggFeatures) -> Any:
    """All that compare an output with its source, those of test_content.py too."""
    if request.param is VggContent:
        return VggContent(scaled_vgg)
    return request.param.from_zoo(zoo, [])


def test_identity(any_metric: Any, photos: Tensor) -> None:
    flat = torch.full_like(photos, 7)
    flat[1] = 0
    flat[2] = 255
    best = IDENTITY[any_metric.name]
    assert best == any_metric.bounds[any_metric.direction == "higher"]
    assert score(any_metric, photos, photos) == pytest.approx([best] * 5, abs=1e-9)
    # without an edge there is none to keep
    values = [] if any_metric.name == "edge_agreement" else score(any_metric, flat, flat)
    assert values == pytest.approx([best] * len(values), abs=1e-9)


def test_symmetry(any_metric: Any, photos: Tensor) -> None:
    best = IDENTITY[any_metric.name]
    there = score(any_metric, photos, photos.flip(0))
    assert there == pytest.approx(score(any_metric, photos.flip(0), photos), abs=1e-9)
    # the middle photo meets itself
    assert there[2] == pytest.approx(best, abs=1e-9)
    assert there[0] != pytest.approx(best, abs=1e-6)


def test_growing_noise_is_never_better(
    any_metric: Any, photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    rows = [score(any_metric, noisy(strength), photos) for strength in (0, 3, 9, 27, 81)]
    worse = -1 if any_metric.direction == "higher" else 1
    for image in range(len(photos)):
        course = [worse * row[image] for row in rows]
        assert course == sorted(course)
        assert course[-1] > course[0]


def test_images_of_a_batch_do_not_mix(metric: Any, photos: Tensor) -> None:
    outputs = photos.clone()
    outputs[3] = 255 - outputs[3]
    values = score(metric, outputs, photos)
    best = IDENTITY[metric.name]
    assert [abs(value - best) < 1e-9 for value in values] == [True, True, True, False, True]


def test_lopsided_images_are_scored_whole(metric: Any, photos: Tensor) -> None:
    source = photos[:1, :, 16:48]
    left, right = source.clone(), source.clone()
    left[..., :12] = 255 - left[..., :12]
    right[..., -12:] = 255 - right[..., -12:]
    best = IDENTITY[metric.name]
    assert abs(score(metric, left, source)[0] - best) > 1e-5
    assert abs(score(metric, right, source)[0] - best) > 1e-5


def test_psnr_agrees_with_scikit_image(photos: Tensor, noisy: Callable[[float], Tensor]) -> None:
    outputs = noisy(12)
    expected = [
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=255)
        for a, b in zip(photos, outputs, strict=True)
    ]
    assert score(Psnr(), outputs, photos) == pytest.approx(expected, abs=1e-5)


def test_psnr_of_opposites_is_zero_and_of_one_grey_level_stays_below_the_ceiling() -> None:
    black = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert score(Psnr(), black + 255, black) == pytest.approx([0.0], abs=1e-5)
    one = black.clone()
    one[0, 1, 5, 5] = 1
    assert score(Psnr(), one, black)[0] == pytest.approx(10 * np.log10(255**2 * 12288), abs=1e-5)
    assert score(Psnr(), one, black)[0] < 100


def test_ssim_agrees_with_scikit_image(photos: Tensor, noisy: Callable[[float], Tensor]) -> None:
    outputs = noisy(20)
    outputs[0] = 255 - photos[0]
    expected = [
        structural_similarity(
            a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), channel_axis=2, data_range=255,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for a, b in zip(photos, outputs, strict=True)
    ]  # fmt: skip
    assert score(Ssim(), outputs, photos) == pytest.approx(expected, abs=1e-9)
    assert expected[0] < 0 < min(expected[1:])


def test_ssim_of_flat_bright_images_keeps_its_bounds() -> None:
    white = torch.full((1, 3, 16, 20), 255, dtype=torch.uint8)
    means = (2 * 255 * 254 + 6.5025) / (255**2 + 254**2 + 6.5025)
    assert score(Ssim(), white - 1, white) == pytest.approx([means], abs=1e-9)
    assert score(Ssim(), white, white) == pytest.approx([1.0], abs=1e-12)


def test_ssim_agrees_with_torchmetrics_away_from_the_borders(
    photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    _, maps = structural_similarity_index_measure(
        noisy(20).double(), photos.double(), data_range=255.0, reduction="none",
        return_full_image=True,
    )  # fmt: skip
    expected = maps[..., 5:-5, 5:-5].mean((1, 2, 3)).tolist()
    assert score(Ssim(), noisy(20), photos) == pytest.approx(expected, abs=1e-9)


def test_ssim_refuses_images_smaller_than_its_window(photos: Tensor) -> None:
    with pytest.raises(DataError, match="at least 11 x 11 pixels, got 10 x 64"):
        Ssim().update(photos[:, :, :10], photos[:, :, :10])


def loop_distance(a: np.ndarray, b: np.ndarray) -> float:
    """LPIPS with unit weights of one layer [C, H, W], a position at a time."""
    total = 0.0
    _, height, width = a.shape
    for y in range(height):
        for x in range(width):
            u = np.maximum(a[:, y, x], 0).astype(np.float64)
            v = np.maximum(b[:, y, x], 0).astype(np.float64)
            u = u / max(np.sqrt((u * u).sum()), 1e-12)
            v = v / max(np.sqrt((v * v).sum()), 1e-12)
            total += ((u - v) ** 2).sum()
    return total / (height * width)


def test_lpips_agrees_with_a_loop_in_numpy(
    zoo: Any, photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    metric = LpipsVgg(zoo.vgg())
    outputs = noisy(30)[:2]
    before = zoo.vgg()(photos[:2].float() / 255, LAYERS)
    after = zoo.vgg()(outputs.float() / 255, LAYERS)
    expected = [
        np.mean([loop_distance(before[k][i].numpy(), after[k][i].numpy()) for k in LAYERS])
        for i in range(2)
    ]
    assert score(metric, outputs, photos[:2]) == pytest.approx(expected, abs=1e-6)
    assert min(expected) > 1e-4


def test_unit_channel_distance_on_known_maps() -> None:
    a = torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]])
    b = torch.tensor([[[[0.0, 0.0]], [[5.0, -1.0]]]])
    # orthogonal at the first place (2), zero against zero at the second (0)
    assert unit_channel_distance(a, b).item() == 1.0
    assert unit_channel_distance(a, 7 * a).item() == 0.0


def test_lpips_names_unknown_layers(zoo: Any, photos: Tensor) -> None:
    with pytest.raises(UsageError, match="conv9_9"):
        LpipsVgg(zoo.vgg(), ["conv9_9"]).update(photos, photos)
    with pytest.raises(ValueError, match="at least one layer"):
        LpipsVgg(zoo.vgg(), [])


def test_dino_structure_agrees_with_numpy(
    zoo: Any, photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    outputs = noisy(40)

    def cosines(images: Tensor) -> np.ndarray:
        keys = zoo.dino().keys(images.float() / 127.5 - 1).detach().numpy().astype(np.float64)
        keys /= np.sqrt((keys**2).sum(-1, keepdims=True))
        return np.einsum("nld,nmd->nlm", keys, keys)

    expected = ((cosines(outputs) - cosines(photos)) ** 2).mean((1, 2))
    assert score(DinoStructure(zoo.dino()), outputs, photos) == pytest.approx(expected, abs=1e-7)


def test_self_similarity_of_orthogonal_and_scaled_keys() -> None:
    keys = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [5.0, 0.0]]])
    expected = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])
    assert torch.equal(self_similarity(keys), expected)
