"""Gram matrices of feature maps: which channels fire together, wherever in the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """Products of the channels, averaged over the positions.

    Like :func:`benchmark.metrics.style_distances.gram_matrix`, but in the features' precision, as
    a loss that is differentiated at every step wants it.

    Args:
        features: [B, C, H, W].

    Returns:
        [B, C, C]: Gatys et al. 2016, eq. 3, divided by H W.
    """
    rows = features.flatten(2)
    return rows @ rows.transpose(1, 2) / rows.shape[2]


@dataclass(frozen=True)
class WeightedGrams:
    """A style image's Gram matrices [B, C, C] by layer, with its weight for each sample, [B]."""

    weight: Tensor
    grams: Mapping[str, Tensor]


def gram_distance(features: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Frobenius distance of Gram matrices, divided by the channels, mean over the layers.

    Args:
        features: maps [B, C, H, W] by layer.
        wanted: Gram matrices [B, C, C] of the style by layer.

    Returns:
        [B].
    """
    terms = [
        (gram_matrix(maps) - wanted[name]).flatten(1).norm(dim=1) / maps.shape[1]
        for name, maps in features.items()
    ]
    return torch.stack(terms).mean(0)
