"""Random crops of images for CLIP, cut by one grid sampling for all samples and crops.

The distribution is that of ZeCon's augmentation (``YSerin/ZeCon`` at commit 51e679e, through
kornia): RandomResizedCrop, RandomAffine(15 degrees, vertical shift 0.1, border padding), then
RandomPerspective(0.7, zero padding). Upstream resamples three times and pools; here the three maps
are composed and the image is sampled once, which is sharper and leaves no loop over crops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.noise import NoiseSource

_MAX_ANGLE = math.radians(15.0)
# of the sides, (x, y): kornia reads upstream's translate=0.1 as the maxima (0, 0.1)
_MAX_SHIFT = (0.0, 0.1)
_DISTORTION = 0.7
_LOG_RATIO = math.log(4.0 / 3.0)
# uniform draws of one crop: area, ratio, place (2), angle, shift (2), four corners (8)
_DRAWS = 15


@dataclass(frozen=True)
class CropMaps:
    """Where crops come from, in [-1, 1] coordinates; leading axes [B, N].

    A crop's point p shows the image at ``centre + half_size * clamp(affine(perspective(p)))``; it
    is grey (0) where the perspective map leaves [-1, 1].

    Attributes:
        centre, half_size: [B, N, 2] window of the crop, (x, y).
        affine: [B, N, 2, 3] from crop to window coordinates.
        perspective: [B, N, 3, 3] homography from crop to crop coordinates.
    """

    centre: Tensor
    half_size: Tensor
    affine: Tensor
    perspective: Tensor

    def to(self, device: torch.device) -> CropMaps:
        return CropMaps(
            self.centre.to(device), self.half_size.to(device),
            self.affine.to(device), self.perspective.to(device),
        )  # fmt: skip


def draw_crops(
    noise: NoiseSource, purpose: str, count: int, *, scale: tuple[float, float] | None,
    augment: bool,
) -> CropMaps:  # fmt: skip
    """Draw ``count`` crops for each sample.

    Args:
        scale: smallest and largest share of the image's area; None keeps the whole image.
        augment: random affine and perspective maps, or none.

    Returns:
        Maps on the noise source's device.
    """
    cpu = NoiseSource(noise.run_seed, noise.sample_ids)
    u = cpu.uniform(purpose, (count, _DRAWS)).double()
    if scale is None:
        half = torch.ones(*u.shape[:2], 2, dtype=torch.float64)
        centre = torch.zeros_like(half)
    else:
        area = scale[0] + (scale[1] - scale[0]) * u[..., 0]
        ratio = torch.exp((2 * u[..., 1] - 1) * _LOG_RATIO)
        half = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], -1).clamp(max=1.0)
        centre = (2 * u[..., 2:4] - 1) * (1 - half)
    angle, shift, corners = u[..., 4], u[..., 5:7], u[..., 7:15]
    if not augment:
        # without augmentation both maps are the identity
        angle, shift, corners = angle * 0 + 0.5, shift * 0 + 0.5, corners * 0
    moved = (2 * shift - 1) * 2 * shift.new_tensor(_MAX_SHIFT)
    maps = CropMaps(
        centre, half,
        affine_map((2 * angle - 1) * _MAX_ANGLE, moved),
        perspective_map(corners.view(*corners.shape[:-1], 4, 2) * _DISTORTION),
    )  # fmt: skip
    return CropMaps(*(part.float() for part in vars(maps).values())).to(noise.device)


def affine_map(angle: Tensor, shift: Tensor) -> Tensor:
    """Inverse of rotating by ``angle`` (radians, anti-clockwise) about the centre, then shifting.

    Args:
        angle: [...]. shift: [..., 2] in [-1, 1] coordinates (2 is the image's side).

    Returns:
        [..., 2, 3] from output to input coordinates.
    """
    cos, sin = torch.cos(angle), torch.sin(angle)
    inverse = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    moved = -(inverse @ shift[..., None])
    return torch.cat([inverse, moved], -1)


def perspective_map(inward: Tensor) -> Tensor:
    """Homography from the output to the input of moving the corners inward.

    Args:
        inward: [..., 4, 2] moves of the corners (top left, top right, bottom right, bottom left) in
            units of half the side, each in [0, 1).

    Returns:
        [..., 3, 3]; the moved corners map to the corners of [-1, 1]^2.
    """
    corners = inward.new_tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    start = corners - corners * inward  # where the corners are in the output
    x, y = start[..., 0], start[..., 1]
    goal = corners.expand_as(start)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    gx, gy = goal[..., 0], goal[..., 1]
    rows_x = torch.stack([x, y, one, zero, zero, zero, -gx * x, -gx * y], -1)
    rows_y = torch.stack([zero, zero, zero, x, y, one, -gy * x, -gy * y], -1)
    system = torch.cat([rows_x, rows_y], -2)
    solution = torch.linalg.solve(system, torch.cat([gx, gy], -1)[..., None])[..., 0]
    rows = torch.cat([solution, torch.ones_like(solution[..., :1])], -1)
    return rows.view(*rows.shape[:-1], 3, 3)


def cut(images: Tensor, maps: CropMaps, size: int) -> Tensor:
    """Cut the crops.

    Args:
        images: [B, 3, H, W] in [-1, 1].
        maps: N crops for each image.
        size: side of the crops in pixels.

    Returns:
        [B * N, 3, size, size], sample-major (crops of a sample are adjacent).
    """
    with torch.autocast(images.device.type, enabled=False):
        return _cut(images.float(), maps, size)


def _cut(images: Tensor, maps: CropMaps, size: int) -> Tensor:
    batch, channels = images.shape[:2]
    count = maps.centre.shape[1]
    axis = (torch.arange(size, device=images.device, dtype=torch.float32) * 2 + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).flatten(1)  # [3, P]
    warped = maps.perspective @ points
    # points behind the viewer have a negative denominator and lie outside as well; it is kept from
    # 0, where the mask would hide an infinity but not the NaN of its gradient
    ahead = warped[:, :, 2] > 1e-6
    flat = warped[:, :, :2] / warped[:, :, 2:].clamp(min=1e-6)  # [B, N, 2, P]
    inside = (flat.abs() <= 1).all(2) & ahead
    turned = maps.affine[..., :2] @ flat + maps.affine[..., 2:]
    placed = maps.centre[..., None] + maps.half_size[..., None] * turned.clamp(-1, 1)
    grid = placed.transpose(2, 3).reshape(batch, count * size, size, 2)
    sampled = sample_bilinear(images, grid)
    sampled = sampled.view(batch, channels, count, size, size).transpose(1, 2)
    mask = inside.view(batch, count, 1, size, size)
    return torch.where(mask, sampled, 0.0).flatten(0, 1)


def sample_bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """``grid_sample`` with border padding: [B, C, H, W], [B, h, w, 2] -> [B, C, h, w].

    On CUDA its backward pass adds in an order of its own; where deterministic algorithms are asked
    for, the same values are gathered by rows, whose backward pass can be deterministic.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    batch, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).reshape(-1, channels)
    size = grid.new_tensor([width, height])
    place = torch.minimum(((grid + 1) * size - 1).div(2).clamp(min=0), size - 1)
    low = place.floor()
    part = place - low
    high = torch.minimum(low + 1, size - 1).long()
    low = low.long()
    start = torch.arange(batch, device=images.device).view(-1, 1, 1) * height * width
    total = torch.zeros((), device=images.device)
    for x, along_x in ((low[..., 0], 1 - part[..., 0]), (high[..., 0], part[..., 0])):
        for y, along_y in ((low[..., 1], 1 - part[..., 1]), (high[..., 1], part[..., 1])):
            picked = rows.index_select(0, (start + y * width + x).flatten())
            total = total + (along_x * along_y).reshape(-1, 1) * picked
    return total.view(*grid.shape[:3], channels).permute(0, 3, 1, 2)
