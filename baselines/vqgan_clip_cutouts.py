"""VQGAN-CLIP's cut-outs: the pooled picture, warped, recoloured, partly erased and noised.

``MakeCutouts`` (cut method ``latest``) of ``nerdyrodent/VQGAN-CLIP`` at commit 592d555 with its
default augmentations ``Af Pe Ji Er``, as kornia 0.5.4 does them, which its requirements pin:

- every cut-out is the whole picture, pooled to CLIP's size (mean of average and maximum);
- ``translate=0.1``, one number, is read by kornia as a range from 0 to 0.1 whose ends are the
  largest horizontal and the largest vertical shift: pictures move up and down alone;
- warps measure pixels between the centres of the outermost ones and sample between their edges, so
  a perspective map that moves nothing still enlarges the picture by a pixel or less;
- the four colour changes come in one random order for all cut-outs of a step, and one rectangle is
  erased from all of them or from none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.guidance.crops import perspective_map, sample_bilinear
from benchmark.noise import NoiseSource

Augment = Literal["Af", "Pe", "Ji", "Er"]
AUGMENTS: tuple[Augment, ...] = get_args(Augment)
SHARE = 0.7  # of the cut-outs (for "Er": of the steps) that an augmentation changes
_DEGREES, _SHEAR = 15.0, 5.0
_SHIFT = 0.1  # of the side, vertical
_DISTORTION = 0.7
_JITTER = 0.1
_AREA = (0.1, 0.4)
_RATIO = 0.3  # height to width of what is erased, or its inverse
_NOISE = 0.1
_NEAR_ZERO = 1e-8


@dataclass(frozen=True)
class Cutouts:
    """The random numbers of one step for N cut-outs of side S.

    Attributes:
        angle, shear: [N] degrees. shift: [N, 2], (x, y) in units of the side.
        inward: [N, 4, 2] moves of the corners, in units of half the side.
        jitter: [N, 4] brightness (added), contrast, saturation (factors), hue (share of a turn).
        order: in which the four are applied.
        erased: (x, y, width, height) in pixels, or None.
        warped, bent, recoloured: [N] bool, cut-outs that affine map, perspective and jitter change.
        level: [N] standard deviation of the noise. grain: [N, 3, S, S].
    """

    angle: Tensor
    shear: Tensor
    shift: Tensor
    inward: Tensor
    jitter: Tensor
    order: tuple[int, ...]
    erased: tuple[int, int, int, int] | None
    warped: Tensor
    bent: Tensor
    recoloured: Tensor
    level: Tensor
    grain: Tensor


def draw_cutouts(noise: NoiseSource, purpose: str, count: int, side: int) -> Cutouts:
    """Draw the numbers of one step for one sample."""
    cpu = NoiseSource(noise.run_seed, noise.sample_ids)
    u = cpu.uniform(purpose, (count, 20))[0].double()
    signed = 2 * u - 1
    jitter = _JITTER * signed[:, 11:15] + u.new_tensor([0.0, 1.0, 1.0, 0.0])
    return Cutouts(
        angle=_DEGREES * signed[:, 0],
        shear=_SHEAR * signed[:, 1],
        shift=torch.stack([torch.zeros_like(u[:, 2]), _SHIFT * signed[:, 2]], 1),
        inward=_DISTORTION * u[:, 3:11].reshape(count, 4, 2) * side / (side - 1),
        jitter=jitter.float(),
        order=tuple(cpu.permutation(f"{purpose}/order", 4)[0].tolist()),
        erased=_draw_rectangle(cpu.uniform(f"{purpose}/erase", (6,))[0], side),
        warped=u[:, 15] < SHARE,
        bent=u[:, 16] < SHARE,
        recoloured=u[:, 17] < SHARE,
        level=(_NOISE * u[:, 18]).float(),
        grain=noise.normal(f"{purpose}/grain", (count, 3, side, side))[0],
    )


def _draw_rectangle(u: Tensor, side: int) -> tuple[int, int, int, int] | None:
    hit, area, flat, ratio, left, top = u.tolist()
    if hit >= SHARE:
        return None
    pixels = (_AREA[0] + (_AREA[1] - _AREA[0]) * area) * side * side
    # kornia draws from both sides of 1 with equal chance, uniformly on each
    aspect = _RATIO + (1 - _RATIO) * ratio if flat < 0.5 else 1 + (1 / _RATIO - 1) * ratio
    height = min(max(round(math.sqrt(pixels * aspect)), 1), side)
    width = min(max(round(math.sqrt(pixels / aspect)), 1), side)
    return int(left * (side - width + 1)), int(top * (side - height + 1)), width, height


def make_cutouts(image: Tensor, cutouts: Cutouts, augments: Sequence[Augment], side: int) -> Tensor:
    """Cut-outs of one picture.

    Args:
        image: [1, 3, H, W] in [0, 1].
        augments: in order of application.

    Returns:
        [N, 3, side, side], [0, 1] but for the noise.
    """
    count = len(cutouts.level)
    batch = pooled(image, side).expand(count, -1, -1, -1)
    for augment in augments:
        if augment == "Af":
            batch = _selected(cutouts.warped, warp_affine(batch, cutouts), batch)
        elif augment == "Pe":
            batch = _selected(cutouts.bent, warp_perspective(batch, cutouts), batch)
        elif augment == "Ji":
            batch = _selected(cutouts.recoloured, recolour(batch, cutouts), batch)
        elif cutouts.erased is not None:
            left, top, width, height = cutouts.erased
            keep = torch.ones((1, 1, side, side), device=image.device)
            keep[..., top : top + height, left : left + width] = 0
            batch = batch * keep
    level = cutouts.level.to(image.device)[:, None, None, None]
    return batch + level * cutouts.grain


def _selected(chosen: Tensor, changed: Tensor, batch: Tensor) -> Tensor:
    return torch.where(chosen.to(batch.device)[:, None, None, None], changed, batch)


def pooled(image: Tensor, side: int) -> Tensor:
    """Mean of adaptive average and adaptive maximum pooling, [B, C, side, side].

    The windows are those of PyTorch's pooling, gathered by rows and columns: its own backward pass
    adds in an order of its own on CUDA.
    """
    if tuple(image.shape[2:]) == (side, side):
        return image  # windows of one pixel
    average = maximum = image
    for axis in (3, 2):
        length = image.shape[axis]
        place = torch.arange(side, device=image.device)
        first, last = place * length // side, -((place + 1) * -length // side) - 1
        widest = int((last - first).max()) + 1
        reach = torch.arange(widest, device=image.device)
        # a window that is shorter repeats its last pixel, which adds nothing to a maximum
        index = torch.minimum(first[:, None] + reach, last[:, None])
        weight = (reach <= (last - first)[:, None]) / (last - first + 1)[:, None]
        shape = [1, 1, side, 1, widest] if axis == 2 else [1, 1, 1, side, widest]
        average = (_windows(average, axis, index) * weight.view(shape)).sum(-1)
        # of equal pixels the first in reading order gets the gradient, as in PyTorch
        candidates = _windows(maximum, axis, index)
        maximum = candidates.gather(-1, candidates.argmax(-1, keepdim=True)).squeeze(-1)
    return (average + maximum) / 2


def _windows(image: Tensor, axis: int, index: Tensor) -> Tensor:
    picked = image.index_select(axis, index.flatten())
    shape = [*image.shape[:axis], *index.shape, *image.shape[axis + 1 :]]
    return picked.view(shape).movedim(axis + 1, -1)


def warp_affine(batch: Tensor, cutouts: Cutouts) -> Tensor:
    """Rotated and sheared about the centre, then shifted; black where nothing is."""
    side = batch.shape[-1]
    angle, shear = torch.deg2rad(cutouts.angle), torch.deg2rad(cutouts.shear)
    cos, sin, tan = torch.cos(angle), torch.sin(angle), torch.tan(shear)
    back = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    one, zero = torch.ones_like(tan), torch.zeros_like(tan)
    unshear = torch.stack([torch.stack([one, tan], -1), torch.stack([zero, one], -1)], -2)
    inverse = unshear @ back
    moved = 2 * cutouts.shift * side / (side - 1)
    axis = (torch.arange(side, dtype=torch.float64) * 2 + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y]).flatten(1) - moved[..., None]
    return _sample(batch, (inverse @ points).transpose(1, 2))


def warp_perspective(batch: Tensor, cutouts: Cutouts) -> Tensor:
    """The corners moved inward; black outside of them."""
    axis = torch.linspace(-1, 1, batch.shape[-1], dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    seen = perspective_map(cutouts.inward) @ points
    depth = seen[:, 2:]
    safe = torch.where(depth.abs() > _NEAR_ZERO, depth, 1.0)
    return _sample(batch, (seen[:, :2] / safe).transpose(1, 2))


def _sample(batch: Tensor, grid: Tensor) -> Tensor:
    """``grid_sample`` with zeros outside: a black frame whose border goes on forever."""
    side = batch.shape[-1]
    framed = F.pad(batch, (1, 1, 1, 1))
    grid = grid.view(len(batch), side, side, 2) * (side / (side + 2))
    return sample_bilinear(framed, grid.float().to(batch.device))


def recolour(batch: Tensor, cutouts: Cutouts) -> Tensor:
    """Brightness, contrast, saturation and hue changed in the step's order: [N, 3, S, S]."""
    factors = cutouts.jitter.to(batch.device)[:, :, None, None, None]
    for change in cutouts.order:
        factor = factors[:, change]
        if change == 0:
            batch = (batch + factor).clamp(0, 1)
        elif change == 1:
            batch = (batch * factor).clamp(0, 1)
        elif change == 2:
            batch = saturate(batch, factor)
        else:
            batch = turn_hue(batch, factor)
    return batch


def saturate(batch: Tensor, factor: Tensor) -> Tensor:
    """HSV saturation times a factor, at most 1; hue and value stay."""
    value, low = batch.amax(1, keepdim=True), batch.amin(1, keepdim=True)
    saturation = (value - low) / (value + 1e-6)
    gain = torch.where(
        saturation * factor > 1, 1 / saturation.clamp(min=_NEAR_ZERO), factor.expand_as(saturation)
    )
    return value - gain * value * (value - batch) / (value + 1e-6)


def turn_hue(batch: Tensor, turns: Tensor) -> Tensor:
    """HSV hue shifted by a share of the full turn; saturation and value stay."""
    red, green, blue = batch.unbind(1)
    value, low = batch.amax(1), batch.amin(1)
    spread = torch.where(value == low, 1.0, value - low)
    sextant = torch.where(
        red == value, (green - blue) / spread,
        torch.where(green == value, 2 + (blue - red) / spread, 4 + (red - green) / spread),
    )  # fmt: skip
    sextant = sextant[:, None] + 6 * turns
    offset = batch.new_tensor([5.0, 3.0, 1.0]).view(3, 1, 1)
    place = (offset + sextant) % 6
    part = torch.minimum(place, 4 - place).clamp(0, 1)
    chroma = value * (value - low) / (value + 1e-6)
    return value[:, None] - chroma[:, None] * part
