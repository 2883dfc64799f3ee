"""Losses and views of DiffuseIT, each per sample; formulas as in ``cyclomon/DiffuseIT`` 8386b9a.

Where that code resizes or crops, it does so without antialiasing (torchvision 0.10, which it pins).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.guidance.crops import sample_bilinear
from benchmark.guidance.losses import info_nce, mean_squared
from benchmark.noise import NoiseSource
from benchmark.zoo.dino import DinoViT

_MAX_ANGLE = 10.0  # degrees
_AREA = (0.8, 1.0)
_LOG_RATIO = (math.log(0.9), math.log(1.1))
_TRIES = 10  # for a rectangle that fits, as torchvision's RandomResizedCrop
_DRAWS = 2 * _TRIES + 4
# edges of the region that the identity loss looks at, as shares of the side: pixels 35 to 223 and
# 32 to 220 of 256
_FACE_ROWS = (35 / 256, 223 / 256)
_FACE_COLUMNS = (32 / 256, 220 / 256)
_SMALLEST_NORM = 1e-8


@dataclass(frozen=True)
class Views:
    """Random views of images of one size; tensors [B, N].

    Attributes:
        angle: anti-clockwise rotation in degrees.
        top, left, height, width: rectangle that is cut from the rotated image, in pixels (int64).
        flip: mirror left and right (bool).
    """

    angle: Tensor
    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor


def draw_views(noise: NoiseSource, purpose: str, count: int, side: int) -> Views:
    """Draw ``count`` views for each sample, distributed as the official augmentations.

    RandomRotation(10), RandomResizedCrop(scale 0.8 to 1, ratio 0.9 to 1.1), horizontal flip in half
    of the cases.

    Args:
        side: of the square images, in pixels.

    Returns:
        Views on the noise source's device.
    """
    cpu = NoiseSource(noise.run_seed, noise.sample_ids)
    u = cpu.uniform(purpose, (count, _DRAWS)).double()
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * u[..., :_TRIES]) * side**2
    ratio = torch.exp(_LOG_RATIO[0] + (_LOG_RATIO[1] - _LOG_RATIO[0]) * u[..., _TRIES : 2 * _TRIES])
    width, height = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (width <= side) & (height <= side)
    first = fits.long().argmax(-1, keepdim=True)
    whole = ~fits.any(-1)  # torchvision falls back to the whole image
    width = width.gather(-1, first)[..., 0].masked_fill(whole, side)
    height = height.gather(-1, first)[..., 0].masked_fill(whole, side)
    angle, top, left, flip = u[..., 2 * _TRIES :].unbind(-1)
    views = Views(
        angle=((2 * angle - 1) * _MAX_ANGLE).float(),
        top=(top * (side - height + 1)).long(),
        left=(left * (side - width + 1)).long(),
        height=height,
        width=width,
        flip=flip < 0.5,
    )
    return Views(**{name: part.to(noise.device) for name, part in vars(views).items()})


def cut_views(images: Tensor, views: Views, size: int) -> Tensor:
    """Rotate (nearest pixel, black outside), cut, resize bilinearly to ``size`` and flip.

    Args:
        images: [B, 3, S, S] in [-1, 1].

    Returns:
        [B * N, 3, size, size], views of a sample adjacent.
    """
    with torch.autocast(images.device.type, enabled=False):
        rotated = _rotate(images.float(), views.angle)
        side = images.shape[-1]
        axis = torch.arange(size, device=images.device) + 0.5
        x = _places(axis, views.left, views.width, size)
        y = _places(axis, views.top, views.height, size)
        x = torch.where(views.flip[..., None], x.flip(-1), x)
        grid = torch.stack(
            [x[..., None, :].expand(-1, -1, size, size), y[..., None].expand(-1, -1, size, size)],
            -1,
        )
        return sample_bilinear(rotated, ((2 * grid + 1) / side - 1).flatten(0, 1))


def _places(axis: Tensor, start: Tensor, length: Tensor, size: int) -> Tensor:
    """Source coordinates [B, N, size] in pixels of an interval resized to ``size`` pixels."""
    span = length[..., None].float()
    inside = torch.minimum((axis * span / size - 0.5).clamp(min=0), span - 1)
    return start[..., None] + inside


def _rotate(images: Tensor, angle: Tensor) -> Tensor:
    """[B, 3, S, S], [B, N] degrees -> [B * N, 3, S, S].

    Pixels are picked by index: the backward pass of ``grid_sample`` is not deterministic on CUDA.
    """
    batch, channels, side, _ = images.shape
    axis = torch.arange(side, device=images.device, dtype=torch.float32) - (side - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    turn = torch.deg2rad(angle)[..., None, None]
    cos, sin = torch.cos(turn), torch.sin(turn)
    column = (cos * x - sin * y + (side - 1) / 2).round().long()
    row = (sin * x + cos * y + (side - 1) / 2).round().long()
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    index = row.clamp(0, side - 1) * side + column.clamp(0, side - 1)
    start = torch.arange(batch, device=images.device).view(-1, 1, 1, 1) * side**2
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    picked = pixels.index_select(0, (start + index).flatten())
    picked = picked.view(-1, side, side, channels).permute(0, 3, 1, 2)
    return torch.where(inside.flatten(0, 1)[:, None], picked, -1.0)


def resized(images: Tensor, size: int) -> Tensor:
    """Square images at ``size`` pixels, bilinear without antialiasing."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def read_vit(vit: DinoViT, images: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Keys [B, 1 + L, D] and class token [B, D] of the last block, float32, at ``size`` pixels."""
    keys, token = vit.keys_and_token(resized(images, size))
    return keys.float(), token.float()


def self_similarity(keys: Tensor) -> Tensor:
    """Cosines between all keys of a sample: [B, K, D] -> [B, K, K]."""
    norms = keys.norm(dim=2, keepdim=True)
    cosines: Tensor = keys @ keys.mT / (norms @ norms.mT).clamp(min=_SMALLEST_NORM)
    return cosines


def structure_loss(keys: Tensor, source_keys: Tensor) -> Tensor:
    """Mean squared difference of the self-similarities -> [B]."""
    return mean_squared(self_similarity(keys), self_similarity(source_keys))


def key_contrast_loss(keys: Tensor, source_keys: Tensor, temperature: float) -> Tensor:
    """InfoNCE: each key must find the source's key of the same place -> [B]."""
    query, key = F.normalize(keys, dim=-1), F.normalize(source_keys, dim=-1)
    return info_nce(query, key, temperature)


def clip_target(
    text: Tensor, source_text: Tensor, image: Tensor, source_text_share: float, image_share: float
) -> Tensor:
    """Unit vectors [B, D]: target text - share x source text + share x image, of unit vectors."""
    mixed = text - source_text_share * source_text + image_share * image
    return F.normalize(mixed, dim=-1)


def clip_loss(embeddings: Tensor, target: Tensor) -> Tensor:
    """Minus the mean cosine of N views to the target: [B, N, D], [B, D] -> [B]."""
    return -(F.normalize(embeddings, dim=-1).mean(1) * target).sum(-1)


def face_region(images: Tensor, size: int) -> Tensor:
    """The middle of FFHQ-aligned images, average-pooled: [B, 3, S, S] -> [B, 3, size, size]."""
    side = images.shape[-1]
    top, bottom = (round(edge * side) for edge in _FACE_ROWS)
    left, right = (round(edge * side) for edge in _FACE_COLUMNS)
    return F.adaptive_avg_pool2d(images[:, :, top:bottom, left:right], (size, size))


def match_colours(images: Tensor, references: Tensor) -> Tensor:
    """Give images the colours of others by the Monge-Kantorovich linear map, then stretch them.

    The map takes the mean and covariance of the colours to those of the reference (Pitié & Kokaram
    2007). The official code goes through ``color_matcher``, whose normaliser stretches the result
    so that its extremes over all channels become black and white.

    Args:
        images, references: [B, 3, H, W] in [-1, 1]; images are clamped to it.

    Returns:
        [B, 3, H, W] in [-1, 1], float32.
    """
    source, reference = images.clamp(-1, 1).double().flatten(2), references.double().flatten(2)
    mean = source.mean(2, keepdim=True)
    root, inverse = _roots(_covariance(source))
    middle, _ = _roots(root @ _covariance(reference) @ root)
    moved = inverse @ middle @ inverse @ (source - mean) + reference.mean(2, keepdim=True)
    low, high = moved.amin((1, 2), keepdim=True), moved.amax((1, 2), keepdim=True)
    stretched = 2 * (moved - low) / (high - low).clamp(min=1e-12) - 1
    return stretched.view_as(images).to(images.dtype)


def _covariance(colours: Tensor) -> Tensor:
    centred = colours - colours.mean(2, keepdim=True)
    return centred @ centred.mT / (colours.shape[2] - 1)


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Square root of positive semi-definite matrices, and its pseudo-inverse."""
    finite = torch.nan_to_num(matrix)  # eigh refuses NaN; the sample stays NaN through its pixels
    values, vectors = torch.linalg.eigh(finite)
    roots = values.clamp(min=0).sqrt()
    smallest = 1e-9 * roots.amax(-1, keepdim=True)
    inverse = torch.where(roots > smallest, 1 / roots, 0.0)
    return vectors * roots[:, None] @ vectors.mT, vectors * inverse[:, None] @ vectors.mT
