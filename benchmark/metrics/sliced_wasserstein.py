"""Sliced Wasserstein distance of the features of output and style image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.metrics.style_distances import Features, random_directions, sliced_wasserstein
from benchmark.metrics.style_images import VggStyleMetric
from benchmark.metrics.vgg_space import CEILING

if TYPE_CHECKING:
    from benchmark.zoo.vgg import VggFeatures

SEED = 0
MOST_DIRECTIONS = 64


class SlicedWasserstein(VggStyleMetric):
    """Sliced Wasserstein distance (Heitz et al. 2021) between output and style image.

    Rectified features of conv1_1 to conv5_1, summed over the layers; see
    :func:`benchmark.metrics.style_distances.sliced_wasserstein`. As many directions as a layer has
    channels, as in the paper, but at most 64. They are drawn once, from a fixed seed, and belong to
    the metric's version: every sample of every run is compared along the same ones. The unit is the
    square of the network's activations.

    Args:
        encoder: VGG19 features.
    """

    name = "sliced_wasserstein"
    version = 1
    direction = "lower"
    bounds = (0.0, CEILING)
    description = "sliced Wasserstein distance of VGG features of output and style image, 5 layers"

    def __init__(self, encoder: VggFeatures) -> None:
        super().__init__(encoder)
        self._directions: dict[str, Tensor] = {}

    def _distance(self, output: Features, style: Features) -> Tensor:
        if not self._directions:
            generator = torch.Generator().manual_seed(SEED)
            self._directions = {
                name: random_directions(
                    min(layer.shape[1], MOST_DIRECTIONS), layer.shape[1], generator
                )
                for name, layer in output.items()
            }
        return sliced_wasserstein(output, style, self._directions)
