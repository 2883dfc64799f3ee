"""Distance of the colours of output and style image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.style_distances import colour_histogram_distance
from benchmark.metrics.style_images import StyleImageMetric

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo


class ColourHistogram(StyleImageMetric):
    """Hellinger distance of the RGB histograms of output and style image: how far the palettes are.

    See :func:`benchmark.metrics.style_distances.colour_histogram_distance`. It knows nothing of
    texture: a photograph in the style image's colours has a small distance.
    """

    name = "colour_histogram"
    version = 1
    direction = "lower"
    bounds = (0.0, 1.0)
    encoders = ()
    description = "Hellinger distance of the joint RGB histograms of output and style image"

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls()

    def _compare(self, outputs: Tensor, styles: Mapping[int, Tensor]) -> Tensor:
        return torch.cat(
            [
                colour_histogram_distance(outputs[row : row + 1], style)
                for row, style in styles.items()
            ]
        )
