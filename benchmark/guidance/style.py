"""Style guidance by a CLIP encoder: global and directional, on crops or on the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from benchmark.guidance.losses import directional_distance, spherical_distance


class ImageEncoder(Protocol):
    """The part of a CLIP encoder that guidance uses."""

    input_size: int

    def encode_image(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class StyleTarget:
    """Where the style is in CLIP space; all [B, D], not normalised.

    ``source_image`` is the embedding of the whole source image, ``source`` that of its style in
    words (the source prompt), ``target`` that of the wanted style.
    """

    target: Tensor
    source: Tensor
    source_image: Tensor


def global_loss(embeddings: Tensor, style: StyleTarget) -> Tensor:
    """Mean over crops of the spherical distance to the target: [B, N, D] -> [B]."""
    return spherical_distance(embeddings, style.target[:, None]).mean(1)


def directional_loss(embeddings: Tensor, style: StyleTarget) -> Tensor:
    """Mean over crops of 1 - cos(crop - whole source, target - source words): [B, N, D] -> [B].

    The source image enters whole, not in crops, as in ZeCon's code and in CLIPstyler.
    """
    return directional_distance(
        embeddings, style.source_image[:, None], style.target[:, None], style.source[:, None]
    ).mean(1)
