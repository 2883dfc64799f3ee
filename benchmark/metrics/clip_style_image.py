"""Likeness of output and style image in CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.clip_space import cosine, embed_pixels
from benchmark.metrics.style_images import StyleImageMetric

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.clip import ClipEncoder


class ClipStyleImage(StyleImageMetric):
    """Cosine of the embeddings of output and style image: the CLIP score of image-guided runs.

    In the space of Radford et al. 2021. CLIP sees what is shown as well as how, so an output that
    takes over the style image's subject scores high too: read it beside a content score. A style
    image of other proportions is squeezed to the encoder's square input; run directories keep
    squares.

    Args:
        encoder: the scoring CLIP, never the one that guided the method.
    """

    name = "clip_style_image"
    version = 1
    direction = "higher"
    bounds = (-1.0, 1.0)
    encoders = ("judge",)
    description = "cosine of output and style image in the scoring CLIP, whole image"

    def __init__(self, encoder: ClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.clip("judge"))

    def _compare(self, outputs: Tensor, styles: Mapping[int, Tensor]) -> Tensor:
        # each alone, so that none depends on which others share the batch
        wanted = torch.cat([embed_pixels(self.encoder, style) for style in styles.values()])
        return cosine(embed_pixels(self.encoder, outputs)[list(styles)], wanted)
