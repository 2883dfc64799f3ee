"""Contrastive content guidance on the features of the denoiser's encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmark.guidance.losses import info_nce, unit_channels
from benchmark.guidance.query_attention import Routing

Permutation = Callable[[int, int], Tensor]
"""(place of the layer, n) -> a random order of range(n) for each sample, [B, n] int64."""


class ContrastiveReference:
    """The source's side of the contrastive loss, computed once for each image.

    Args:
        features: [U, C, H, W] of U distinct images, one entry for each layer.
        routings: how each layer's anchors are gathered; None takes random positions, drawn afresh
            for every call (ZeCon, and the early layers of QS-Attn).
        image_of: [B] int64, the image that each sample was made from.
        anchors: N, number of random positions (fewer where a map has fewer).
    """

    def __init__(
        self, features: Sequence[Tensor], routings: Sequence[Routing | None], image_of: Tensor,
        anchors: int,
    ) -> None:  # fmt: skip
        self._image_of = image_of
        self._anchors = anchors
        self._routings = [None if route is None else route.expand(image_of) for route in routings]
        self._sources = [
            (_rows(layer) if route is None else unit_channels(route(layer))[image_of]).detach()
            for layer, route in zip(features, routings, strict=True)
        ]

    def loss(
        self, features: Sequence[Tensor], permutation: Permutation, temperature: float
    ) -> Tensor:
        """InfoNCE of the output's anchors against the source's, summed over layers.

        Args:
            features: [B, C, H, W] of the output, one entry for each layer.
            permutation: random orders for layers without routing.
            temperature: of the softmax (0.07).

        Returns:
            [B].
        """
        total = torch.zeros(len(self._image_of), device=self._image_of.device)
        for place, (layer, route, source) in enumerate(
            zip(features, self._routings, self._sources, strict=True)
        ):
            if route is None:
                rows = _rows(layer)
                order = permutation(place, rows.shape[1])[:, : self._anchors]
                samples = torch.arange(len(rows), device=order.device)
                query = unit_channels(rows[samples[:, None], order].float())
                key = unit_channels(source[self._image_of[:, None], order].float())
            else:
                query, key = unit_channels(route(layer)), source
            total = total + info_nce(query, key, temperature)
        return total


def _rows(features: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, HW, C]."""
    return features.flatten(2).transpose(1, 2)
