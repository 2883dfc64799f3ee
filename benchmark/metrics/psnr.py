"""Peak signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.pixels import require_pairs

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

CEILING_DB = 100.0


class Psnr(SampleMetric):
    """PSNR of the output against its source in dB, at most 100 (equal images).

    Without the ceiling one unchanged output would make the mean infinite. Only an image that
    differs from its source by a single grey level in one place comes near it.
    """

    name = "psnr"
    version = 1
    direction = "higher"
    bounds = (0.0, CEILING_DB)
    encoders = ()
    description = "peak signal-to-noise ratio of output and source in dB, at most 100"

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls()

    def update(self, outputs: Tensor, sources: Tensor) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, or of different shapes.
        """
        require_pairs(outputs, sources)
        decibels = peak_signal_noise_ratio(
            outputs.double(), sources.double(), data_range=255.0, reduction="none", dim=(1, 2, 3)
        )
        self._keep(decibels.clamp(0.0, CEILING_DB))
