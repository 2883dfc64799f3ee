"""Query-selected attention without projection heads (QS-Attn, CVPR 2022, arXiv 2203.08483).

Rows of the source's self-attention with the smallest entropy are the anchors: positions that
resemble few others. The same rows route the features of source and output, so that an anchor's
feature is a mean over the positions that look like it. Checked against
``sapphire497/query-selected-attention`` at commit c2c5e40.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Attention = Literal["global", "local", "local_global", "none"]
WindowLayout = Literal["spatial", "upstream"]

# rows of attention that are held at once: 2^25 floats are 128 MiB
_BLOCK_ELEMENTS = 2**25


@dataclass(frozen=True)
class Routing:
    """Anchors of one layer and the weights that gather their features.

    Attributes:
        positions: [B, N] flat indices of the anchors.
        weights: [B, N, HW] for global attention, [B, N, w * w] for local, None for plain gathering.
        window: side of the local window, 0 if the weights are global or absent.
        layout: order of a window's vectors, see :func:`local_windows`.
    """

    positions: Tensor
    weights: Tensor | None
    window: int = 0
    layout: WindowLayout = "spatial"

    def __call__(self, features: Tensor) -> Tensor:
        """Anchor features: [B, C, H, W] -> [B, N, C]."""
        if self.weights is None:
            flat = features.flatten(2).transpose(1, 2)
            index = self.positions[..., None].expand(-1, -1, flat.shape[2])
            return flat.gather(1, index)
        if not self.window:
            return torch.bmm(self.weights, features.flatten(2).transpose(1, 2))
        windows = local_windows(features, self.window, self.positions, self.layout)
        return torch.einsum("bnw,bnwc->bnc", self.weights, windows)

    def expand(self, index: Tensor) -> Routing:
        """The routing of sample ``index[b]`` for each b."""
        weights = None if self.weights is None else self.weights[index]
        return Routing(self.positions[index], weights, self.window, self.layout)


def local_windows(features: Tensor, window: int, positions: Tensor, layout: WindowLayout) -> Tensor:
    """Vectors in the zero-padded window around positions: [B, C, H, W], [B, N] -> [B, N, w * w, C].

    ``spatial`` gives one feature vector for each of the w * w places. ``upstream`` repeats what the
    official code does: it reshapes unfold's (C, w * w) axis as (w * w, C) without transposing, so
    that its "vectors" mix places and channels.
    """
    batch, channels, height, width = features.shape
    radius = window // 2
    padded = F.pad(features, (radius, radius, radius, radius))
    row, column = positions // width, positions % width
    steps = torch.arange(window, device=features.device)
    rows = (row[..., None] + steps)[..., :, None]
    columns = (column[..., None] + steps)[..., None, :]
    index = (rows * (width + 2 * radius) + columns).flatten(1)  # [B, N * w * w]
    flat = padded.flatten(2)
    picked = flat.gather(2, index[:, None].expand(-1, channels, -1))
    picked = picked.view(batch, channels, -1, window * window)  # [B, C, N, w * w]
    if layout == "spatial":
        return picked.permute(0, 2, 3, 1)
    return picked.transpose(1, 2).reshape(batch, -1, window * window, channels)


def _entropy(attention: Tensor) -> Tensor:
    """- sum p log p over the last axis, with 0 log 0 = 0."""
    return -torch.xlogy(attention, attention).sum(-1)


def global_attention(features: Tensor, positions: Tensor) -> Tensor:
    """Rows of softmax(F F^T), unscaled as upstream: [B, C, H, W], [B, N] -> [B, N, HW]."""
    keys = features.flatten(2)
    queries = keys.transpose(1, 2).gather(
        1, positions[..., None].expand(-1, -1, keys.shape[1])
    )
    return torch.bmm(queries, keys).softmax(dim=2)


def global_entropy(features: Tensor) -> Tensor:
    """Entropy of every row of the global attention: [B, C, H, W] -> [B, HW], in blocks of rows."""
    batch, _, height, width = features.shape
    count = height * width
    rows = max(1, _BLOCK_ELEMENTS // (batch * count))
    blocks = []
    for start in range(0, count, rows):
        block = torch.arange(start, min(start + rows, count), device=features.device)
        blocks.append(_entropy(global_attention(features, block.expand(batch, -1))))
    return torch.cat(blocks, dim=1)


def local_attention(
    features: Tensor, window: int, positions: Tensor, layout: WindowLayout
) -> Tensor:
    """Attention of positions to their window, padding included: -> [B, N, w * w]."""
    windows = local_windows(features, window, positions, layout)
    flat = features.flatten(2).transpose(1, 2)
    queries = flat.gather(1, positions[..., None].expand(-1, -1, flat.shape[2]))
    return torch.einsum("bnc,bnwc->bnw", queries, windows).softmax(dim=2)


def local_entropy(features: Tensor, window: int, layout: WindowLayout = "spatial") -> Tensor:
    """Entropy of every position's local attention: [B, C, H, W] -> [B, HW], in blocks of rows."""
    batch, channels, height, width = features.shape
    count = height * width
    rows = max(1, _BLOCK_ELEMENTS // (batch * channels * window * window))
    blocks = []
    for start in range(0, count, rows):
        block = torch.arange(start, min(start + rows, count), device=features.device)
        positions = block.expand(batch, -1)
        blocks.append(_entropy(local_attention(features, window, positions, layout)))
    return torch.cat(blocks, dim=1)


@torch.no_grad()
def select(
    features: Tensor, attention: Attention, anchors: int, *, window: int = 7,
    layout: WindowLayout = "spatial", permutation: Tensor | None = None,
) -> Routing:  # fmt: skip
    """Choose the anchors of a layer and their routing, from the source's features.

    Args:
        features: [B, C, H, W] of the source.
        attention: ``global``; ``local``; ``local_global`` (rows by local entropy, routed with
            global attention: the paper's best); ``none`` (random places, as in ZeCon).
        anchors: N; fewer where the map has fewer positions.
        window: odd side of the local window (7 upstream).
        permutation: [B, HW] random order, needed by ``none``.

    Raises:
        ValueError: ``none`` without a permutation, or an even window.
    """
    count = min(anchors, features.shape[2] * features.shape[3])
    if attention == "none":
        if permutation is None:
            raise ValueError("random anchors need a permutation of the positions")
        return Routing(permutation[:, :count], None)
    if window % 2 == 0:
        raise ValueError(f"the attention window must be odd, got {window}")
    entropy = (
        global_entropy(features)
        if attention == "global"
        else local_entropy(features, window, layout)
    )
    positions = entropy.sort(dim=1, stable=True).indices[:, :count]
    if attention == "local":
        weights = local_attention(features, window, positions, layout)
        return Routing(positions, weights, window, layout)
    return Routing(positions, global_attention(features, positions))
