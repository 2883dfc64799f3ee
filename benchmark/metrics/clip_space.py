"""Distances between images and texts in the space of a CLIP encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.metrics.base import NOT_APPLICABLE
from benchmark.metrics.pixels import to_float
from benchmark.metrics.shared import once

if TYPE_CHECKING:
    from benchmark.zoo.clip import ClipEncoder


GROUP = 32  # images of one pass: enough for two cores, and the activations still fit the cache


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between rows: [N, D], [N, D] to float64 [N] in [-1, 1].

    The sums are taken in float64. A row of zeros has cosine 0 to everything.
    """
    a, b = a.double(), b.double()
    product = a.norm(dim=-1) * b.norm(dim=-1)
    dot = (a * b).sum(-1)
    return torch.where(product > 0, dot / product.clamp_min(1e-300), 0.0).clamp(-1, 1)


@torch.no_grad()
def embed_pixels(encoder: ClipEncoder, images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] to embeddings [N, D], through the encoder's bicubic resizing."""

    def embed() -> Tensor:
        # groups of nearly one size: CPU kernels round otherwise for fewer than four images
        groups = images.tensor_split(max(1, -(-len(images) // GROUP)))
        return torch.cat(
            [encoder.encode_image(encoder.resize(to_float(group))) for group in groups]
        )

    return once(encoder, images, embed)


class PromptEmbeddings:
    """Text embeddings, each made once and alone, so that none depends on its neighbours.

    Args:
        encoder: whose text tower is used.
    """

    def __init__(self, encoder: ClipEncoder) -> None:
        self.encoder = encoder
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str | None]) -> Tensor:
        """Embeddings [N, D] of N prompts; a sample without one gets those of "photo".

        Raises:
            UsageError: a prompt is empty or longer than the encoder's context.
        """
        texts = ["photo" if prompt is None else prompt for prompt in prompts]
        for text in texts:
            if text not in self._known:
                self._known[text] = self.encoder.encode_text([text])[0]
        return torch.stack([self._known[text] for text in texts])


def without_prompt(prompts: Sequence[str | None]) -> list[str | None]:
    """The status of samples whose style is an image, None for the others."""
    return [NOT_APPLICABLE if prompt is None else None for prompt in prompts]


def unit(vectors: Tensor) -> Tensor:
    """Rows of length one."""
    return F.normalize(vectors, dim=-1)
