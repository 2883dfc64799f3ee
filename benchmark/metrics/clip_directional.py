"""Directional CLIP similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import NOT_APPLICABLE, SampleMetric
from benchmark.metrics.clip_space import PromptEmbeddings, cosine, embed_pixels, unit
from benchmark.metrics.pixels import require_pairs

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.clip import ClipEncoder

# float32 encoders tell embeddings of equal images apart by about 1e-6
LEAST_STEP = 1e-4


def step(start: Tensor, end: Tensor) -> Tensor:
    """Difference of unit-normalised rows, float64 [N, D]; zero where too short for a direction."""
    difference = unit(end.double()) - unit(start.double())
    length = difference.norm(dim=-1, keepdim=True)
    return torch.where(length >= LEAST_STEP, difference, 0.0)


class ClipDirectional(SampleMetric):
    """Cosine of the steps source -> output and source prompt -> target prompt.

    Embeddings are unit-normalised before the differences are taken (StyleGAN-NADA, Gal et al. 2021,
    eq. 2). An output that does not move in CLIP space scores 0; a target prompt equal to the source
    prompt has no direction and the sample is ``not_applicable``.

    Args:
        encoder: the scoring CLIP, never the one that guided the method.
    """

    name = "clip_directional"
    version = 1
    direction = "higher"
    bounds = (-1.0, 1.0)
    encoders = ("judge",)
    description = "cosine of the image step and the prompt step in the scoring CLIP"

    def __init__(self, encoder: ClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self._texts = PromptEmbeddings(encoder)

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.clip("judge"))

    def update(
        self, outputs: Tensor, sources: Tensor, prompts: Sequence[str | None],
        source_prompts: Sequence[str],
    ) -> None:  # fmt: skip
        """Score ``outputs`` made from ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, or of different shapes.
            UsageError: a prompt is empty or too long for the encoder.
        """
        require_pairs(outputs, sources)
        targets = [
            source if prompt is None else prompt
            for prompt, source in zip(prompts, source_prompts, strict=True)
        ]
        text_step = step(self._texts(source_prompts), self._texts(targets))
        still = (text_step == 0).all(-1).tolist()
        before, after = embed_pixels(self.encoder, sources), embed_pixels(self.encoder, outputs)
        image_step = step(before, after)
        unchanged = (outputs == sources).flatten(1).all(1)
        image_step = torch.where(unchanged[:, None], 0.0, image_step)
        self._keep(
            cosine(image_step, text_step), [NOT_APPLICABLE if flag else None for flag in still]
        )
