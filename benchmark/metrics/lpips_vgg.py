"""LPIPS-style perceptual distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.pixels import in_passes, require_pairs
from benchmark.metrics.vgg_space import vgg_maps

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.vgg import VggFeatures

LAYERS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")


def unit_channel_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of channel vectors of length one, averaged over the positions.

    Args:
        a, b: feature maps [N, C, H, W]; negative values are cut off (the ReLU after the layer).

    Returns:
        float64 [N] in [0, 2]; where both vectors are zero the distance is 0.
    """
    difference = F.normalize(a.relu().double(), dim=1) - F.normalize(b.relu().double(), dim=1)
    return difference.square().sum(1).mean((1, 2))


class LpipsVgg(SampleMetric):
    """Distance of source and output in VGG features: how much of the content is lost.

    LPIPS without its learned channel weights (Zhang et al. 2018, eq. 1 with w = 1): features after
    the ReLU of the last convolution of each block, scaled to unit length over the channels, squared
    difference, mean over positions and over the five layers. Images enter in [0, 1] before the
    ImageNet normalisation. With the mini VGG it is uncalibrated: its values cannot be compared with
    published LPIPS, nor with those of another protocol.

    Args:
        encoder: VGG19 features.
        layers: convolutions whose rectified output is compared.

    Raises:
        ValueError: ``layers`` is empty.
    """

    name = "lpips_vgg"
    version = 1
    direction = "lower"
    bounds = (0.0, 2.0)
    encoders = ("vgg",)
    vgg_layers = LAYERS
    description = "LPIPS-style distance of source and output in VGG features, unlearned weights"

    def __init__(self, encoder: VggFeatures, layers: Sequence[str] = LAYERS) -> None:
        super().__init__()
        if not layers:
            raise ValueError("lpips_vgg needs at least one layer, for example conv1_2")
        self.encoder = encoder
        self.layers = tuple(layers)

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.vgg())

    @torch.no_grad()
    def update(self, outputs: Tensor, sources: Tensor) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, or of different shapes.
        """
        require_pairs(outputs, sources)
        values = []
        for output, source in in_passes(outputs, sources):
            after = vgg_maps(self.encoder, output, self.layers)
            before = vgg_maps(self.encoder, source, self.layers)
            distances = [unit_channel_distance(after[name], before[name]) for name in self.layers]
            values.append(torch.stack(distances).mean(0))
        self._keep(torch.cat(values))
