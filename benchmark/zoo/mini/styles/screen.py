"""Styles of light, print screens, cameras and films."""

from __future__ import annotations

import numpy as np

from .cells import tiles
from .fields import (
    Field,
    Image,
    Real,
    blur,
    clip01,
    colour,
    contours,
    coordinates,
    edge_strength,
    grain,
    jittered_colours,
    kuwahara,
    nearest_colours,
    over,
    posterise,
    ramp,
    rotated,
    saturate,
    sharpen,
    size_of,
    smoothstep,
    tone,
    turbulence,
    value_noise,
    veins,
    with_tone,
)


def neon_light(image: Image, rng: np.random.Generator) -> Image:
    """Glowing pink, cyan and violet tubes on a dark background."""
    shape = size_of(image)
    smooth = blur(tone(image, 1.0), 1.6)
    line = smoothstep(edge_strength(image, 1.3), 0.4, 0.85)
    tube = np.maximum(line, 0.55 * contours(smooth, float(rng.uniform(2.4, 3.4))))
    palette = [
        (1.0, 0.10, 0.65),
        (0.10, 0.90, 1.0),
        (0.60, 0.20, 1.0),
        (0.15, 1.0, 0.45),
        (1.0, 0.10, 0.55),
    ]
    hue = clip01((value_noise(shape, float(rng.uniform(26.0, 40.0)), rng) - 0.15) / 0.7)
    light = ramp(hue, jittered_colours([palette[i] for i in rng.permutation(5)], 0.03, rng))
    glow = blur(light * tube[..., None], 3.0)
    night = colour(0.035, 0.012, 0.085) + smooth[..., None] * light * 0.28
    return clip01(night + 1.25 * glow + (0.72 * light + 0.32) * tube[..., None])


def pop_art(image: Image, rng: np.random.Generator) -> Image:
    """Flat clashing colours with large halftone dots."""
    shape = size_of(image)
    values = sharpen(tone(kuwahara(image, 4), 1.0), 10.0, 0.4)
    schemes = [
        [(0.10, 0.05, 0.25), (0.93, 0.08, 0.50), (1.0, 0.42, 0.66), (1.0, 0.90, 0.10)],
        [(0.08, 0.06, 0.20), (0.05, 0.50, 0.85), (1.0, 0.25, 0.55), (1.0, 0.93, 0.25)],
        [(0.20, 0.02, 0.25), (0.92, 0.10, 0.15), (0.05, 0.75, 0.85), (1.0, 0.90, 0.15)],
        [(0.05, 0.10, 0.35), (0.95, 0.15, 0.60), (0.98, 0.85, 0.10), (0.45, 0.95, 0.90)],
    ]
    flat = ramp(
        posterise(values, 4), jittered_colours(schemes[int(rng.integers(len(schemes)))], 0.04, rng)
    )
    period = float(rng.uniform(6.6, 8.2))
    across, along = rotated(shape, float(rng.uniform(0.5, 1.0)))
    dot = tiles(across, along, period, period, rng)
    # Dots swell towards each tone step's dark end, which restores the tones in between.
    radius = period * (0.20 + 0.26 * (1.0 - values))
    mask = smoothstep(dot.distance - radius, 0.6, -0.6)
    ink = nearest_colours(
        1.0 - flat, np.array([(0.98, 0.1, 0.45), (0.1, 0.25, 0.85), (0.99, 0.95, 0.9)], np.float32)
    )
    return over(ink, flat, 0.9 * mask * smoothstep(values, 0.15, 0.3))


def pixel_art(image: Image, rng: np.random.Generator) -> Image:
    """Big hard pixels in a small console palette."""
    y, x = coordinates(size_of(image))
    block = float(rng.choice([6.0, 8.0]))
    grid = tiles(np.floor(y), np.floor(x), block, block, rng)
    base = grid.mean(saturate(with_tone(image, tone(image, 0.5)), rng.uniform(1.5, 2.0)))
    palette = jittered_colours(
        [
            (0.06, 0.06, 0.12),
            (0.25, 0.16, 0.32),
            (0.55, 0.20, 0.25),
            (0.85, 0.35, 0.25),
            (0.98, 0.65, 0.35),
            (0.99, 0.88, 0.62),
            (0.96, 0.96, 0.94),
            (0.20, 0.45, 0.30),
            (0.45, 0.72, 0.35),
            (0.15, 0.28, 0.60),
            (0.30, 0.60, 0.88),
            (0.45, 0.48, 0.55),
        ],
        0.03,
        rng,
    )
    # Alternate pixels lean lighter and darker, the checkerboard dither of old consoles.
    parity = np.rint((y - grid.down + x - grid.across) / block) % 2
    dither = (0.11 * (parity - 0.5)).astype(np.float32)
    return nearest_colours(base + dither[..., None], np.array(palette, dtype=np.float32))


def zombie(image: Image, rng: np.random.Generator) -> Image:
    """Rotting grey-green skin with blotches, dark veins and raw red sores."""
    shape = size_of(image)
    values = sharpen(tone(image), 7.0, 0.9)
    blotch = turbulence(shape, float(rng.uniform(9.0, 13.0)), rng)
    decay = 0.12 + 0.82 * values + 0.40 * (blotch - 0.5)
    skin = ramp(
        decay,
        jittered_colours(
            [(0.03, 0.05, 0.03), (0.20, 0.27, 0.14), (0.43, 0.52, 0.29), (0.72, 0.78, 0.54)],
            0.03,
            rng,
        ),
    )
    sore = smoothstep(turbulence(shape, 15.0, rng), 0.60, 0.70)
    skin = over(colour(0.36, 0.05, 0.05) * (0.45 + 0.8 * values[..., None]), skin, 0.8 * sore)
    web = veins(shape, rng.uniform(15.0, 20.0), rng)
    return over(colour(0.10, 0.07, 0.13), skin, 0.7 * web)


def fire(image: Image, rng: np.random.Generator) -> Image:
    """Everything ablaze: tongues of flame from black through red to yellow."""
    shape = size_of(image)
    tongues = value_noise(shape, (16.0, 5.5), rng) + 0.5 * value_noise(shape, (8.0, 3.5), rng)
    lick = _risen(tone(image, 0.9), 9.0 * tongues)
    ridge = 1.0 - np.abs(2.0 * tongues / 1.5 - 1.0) * 2.0
    heat = 0.02 + 0.74 * sharpen(lick, 8.0, 0.5) + 0.20 * ridge + 0.22 * edge_strength(image, 1.0)
    flame = ramp(
        heat,
        jittered_colours(
            [
                (0.03, 0.0, 0.0),
                (0.45, 0.03, 0.0),
                (0.90, 0.26, 0.01),
                (1.0, 0.62, 0.05),
                (1.0, 0.93, 0.50),
            ],
            0.02,
            rng,
        ),
    )
    return clip01(flame + 0.25 * blur(flame, 3.0) * colour(1.0, 0.45, 0.1))


def _risen(field: Field, rise: Real) -> Field:
    """Field with every pixel taken from `rise` (H, W) pixels further down."""
    height, width = field.shape
    y, x = coordinates((height, width))
    return field[np.clip(y + rise - 5.0, 0, height - 1).astype(np.intp), x.astype(np.intp)]


def sepia_photo(image: Image, rng: np.random.Generator) -> Image:
    """Faded brown print with grain, dust, scratches and stains."""
    shape = size_of(image)
    y, x = coordinates(shape)
    noisy = 0.04 + 0.92 * sharpen(tone(image, 1.2), 8.0, 0.3) + 0.055 * grain(shape, 0.8, rng)
    print_ = ramp(
        noisy,
        jittered_colours(
            [(0.17, 0.10, 0.06), (0.45, 0.31, 0.19), (0.72, 0.57, 0.39), (0.93, 0.84, 0.67)],
            0.025,
            rng,
        ),
    )
    column = x + 2.0 * (value_noise(shape, (60.0, 200.0), rng) - 0.5)
    scratch = np.zeros(shape, dtype=np.float32)
    for position in rng.uniform(0.0, shape[1], int(rng.integers(5, 9))):
        scratch = np.maximum(scratch, smoothstep(np.abs(column - float(position)), 0.9, 0.3))
    scratch = scratch * smoothstep(value_noise(shape, (18.0, 40.0), rng), 0.35, 0.55)
    dust = smoothstep(grain(shape, 0.8, rng), 2.5, 2.9)
    stain = smoothstep(turbulence(shape, 34.0, rng), 0.5, 0.72)
    aged = over(colour(0.80, 0.66, 0.42), print_, 0.35 * stain)
    aged = over(colour(0.97, 0.92, 0.80), aged, 0.75 * np.maximum(scratch, dust))
    corner = np.hypot(y / shape[0] - 0.5, x / shape[1] - 0.5)
    return clip01(aged * (1.08 - 0.55 * corner[..., None] ** 2))
