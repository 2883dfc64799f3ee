"""Style retrieval: does the scoring CLIP recognise the style?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import NOT_APPLICABLE, SampleMetric
from benchmark.metrics.clip_space import PromptEmbeddings, cosine, embed_pixels
from benchmark.metrics.pixels import require_pixels

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.clip import ClipEncoder


def nearest_is_target(images: Tensor, candidates: Tensor, targets: Tensor) -> Tensor:
    """1.0 where no candidate is nearer (by cosine) than the target, else 0.0.

    Args:
        images: [N, D].
        candidates: [K, D].
        targets: [N, D].

    Returns:
        float64 [N].
    """
    own = cosine(images, targets)
    others = cosine(images[:, None].expand(-1, len(candidates), -1), candidates[None])
    return (own >= others.amax(1)).double()


class StyleRetrieval(SampleMetric):
    """1 if of all candidates the target is nearest to the output, else 0.

    A run gives it the prompts of the set, its own, and the source prompt: a picture that still
    looks like a photo is not in the style.

    A target outside the set competes with the whole set. With one candidate alone there is nothing
    to retrieve, and the sample is ``not_applicable``.

    Args:
        encoder: the scoring CLIP, never the one that guided the method.
        prompts: the candidates, without duplicates.

    Raises:
        ValueError: no prompt, or one appears twice.
    """

    name = "style_retrieval"
    version = 1
    direction = "higher"
    bounds = (0.0, 1.0)
    encoders = ("judge",)
    description = "1 if the target is the nearest prompt of the prompt set in the scoring CLIP"

    def __init__(self, encoder: ClipEncoder, prompts: Sequence[str]) -> None:
        super().__init__()
        if not prompts:
            raise ValueError("style_retrieval needs the prompts among which the target is sought")
        twice = sorted({prompt for prompt in prompts if list(prompts).count(prompt) > 1})
        if twice:
            raise ValueError(f"style_retrieval: prompts appear twice: {', '.join(twice)}")
        self.encoder = encoder
        self.candidates = tuple(prompts)
        self._texts = PromptEmbeddings(encoder)

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.clip("judge"), prompts)

    def update(self, outputs: Tensor, prompts: Sequence[str | None]) -> None:
        """Score ``outputs`` (uint8 [N, 3, H, W]) against their prompts.

        Raises:
            DataError: not stored pixels.
            UsageError: a prompt is empty or too long for the encoder.
        """
        require_pixels(outputs, "outputs")
        missing = [
            NOT_APPLICABLE if prompt is None or {prompt} == {*self.candidates, prompt} else None
            for prompt in prompts
        ]
        images = embed_pixels(self.encoder, outputs)
        targets = self._texts(prompts)
        with torch.no_grad():
            self._keep(nearest_is_target(images, self._texts(self.candidates), targets), missing)
