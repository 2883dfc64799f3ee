"""Content guidance: contrastive on denoiser features, VGG features, pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.guidance.losses import info_nce, unit_channels
from benchmark.guidance.query_attention import Routing


@dataclass(frozen=True)
class ContrastiveReference:
    """Anchors of the source, one entry per layer: routing and unit keys [B, N, C]."""

    routings: tuple[Routing, ...]
    keys: tuple[Tensor, ...]

    @classmethod
    def of(cls, features: Sequence[Tensor], routings: Sequence[Routing]) -> ContrastiveReference:
        """From the source's features [B, C, H, W] of each layer."""
        keys = tuple(
            unit_channels(route(layer)).detach()
            for layer, route in zip(features, routings, strict=True)
        )
        return cls(tuple(routings), keys)

    def expand(self, index: Tensor) -> ContrastiveReference:
        """The reference of sample ``index[b]`` for each b."""
        return ContrastiveReference(
            tuple(route.expand(index) for route in self.routings),
            tuple(key[index] for key in self.keys),
        )

    def loss(self, features: Sequence[Tensor], temperature: float) -> Tensor:
        """InfoNCE of the output's features against the source's, summed over layers -> [B]."""
        losses = [
            info_nce(unit_channels(route(layer)), key, temperature)
            for layer, route, key in zip(features, self.routings, self.keys, strict=True)
        ]
        return torch.stack(losses).sum(0)
