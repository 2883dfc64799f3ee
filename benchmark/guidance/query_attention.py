"""Query-selected attention without projection heads (QS-Attn, CVPR 2022, arXiv 2203.08483).

Rows of the source's self-attention with the smallest entropy are the anchors: positions that
resemble few others. The same rows route the features of source and output, so that an anchor's
feature is a mean over the positions that look like it. Checked against
``sapphire497/query-selected-attention`` at commit c2c5e40.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Attention = Literal["global", "local", "local_global"]
WindowLayout = Literal["spatial", "upstream"]

# what a block of rows holds at once: 2^23 floats are 32 MiB, and a handful of such arrays exist
_BLOCK_ELEMENTS = 2**23


@dataclass(frozen=True)
class Routing:
    """Anchors of one layer and the weights that gather their features.

    Attributes:
        positions: [B, N] flat indices of the anchors, row by row.
        weights: [B, N, HW] for global attention, [B, N, w * w] for local.
        window: side of the local window, 0 if the weights are global.
        layout: order of a window's vectors, see :func:`local_keys`.
    """

    positions: Tensor
    weights: Tensor
    window: int = 0
    layout: WindowLayout = "spatial"

    def __call__(self, features: Tensor) -> Tensor:
        """Anchor features: [B, C, H, W] -> [B, N, C] float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            if not self.window:
                return torch.bmm(self.weights, features.flatten(2).transpose(1, 2))
            values = local_values(features, self.window, self.positions, self.layout)
            return torch.einsum("bnw,bnwc->bnc", self.weights, values)

    def expand(self, index: Tensor) -> Routing:
        """The routing of image ``index[b]`` for each b."""
        return Routing(self.positions[index], self.weights[index], self.window, self.layout)


def _window_values(features: Tensor, window: int, positions: Tensor) -> Tensor:
    """Zero-padded w x w neighbourhoods of [B, N] positions: [B, C, H, W] -> [B, C, N, w * w]."""
    channels, width = features.shape[1], features.shape[3]
    radius = window // 2
    padded = F.pad(features, (radius, radius, radius, radius))
    row, column = positions // width, positions % width
    steps = torch.arange(window, device=features.device)
    rows = (row[..., None] + steps)[..., :, None]
    columns = (column[..., None] + steps)[..., None, :]
    index = (rows * (width + 2 * radius) + columns).flatten(1)  # [B, N * w * w]
    picked = padded.flatten(2).gather(2, index[:, None].expand(-1, channels, -1))
    return picked.view(len(features), channels, -1, window * window)


def local_keys(features: Tensor, window: int, positions: Tensor, layout: WindowLayout) -> Tensor:
    """Vectors that positions attend to locally: [B, C, H, W], [B, N] -> [B, N, w * w, C].

    ``spatial`` gives the feature vector at each of the w * w places. ``upstream`` repeats the
    official code, which reshapes unfold's (C, w * w) axis as (w * w, C) without transposing it, so
    that its "vectors" mix places and channels of the window.
    """
    values = _window_values(features, window, positions)
    if layout == "spatial":
        return values.permute(0, 2, 3, 1)
    return values.transpose(1, 2).reshape(len(features), -1, window * window, features.shape[1])


def local_values(features: Tensor, window: int, positions: Tensor, layout: WindowLayout) -> Tensor:
    """Vectors that local attention averages: [B, C, H, W], [B, N] -> [B, N, w * w, C].

    For ``spatial`` they are the keys. Upstream's are not its keys: a transposition leaves the axes
    as (C, w * w, N) and a view calls them (N, w * w, C), so that anchors are mixed as well.
    """
    values = _window_values(features, window, positions)
    if layout == "spatial":
        return values.permute(0, 2, 3, 1)
    return values.transpose(2, 3).reshape(len(features), -1, window * window, features.shape[1])


def _entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits) over the last axis, in nats.

    With d_k = logit_k - largest logit and S the sum of exp(d_k) over all but the largest, it is
    log(1 + S) - sum d_k exp(d_k) / (1 + S). Nothing cancels: unscaled attention is often one-hot
    to float precision, where - sum p log p (upstream) loses the largest weight's own part.
    """
    top, place = logits.max(dim=-1, keepdim=True)
    below = logits - top
    weight = below.exp().scatter(-1, place, 0.0)
    rest = weight.sum(-1)
    return torch.log1p(rest) - (weight * below).sum(-1) / (1 + rest)


def _global_logits(features: Tensor, positions: Tensor) -> Tensor:
    keys = features.flatten(2)
    queries = keys.transpose(1, 2).gather(1, positions[..., None].expand(-1, -1, keys.shape[1]))
    return torch.bmm(queries, keys)


def global_attention(features: Tensor, positions: Tensor) -> Tensor:
    """Rows of softmax(F F^T), unscaled as upstream: [B, C, H, W], [B, N] -> [B, N, HW]."""
    return _global_logits(features, positions).softmax(dim=2)


def global_entropy(features: Tensor) -> Tensor:
    """Entropy of every row of the global attention: [B, C, H, W] -> [B, HW], in blocks of rows."""
    width = features.shape[2] * features.shape[3]
    return _in_blocks(features, width, lambda rows: _entropy(_global_logits(features, rows)))


def _local_logits(features: Tensor, window: int, positions: Tensor, layout: WindowLayout) -> Tensor:
    keys = local_keys(features, window, positions, layout)
    flat = features.flatten(2).transpose(1, 2)
    queries = flat.gather(1, positions[..., None].expand(-1, -1, flat.shape[2]))
    return torch.einsum("bnc,bnwc->bnw", queries, keys)


def local_attention(
    features: Tensor, window: int, positions: Tensor, layout: WindowLayout
) -> Tensor:
    """Attention of positions to their window, padding included: -> [B, N, w * w]."""
    return _local_logits(features, window, positions, layout).softmax(dim=2)


def local_entropy(features: Tensor, window: int, layout: WindowLayout = "spatial") -> Tensor:
    """Entropy of every position's local attention: [B, C, H, W] -> [B, HW], in blocks of rows."""
    return _in_blocks(
        features,
        features.shape[1] * window * window,
        lambda rows: _entropy(_local_logits(features, window, rows, layout)),
    )


def _in_blocks(features: Tensor, per_row: int, entropy: Callable[[Tensor], Tensor]) -> Tensor:
    """``entropy`` of all positions, so many at a time that a block of ``per_row`` floats fits."""
    batch, _, height, width = features.shape
    count = height * width
    size = max(1, _BLOCK_ELEMENTS // (batch * per_row))
    order = torch.arange(count, device=features.device).expand(batch, -1)
    return torch.cat([entropy(rows) for rows in torch.split(order, size, dim=1)], dim=1)


@torch.no_grad()
def select(
    features: Tensor, attention: Attention, anchors: int, *, window: int = 7,
    layout: WindowLayout = "spatial",
) -> Routing:  # fmt: skip
    """Choose the anchors of a layer and their routing, from the source's features.

    Args:
        features: [B, C, H, W] of the source.
        attention: ``global``; ``local``; ``local_global`` (rows by local entropy, routed with
            global attention: the paper's best).
        anchors: N; fewer where the map has fewer positions.
        window: odd side of the local window (7 upstream).
        layout: see :func:`local_keys`.

    Raises:
        ValueError: even window.
    """
    if window % 2 == 0:
        raise ValueError(f"the attention window must be odd, got {window}")
    count = min(anchors, features.shape[2] * features.shape[3])
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
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
