"""Content distance in VGG features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.pixels import in_passes, require_pairs, require_side
from benchmark.metrics.vgg_space import CEILING, cut_off, vgg_maps

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.vgg import VggFeatures

LAYER = "conv4_2"
LEAST_SIDE = 8  # three poolings lie before the layer


def content_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of two feature maps.

    Gatys et al. 2016, eq. 1 is half the sum of the squares; it grows with the image and with the
    width of the network. The mean, 2 / (N_l M_l) times theirs, does not.

    Args:
        a, b: feature maps [N, C, H, W].

    Returns:
        float64 [N], at least 0.
    """
    return (a.double() - b.double()).square().mean((1, 2, 3))


class VggContent(SampleMetric):
    """Distance of source and output in the VGG layer that holds the content.

    Gatys et al. 2016, eq. 1 on their content layer conv4_2 (rectified), per element of the map.
    Images enter in [0, 1] before the ImageNet normalisation. Unlike ``lpips_vgg``, the features
    are not scaled to unit length: a loss of contrast counts. So the unit is that of the network's
    activations, and values of two networks (mini VGG and VGG19) cannot be compared.

    The distance as such has no greatest value, but a summary stores bounds as JSON numbers, so it
    is cut off at 1e6. With the mini VGG even black against stripes stays below 2.

    Args:
        encoder: VGG19 features.
    """

    name = "vgg_content"
    version = 1
    direction = "lower"
    bounds = (0.0, CEILING)
    encoders = ("vgg",)
    vgg_layers = (LAYER,)
    description = "mean squared difference of source and output in VGG's conv4_2"

    def __init__(self, encoder: VggFeatures) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.vgg())

    @torch.no_grad()
    def update(self, outputs: Tensor, sources: Tensor) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, of different shapes, or smaller than 8 x 8 pixels.
        """
        require_pairs(outputs, sources)
        require_side(self.name, outputs, LEAST_SIDE)
        values = []
        for output, source in in_passes(outputs, sources):
            after = vgg_maps(self.encoder, output, (LAYER,))[LAYER]
            before = vgg_maps(self.encoder, source, (LAYER,))[LAYER]
            values.append(content_distance(after, before))
        self._keep(cut_off(torch.cat(values), CEILING))
