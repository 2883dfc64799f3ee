"""Structure distance from the self-similarity of DINO keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.pixels import in_passes, require_pairs, to_float

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.dino import DinoViT


def self_similarity(keys: Tensor) -> Tensor:
    """Cosines between all keys of an image: [N, L, D] to [N, L, L]."""
    keys = F.normalize(keys, dim=-1)
    return keys @ keys.transpose(-1, -2)


class DinoStructure(SampleMetric):
    """Mean squared difference of the key self-similarities of source and output.

    The structure loss of Splice (Tumanyan et al. 2022, eq. 3) on the keys of the last layer, heads
    concatenated; the class token is left out, since it has no place in the image.

    Args:
        encoder: a DINO vision transformer.
    """

    name = "dino_structure"
    version = 1
    direction = "lower"
    bounds = (0.0, 4.0)
    encoders = ("dino",)
    description = "difference of the self-similarity of DINO keys between source and output"

    def __init__(self, encoder: DinoViT) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.dino())

    @torch.no_grad()
    def update(self, outputs: Tensor, sources: Tensor) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, or of different shapes.
            ValueError: the sides are no multiples of the transformer's patch.
        """
        require_pairs(outputs, sources)
        values = []
        for output, source in in_passes(outputs, sources):
            after = self_similarity(self.encoder.keys(to_float(output)))
            before = self_similarity(self.encoder.keys(to_float(source)))
            values.append((after - before).double().square().mean((1, 2)))
        self._keep(torch.cat(values))
