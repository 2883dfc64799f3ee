"""Likeness of output and source in CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.clip_space import cosine, embed_pixels
from benchmark.metrics.pixels import require_pairs

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.clip import ClipEncoder


class ClipImageSource(SampleMetric):
    """Cosine of the embeddings of output and source: how much of what is shown is kept.

    The image similarity that InstructPix2Pix (Brooks et al. 2023) sets against the directional one,
    in the space of Radford et al. 2021. CLIP sees style as well as content, so a strong style
    lowers it too: read it beside a style score, never alone. The mini judge's space is
    mostly one of styles: there a styled photograph lies further from its source than another
    photograph does. The value exists for every pair; an unchanged image has 1.

    Args:
        encoder: the scoring CLIP, never the one that guided the method.
    """

    name = "clip_image_source"
    version = 1
    direction = "higher"
    bounds = (-1.0, 1.0)
    encoders = ("judge",)
    description = "cosine of output and source in the scoring CLIP, whole image"

    def __init__(self, encoder: ClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.clip("judge"))

    def update(self, outputs: Tensor, sources: Tensor) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, or of different shapes.
        """
        require_pairs(outputs, sources)
        after, before = embed_pixels(self.encoder, outputs), embed_pixels(self.encoder, sources)
        self._keep(cosine(after, before))
