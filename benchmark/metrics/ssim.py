"""Structural similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.pixels import in_passes, require_pairs, require_side

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

WINDOW = 11
SIGMA = 1.5
STABILISERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of image pairs, over the places where the whole window lies on the image.

    In float64: the variances are differences of nearly equal numbers, and in float32 flat bright
    images come out above 1. The window is applied as two passes of one dimension.

    Args:
        a, b: [N, C, H, W] in 0..255, H and W at least ``WINDOW``.

    Returns:
        float64 [N] in [-1, 1].
    """
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=a.device) - WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SIGMA**2))
    window /= window.sum()

    def blur(x: Tensor) -> Tensor:
        rows = x.unfold(-1, WINDOW, 1) @ window
        return rows.unfold(-2, WINDOW, 1) @ window

    a, b = a.double(), b.double()
    mean_a, mean_b = blur(a), blur(b)
    variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = STABILISERS
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).mean((1, 2, 3)).clamp(-1, 1)


class Ssim(SampleMetric):
    """SSIM of output and source (Wang et al. 2004): Gaussian window 11, sigma 1.5, RGB mean.

    Population covariances, borders left out: the settings of the original paper.
    """

    name = "ssim"
    version = 1
    direction = "higher"
    bounds = (-1.0, 1.0)
    encoders = ()
    description = "structural similarity of output and source, Gaussian window of 11 pixels"

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls()

    def update(self, outputs: Tensor, sources: Tensor) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, of different shapes, or smaller than the window.
        """
        require_pairs(outputs, sources)
        require_side(self.name, outputs, WINDOW)
        values = [structural_similarity(a, b) for a, b in in_passes(outputs, sources)]
        self._keep(torch.cat(values))
