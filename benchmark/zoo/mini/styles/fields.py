"""Image and texture fields that the procedural styles are built from.

An image is float32 of shape (H, W, 3) in [0, 1]; a field is float32 of shape (H, W).
Every random choice comes from the generator that the caller passes in.
"""

# SciPy ships no type stubs.
# mypy: disable-error-code="import-untyped"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Image: TypeAlias = NDArray[np.float32]
Field: TypeAlias = NDArray[np.float32]
Real: TypeAlias = NDArray[np.floating[Any]]
Colour: TypeAlias = tuple[float, float, float]
Shape: TypeAlias = tuple[int, int]

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def size_of(image: Image) -> Shape:
    """Height and width of an image."""
    return image.shape[0], image.shape[1]


def colour(red: float, green: float, blue: float) -> Image:
    """A colour that broadcasts against images."""
    return np.array([red, green, blue], dtype=np.float32)


def clip01(values: Real) -> NDArray[np.float32]:
    """Values limited to [0, 1], as float32."""
    return as_float32(np.clip(values, 0.0, 1.0))


def as_float32(values: Real) -> NDArray[np.float32]:
    """Values as float32, without a copy where they are already."""
    return np.asarray(values, dtype=np.float32)


def smoothstep(values: Real, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between; `low` > `high` reverses the step."""
    t = clip01((values - low) / (high - low))
    return t * t * (3.0 - 2.0 * t)


def luminance(image: Image) -> Field:
    """Luma of an image, in [0, 1]."""
    return as_float32(image @ _LUMINANCE)


def tone(image: Image, sigma: float = 0.7) -> Field:
    """Luminance stretched to the full range of [0, 1], lightly smoothed."""
    values = blur(luminance(image), sigma)
    low, high = np.quantile(values[::2, ::2], [0.02, 0.98])
    return clip01((values - float(low)) / max(float(high - low), 0.15))


def sharpen(field: Field, sigma: float, amount: float) -> Field:
    """Field with its local contrast raised, in [0, 1]."""
    return clip01(field + amount * (field - blur(field, sigma)))


def blur(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur over the two image axes."""
    sigmas = (sigma, sigma) + (0.0,) * (values.ndim - 2)
    result: NDArray[np.float32] = ndimage.gaussian_filter(values, sigmas, truncate=2.5)
    return result


def gradient(field: Field) -> tuple[Field, Field]:
    """Central differences along y and x."""
    padded = np.pad(field, 1, mode="edge")
    return (padded[2:, 1:-1] - padded[:-2, 1:-1]) * 0.5, (
        padded[1:-1, 2:] - padded[1:-1, :-2]
    ) * 0.5


def edge_strength(image: Image, sigma: float = 1.0) -> Field:
    """Gradient magnitude, 0 on flat parts and 1 on the strongest few percent."""
    dy, dx = gradient(blur(luminance(image), sigma))
    strength = np.hypot(dy, dx)
    return clip01(strength / max(float(np.quantile(strength[::2, ::2], 0.96)), 0.01))


def contours(field: Field, levels: float) -> Field:
    """1 on the iso-lines of a field at `levels` equal steps, falling to 0 between them."""
    scaled = field * levels
    dy, dx = gradient(scaled)
    # Dividing by the slope keeps a line about as wide on steep parts as on shallow ones.
    distance = np.abs(scaled - np.round(scaled)) / (np.hypot(dy, dx) + 0.04)
    return smoothstep(distance, 1.6, 0.3)


def coordinates(shape: Shape) -> tuple[Field, Field]:
    """Pixel row and column of every pixel."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    columns = np.arange(shape[1], dtype=np.float32)[None, :]
    return np.broadcast_to(rows, shape), np.broadcast_to(columns, shape)


def rotated(shape: Shape, angle: float) -> tuple[Field, Field]:
    """Coordinates across and along the direction `angle` (radians), in pixels."""
    y, x = coordinates(shape)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return y * cos - x * sin, x * cos + y * sin


def value_noise(
    shape: Shape, period: float | tuple[float, float], rng: np.random.Generator
) -> Field:
    """Smooth noise in [0, 1] whose features are about `period` pixels (one, or y and x)."""
    periods = period if isinstance(period, tuple) else (period, period)
    down, across = (_interpolation(n, p, rng) for n, p in zip(shape, periods, strict=True))
    lattice = rng.random((down.shape[1], across.shape[1]), dtype=np.float32)
    return as_float32(down @ lattice @ across.T)


def _interpolation(length: int, period: float, rng: np.random.Generator) -> Field:
    """Matrix (length, knots) that interpolates lattice knots to pixels, rows summing to 1."""
    position = np.arange(length, dtype=np.float32) / np.float32(period) + np.float32(rng.random())
    left = np.floor(position).astype(np.intp)
    t = position - left
    t = t * t * (3.0 - 2.0 * t)
    weights = np.zeros((length, int(left[-1]) + 2), dtype=np.float32)
    index = np.arange(length)
    weights[index, left] = 1.0 - t
    weights[index, left + 1] = t
    return weights


def turbulence(shape: Shape, period: float, rng: np.random.Generator) -> Field:
    """Three octaves of value noise, in [0, 1]."""
    octaves = [value_noise(shape, period / 2**i, rng) / 2**i for i in range(3)]
    return as_float32((octaves[0] + octaves[1] + octaves[2]) / 1.75)


def veins(shape: Shape, period: float, rng: np.random.Generator) -> Field:
    """Branching lines: 1 on the line, 0 away from it."""
    noise = turbulence(shape, period, rng)
    return contours(noise, 2.0 + float(rng.uniform(0.0, 0.8)))


def standardised(field: Field) -> Field:
    """Field with mean 0 and standard deviation 1."""
    return as_float32((field - field.mean()) / (field.std() + 1e-6))


def grain(shape: Shape, sigma: float, rng: np.random.Generator) -> Field:
    """Blurred white noise, mean 0 and standard deviation 1."""
    return standardised(blur(rng.standard_normal(shape, dtype=np.float32), sigma))


def drag(values: NDArray[np.float32], angle: Field, length: int) -> NDArray[np.float32]:
    """Average of values along the direction `angle` (H, W), `length` pixels to either side."""
    height, width = angle.shape
    step_y, step_x = np.sin(angle), np.cos(angle)
    y, x = coordinates((height, width))
    total = np.zeros_like(values)
    offsets = np.linspace(-length, length, 2 * max(length // 2, 1) + 1)
    flat = values.reshape(height * width, -1)
    for offset in offsets:
        row = np.clip(np.rint(y + float(offset) * step_y), 0, height - 1).astype(np.intp)
        column = np.clip(np.rint(x + float(offset) * step_x), 0, width - 1).astype(np.intp)
        total += np.take(flat, row * width + column, axis=0).reshape(values.shape)
    return total / np.float32(len(offsets))


def streaks(angle: Field, length: int, width: float, rng: np.random.Generator) -> Field:
    """Strokes along `angle` (H, W): noise of mean 0 and standard deviation 1."""
    return standardised(drag(grain((angle.shape[0], angle.shape[1]), width, rng), angle, length))


def straight_streaks(
    shape: Shape, angle: float, length: float, width: float, rng: np.random.Generator
) -> Field:
    """Parallel straight strokes: noise of mean 0 and standard deviation 1."""
    across, along = rotated(shape, angle)
    side = int(max(shape) * 1.5)
    noise = value_noise((side, side), (width, length), rng)
    row = (across - float(across.min())).astype(np.intp)
    column = (along - float(along.min())).astype(np.intp)
    return standardised(noise[np.minimum(row, side - 1), np.minimum(column, side - 1)])


def flow_angle(image: Image, swirl: float, period: float, rng: np.random.Generator) -> Field:
    """Direction (radians) that follows the edges of an image, plus noise of weight `swirl`."""
    shape = size_of(image)
    dy, dx = gradient(blur(luminance(image), 1.5))
    # Doubled angles, because a direction and its opposite are the same stroke.
    real, imaginary = blur(dx * dx - dy * dy, 3.0), blur(2.0 * dx * dy, 3.0)
    scale = 1.0 / (np.hypot(real, imaginary) + 2e-4)
    turn = 4.0 * np.pi * value_noise(shape, period, rng)
    real, imaginary = (
        -real * scale + swirl * np.cos(turn),
        -imaginary * scale + swirl * np.sin(turn),
    )
    return as_float32(0.5 * np.arctan2(imaginary, real))


def relief(height: Field) -> Field:
    """Light from the upper left on a height field: positive on lit slopes."""
    dy, dx = gradient(height)
    return -(dy + dx)


def ramp(field: Field, stops: Sequence[Colour]) -> Image:
    """Colours by value: a field in [0, 1] through evenly spaced colour stops."""
    table = np.array(stops, dtype=np.float32)
    knots = np.linspace(0.0, 1.0, len(stops))
    fine = np.linspace(0.0, 1.0, 256)
    lookup = np.stack([np.interp(fine, knots, table[:, c]) for c in range(3)], axis=1).astype(
        np.float32
    )
    return lookup[(clip01(field) * 255.0 + 0.5).astype(np.intp)]


def shade(image: Image, amount: Field) -> Image:
    """Image made lighter where `amount` is positive, darker where negative (0 is neutral)."""
    return image * (1.0 + amount[..., None])


def over(top: Image, bottom: Image, opacity: Real) -> Image:
    """`top` painted over `bottom` with opacity (H, W) in [0, 1]."""
    return bottom + (top - bottom) * as_float32(opacity)[..., None]


def saturate(image: Image, amount: float) -> Image:
    """Chroma scaled by `amount` around the luminance, in [0, 1]."""
    grey = luminance(image)[..., None]
    return clip01(grey + amount * (image - grey))


def with_tone(image: Image, values: Field) -> Image:
    """Image with its luminance replaced by `values`, chroma kept, in [0, 1]."""
    return clip01(image + (values - luminance(image))[..., None])


def posterise(field: Field, levels: int) -> Field:
    """Field in [0, 1] rounded to `levels` equal steps."""
    return as_float32(np.rint(clip01(field) * (levels - 1)) / (levels - 1))


def nearest_colours(image: Image, palette: Image) -> Image:
    """Every pixel of an image (..., 3) replaced by its nearest colour of a palette (N, 3)."""
    scores = (palette * palette).sum(axis=1) - 2.0 * (image @ palette.T)
    return as_float32(palette[np.argmin(scores, axis=-1)])


def jittered_colours(
    colours: Sequence[Colour], amount: float, rng: np.random.Generator
) -> list[Colour]:
    """Colours each moved by up to `amount` per channel, and together by as much again."""
    table = np.array(colours) + rng.uniform(-amount, amount, 3) * 0.7
    table = np.clip(table + rng.uniform(-amount, amount, table.shape), 0.0, 1.0)
    return [(float(r), float(g), float(b)) for r, g, b in table]


def kuwahara(image: Image, radius: int) -> Image:
    """Edge-preserving smoothing: each pixel takes the mean of its calmest quadrant."""
    size = radius + 1
    grey = luminance(image)
    stack = np.dstack([image, grey * grey])
    means: Image = ndimage.uniform_filter(stack, (size, size, 1), mode="nearest")
    variance = means[..., 3] - luminance(means[..., :3]) ** 2
    reach = (radius + 1) // 2
    padded = np.pad(means[..., :3], ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    padded_variance = np.pad(variance, reach, mode="edge")
    height, width = grey.shape
    best = np.full(grey.shape, np.inf, dtype=np.float32)
    result = np.zeros_like(image)
    for down in (0, 2 * reach):
        for across in (0, 2 * reach):
            window = (slice(down, down + height), slice(across, across + width))
            better = padded_variance[window] < best
            best = np.where(better, padded_variance[window], best)
            result = np.where(better[..., None], padded[window], result)
    return result
