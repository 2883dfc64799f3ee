"""CLIP score over a fixed grid of crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.clip_space import PromptEmbeddings, cosine, embed_pixels, without_prompt
from benchmark.metrics.pixels import require_pixels

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.clip import ClipEncoder


def grid_crops(images: Tensor, grid: int, fraction: float) -> Tensor:
    """Equally spaced square crops that reach all four borders.

    Args:
        images: [N, C, H, W] of any dtype.
        grid: crops along each side.
        fraction: side of a crop over the image's shorter side, in (0, 1].

    Returns:
        [N, grid * grid, C, s, s], row by row.
    """
    height, width = images.shape[-2:]
    side = max(1, round(min(height, width) * fraction))
    tops = torch.linspace(0, height - side, grid).round().int().tolist()
    lefts = torch.linspace(0, width - side, grid).round().int().tolist()
    crops = [images[..., y : y + side, x : x + side] for y in tops for x in lefts]
    return torch.stack(crops, dim=1)


class ClipScorePatch(SampleMetric):
    """Mean cosine between the crops of the output and the target prompt.

    The paper reports its CLIP score "computed globally in a patch-based manner" without saying
    which patches; here they are a fixed grid of half-size crops, so that scoring draws no random
    number. Each crop is resized to the encoder's input (bicubic, antialiased).

    Args:
        encoder: the scoring CLIP, never the one that guided the method.
        grid: crops along each side.
        fraction: side of a crop over the image's shorter side, in (0, 1].

    Raises:
        ValueError: ``grid`` < 1 or ``fraction`` outside (0, 1].
    """

    name = "clip_score_patch"
    version = 1
    direction = "higher"
    bounds = (-1.0, 1.0)
    encoders = ("judge",)
    description = "mean cosine of a 3 x 3 grid of half-size crops and target prompt, scoring CLIP"

    def __init__(self, encoder: ClipEncoder, grid: int = 3, fraction: float = 0.5) -> None:
        super().__init__()
        if grid < 1:
            raise ValueError(f"grid must be at least 1, got {grid}")
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must lie in (0, 1], got {fraction}")
        self.encoder = encoder
        self.grid = grid
        self.fraction = fraction
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
        texts = self._texts(prompts)
        crops = grid_crops(outputs, self.grid, self.fraction)
        flat = embed_pixels(self.encoder, crops.flatten(0, 1))
        images = flat.view(len(outputs), -1, flat.shape[1])
        # added one by one: how mean() groups the terms depends on the number of images
        total = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
        for crop in images.unbind(1):
            total += cosine(crop, texts)
        self._keep(total / crops.shape[1], missing)
