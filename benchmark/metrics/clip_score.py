"""CLIP score of whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.clip_space import PromptEmbeddings, cosine, embed_pixels, without_prompt
from benchmark.metrics.pixels import require_pixels

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.clip import ClipEncoder


class ClipScore(SampleMetric):
    """Cosine of the output's and the target prompt's embedding (Hessel et al. 2021, unscaled).

    Neither clipped at zero nor multiplied by 2.5 as CLIPScore is: the tables of the style-transfer
    papers print the bare cosine.

    Args:
        encoder: the scoring CLIP, never the one that guided the method.
    """

    name = "clip_score"
    version = 1
    direction = "higher"
    bounds = (-1.0, 1.0)
    encoders = ("judge",)
    description = "cosine of output and target prompt in the scoring CLIP, whole image"

    def __init__(self, encoder: ClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self._texts = PromptEmbeddings(encoder)

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.clip("judge"))

    def update(self, outputs: Tensor, prompts: Sequence[str | None]) -> None:
        """Score ``outputs`` (uint8 [N, 3, H, W]) against their prompts.

        Raises:
            DataError: not stored pixels.
            UsageError: a prompt is empty or too long for the encoder.
        """
        require_pixels(outputs, "outputs")
        missing = without_prompt(prompts)
        images = embed_pixels(self.encoder, outputs)
        texts = self._texts(prompts)
        self._keep(cosine(images, texts), missing)
