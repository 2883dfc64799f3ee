"""Distance of the Gram matrices of output and style image."""

from __future__ import annotations

from torch import Tensor

from benchmark.metrics.style_distances import Features, gram_distance
from benchmark.metrics.style_images import VggStyleMetric
from benchmark.metrics.vgg_space import CEILING


class GramDistance(VggStyleMetric):
    """Style loss of Gatys et al. 2016 (eq. 4 and 5) between output and style image.

    Rectified features of conv1_1 to conv5_1, equal weights; see
    :func:`benchmark.metrics.style_distances.gram_distance`. The unit is the fourth power of the
    network's activations, so values of two networks cannot be compared. Methods that descend on
    this loss with the same network have an advantage here: read it beside the others.
    """

    name = "gram_distance"
    version = 1
    direction = "lower"
    bounds = (0.0, CEILING**2)
    description = "squared difference of VGG Gram matrices of output and style image, 5 layers"

    def _distance(self, output: Features, style: Features) -> Tensor:
        return gram_distance(output, style)
