"""Style guidance in CLIP space: global and directional, on crops or on the whole image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.guidance.losses import directional_distance, spherical_distance


@dataclass(frozen=True)
class StyleTarget:
    """Where the style is in CLIP space; both [B, D], not normalised.

    ``target`` is the wanted style, ``source`` the source's style ("Photo"): embeddings of prompts
    here, but nothing depends on that.
    """

    target: Tensor
    source: Tensor


@dataclass(frozen=True)
class WeightedStyle:
    """One of the styles that are fused, with its weight [B]: 0 for samples that have none."""

    weight: Tensor
    target: StyleTarget


def fused(loss: Callable[[StyleTarget], Tensor], styles: Sequence[WeightedStyle]) -> Tensor:
    """Weighted sum of a loss to several styles, [B]."""
    return torch.stack([style.weight * loss(style.target) for style in styles]).sum(0)


def global_loss(embeddings: Tensor, style: StyleTarget) -> Tensor:
    """Mean over crops of the spherical distance to the target: [B, N, D] -> [B]."""
    return spherical_distance(embeddings, style.target[:, None]).mean(1)


def directional_loss(embeddings: Tensor, source_image: Tensor, style: StyleTarget) -> Tensor:
    """Mean over crops of 1 - cos(crop - source image, target - source style).

    Args:
        embeddings: [B, N, D] of the output's crops.
        source_image: [B, 1, D] of the whole source, as in ZeCon's code and in CLIPstyler, or
            [B, N, D] of its crops.

    Returns:
        [B].
    """
    return directional_distance(
        embeddings, source_image, style.target[:, None], style.source[:, None]
    ).mean(1)
