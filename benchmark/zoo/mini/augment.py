"""Image augmentation of the mini zoo, one matrix product and one resampling per batch.

The guidance of a diffusion sampler shows an encoder small, warped crops of pictures that are still
noisy or blurred. The encoders are trained on the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_BLUR = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0


@dataclass(frozen=True)
class Crops:
    """What :func:`random_crops` does.

    Attributes:
        min_area, max_area: share of the picture's area, drawn log-uniformly.
        whole: share of pictures that keep at least 60 % of their area.
        perspective: largest move of a crop's corner, as a share of its half side.
        damaged: share of pictures that get noise and blur.
        noise: largest standard deviation of the noise, on the [-1, 1] scale.
        gain: largest change of brightness and contrast.
        grey: share of pictures that lose their colour.
        tint: largest change of each channel's gain.
    """

    min_area: float = 0.03
    max_area: float = 1.0
    whole: float = 0.35
    perspective: float = 0.4
    damaged: float = 0.5
    noise: float = 0.25
    gain: float = 0.1
    grey: float = 0.0
    tint: float = 0.0


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def damage(images: Tensor, share: float, noise: float, generator: torch.Generator) -> Tensor:
    """Blur and noise a share of the images; the strength differs from image to image."""
    count, channels = images.shape[:2]
    hit = (torch.rand(count, generator=generator) < share).float()
    sigma = hit * _uniform(count, 0.0, noise, generator)
    weight = hit * _uniform(count, 0.0, 1.0, generator)
    row = _BLUR.view(1, 1, 1, 5).expand(channels, 1, 1, 5)
    soft = F.conv2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), row, groups=channels)
    soft = F.conv2d(soft, row.transpose(2, 3), groups=channels)
    images = torch.lerp(images, soft, weight[:, None, None, None])
    grain = torch.randn(images.shape, generator=generator)
    return images + sigma[:, None, None, None] * grain


def crop_matrices(count: int, crops: Crops, generator: torch.Generator) -> Tensor:
    """Homographies [B, 3, 3] from the output's to the input's [-1, 1] coordinates."""
    area = torch.exp(_uniform(count, math.log(crops.min_area), math.log(crops.max_area), generator))
    whole = torch.rand(count, generator=generator) < crops.whole
    large = _uniform(count, min(0.6, crops.max_area), crops.max_area, generator)
    area = torch.where(whole, large, area)
    aspect = torch.exp(_uniform(count, -0.29, 0.29, generator))
    half_w = (area * aspect).sqrt().clamp(max=1.0)
    half_h = (area / aspect).sqrt().clamp(max=1.0)
    centre_x = (1 - half_w) * _uniform(count, -1, 1, generator)
    centre_y = (1 - half_h) * _uniform(count, -1, 1, generator)
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    # tilting about both axes moves the corners by about `perspective` of the half side
    warped = (torch.rand(count, generator=generator) < 0.5).float() * crops.perspective / 2
    tilt_x = warped * _uniform(count, -1, 1, generator)
    tilt_y = warped * _uniform(count, -1, 1, generator)
    zero, one = torch.zeros(count), torch.ones(count)
    place = torch.stack(
        [half_w * flip, zero, centre_x, zero, half_h, centre_y, zero, zero, one], -1
    ).view(count, 3, 3)
    tilt = torch.stack([one, zero, zero, zero, one, zero, tilt_x, tilt_y, one], -1)
    return place @ tilt.view(count, 3, 3)


def warp(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Resample images [B, C, H, W] to [B, C, size, size] through homographies (bilinear)."""
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    moved = matrices @ points
    grid = (moved[:, :2] / moved[:, 2:]).transpose(1, 2).view(-1, size, size, 2)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def recolour(images: Tensor, crops: Crops, generator: torch.Generator) -> Tensor:
    """Change contrast and brightness, fade some images to grey, tint the channels."""
    count, channels = images.shape[:2]
    if crops.grey:
        grey = (torch.rand(count, generator=generator) < crops.grey)[:, None, None, None]
        images = torch.where(grey, images.mean(1, keepdim=True), images)
    contrast = (1 + _uniform(count, -crops.gain, crops.gain, generator))[:, None]
    brightness = _uniform(count, -crops.gain, crops.gain, generator)[:, None]
    if crops.tint:
        tint = _uniform(count * channels, -crops.tint, crops.tint, generator)
        tint = tint.view(count, channels)
        # a gain about black, which is -1
        contrast, brightness = contrast * (1 + tint), brightness + tint
    return images * contrast[..., None, None] + brightness[..., None, None]


def random_crops(
    images: Tensor, crops: Crops, generator: torch.Generator, size: int | None = None
) -> Tensor:
    """Damaged, cropped, warped, flipped and recoloured copies.

    Args:
        images: [B, 3, S, S] float32 in [-1, 1], on the CPU.
        size: side of the output; S if None.

    Returns:
        [B, 3, size, size] float32, about [-1, 1].
    """
    count = len(images)
    with torch.autocast("cpu", enabled=False):  # the recipes call this inside an autocast region
        images = damage(images, crops.damaged, crops.noise, generator)
        matrices = crop_matrices(count, crops, generator)
        images = warp(images, matrices, size or images.shape[-1])
        return recolour(images, crops, generator)


def centre_crops(images: Tensor, side: int) -> Tensor:
    """The middle ``side`` x ``side`` pixels of images, resampled to the images' own size."""
    size = images.shape[-1]
    start = (size - side) // 2
    part = images[..., start : start + side, start : start + side]
    return F.interpolate(part, size=(size, size), mode="bicubic", align_corners=False)
