"""Distances of the guidance, each per sample: their sum over a batch keeps samples independent."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

TONE_SIGMA = 1 / 8  # of the shorter side


def spherical_distance(u: Tensor, v: Tensor) -> Tensor:
    """2 asin(|u - v| / 2)^2 of unit vectors: half the squared angle (ZeCon's global CLIP loss).

    Args:
        u, v: [..., D], normalised here.

    Returns:
        [...], in [0, pi^2 / 2].
    """
    chord = (F.normalize(u, dim=-1) - F.normalize(v, dim=-1)).norm(dim=-1)
    # above 1 only by rounding, where asin would give NaN
    half_angle: Tensor = chord.div(2).clamp(max=1.0).arcsin()
    return half_angle.pow(2).mul(2)


def directional_distance(
    image: Tensor, source: Tensor, text: Tensor, source_text: Tensor
) -> Tensor:
    """1 - cos(image - source, text - source_text) of raw embeddings (StyleGAN-NADA, ZeCon).

    Args:
        image, source, text, source_text: [..., D] broadcastable, not normalised.

    Returns:
        [...], in [0, 2].
    """
    moved = F.normalize(image - source, dim=-1)
    wanted = F.normalize(text - source_text, dim=-1)
    return 1 - (moved * wanted).sum(-1)


def range_penalty(images: Tensor) -> Tensor:
    """Mean square of what lies outside of [-1, 1]: [B, 3, H, W] -> [B]."""
    return (images - images.clamp(-1, 1)).pow(2).mean((1, 2, 3))


def mean_squared(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference over all but the first axis -> [B]."""
    return (a - b).pow(2).flatten(1).mean(1)


def with_tone(images: Tensor, share: float) -> Tensor:
    """Images less a part of their tone: what a Gaussian blur over an eighth of the side leaves.

    Args:
        images: [B, C, H, W].
        share: of the tone that stays, in [0, 1]; 1 changes nothing, 0 leaves edges and texture.
    """
    if share == 1:
        return images
    shorter = min(images.shape[-2:])
    sigma = TONE_SIGMA * shorter
    reach = min(math.ceil(3 * sigma), shorter - 1)  # mirrored at the borders
    tone = images
    for kernel in ([2 * reach + 1, 1], [1, 2 * reach + 1]):  # a ninth of the time of a square one
        tone = gaussian_blur(tone, kernel, [sigma, sigma])
    return images - (1 - share) * tone


def info_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Each query must find its own key among all keys of its sample.

    ZeCon's PatchNCE puts the positive first and masks the diagonal of the negatives with -10; that
    is this cross-entropy but for a term exp(-10 / 0.07), which is nothing.

    Args:
        query: [B, N, C] of the output. key: [B, N, C] of the source, detached here.
        temperature: softmax temperature (0.07).

    Returns:
        [B], mean over the anchors; log N if queries carry no information.
    """
    # bfloat16 would round cosines that are divided by 0.07
    with torch.autocast(query.device.type, enabled=False):
        logits = torch.bmm(query.float(), key.detach().float().transpose(1, 2)) / temperature
    own = torch.diagonal(logits, dim1=1, dim2=2)
    return (torch.logsumexp(logits, dim=2) - own).mean(1)


def unit_channels(features: Tensor) -> Tensor:
    """Divide [..., C] by its norm + 1e-7, as CUT, QS-Attn and ZeCon do."""
    return features / (features.pow(2).sum(-1, keepdim=True).sqrt() + 1e-7)
