"""VGG features of stored pixels, and what the distances made of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.metrics.pixels import require_pixels
from benchmark.metrics.shared import once, shared_vgg_layers

if TYPE_CHECKING:
    from benchmark.zoo.vgg import VggFeatures

# Such a distance has no greatest value, but a summary stores bounds as JSON numbers. A squared
# distance of features is cut off here, a fourth power (Gram matrices) at the square.
CEILING = 1e6


@torch.no_grad()
def vgg_maps(encoder: VggFeatures, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Rectified maps [N, C, h, w] of uint8 images [N, 3, H, W], by layer.

    Images enter in [0, 1] before the ImageNet normalisation.

    Raises:
        DataError: not stored pixels.
        UsageError: a layer does not exist.
    """
    require_pixels(images, "images")
    together = shared_vgg_layers()
    wanted = together if set(layers) <= set(together) else tuple(layers)
    maps = once(encoder, images, lambda: encoder(images.float() / 255, wanted), wanted)
    return {name: maps[name] for name in layers}


def cut_off(distances: Tensor, ceiling: float) -> Tensor:
    """Distances of at most ``ceiling``; infinite ones stay: a failure is no large distance."""
    return torch.where(distances.isfinite(), distances.clamp(max=ceiling), distances)
