"""Structural similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmark.errors import DataError
from benchmark.metrics.base import SampleMetric
from benchmark.metrics.pixels import require_pairs

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

WINDOW = 11


class Ssim(SampleMetric):
    """SSIM of output and source (Wang et al. 2004): Gaussian window 11, sigma 1.5, RGB mean.

    Computed in float64 with population covariances, borders left out.
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
        if min(outputs.shape[-2:]) < WINDOW:
            raise DataError(
                f"ssim needs images of at least {WINDOW} x {WINDOW} pixels, "
                f"got {outputs.shape[-2]} x {outputs.shape[-1]}"
            )
        values = structural_similarity_index_measure(
            outputs.double(), sources.double(), data_range=255.0, kernel_size=WINDOW, sigma=1.5,
            reduction="none",
        )  # fmt: skip
        if not isinstance(values, Tensor):
            raise TypeError(f"expected one SSIM for each image, got {type(values).__name__}")
        self._keep(values)
