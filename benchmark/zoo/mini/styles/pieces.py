"""Styles that assemble the photo from small coloured pieces: glass, tiles, stitches, leaves."""

from __future__ import annotations

import numpy as np

from .cells import Cells, cells, tiles
from .fields import (
    Colour,
    Image,
    Shape,
    clip01,
    colour,
    coordinates,
    grain,
    jittered_colours,
    luminance,
    nearest_colours,
    over,
    ramp,
    rotated,
    saturate,
    shade,
    sharpen,
    size_of,
    smoothstep,
    tone,
    value_noise,
    with_tone,
)


def stained_glass(image: Image, rng: np.random.Generator) -> Image:
    """Glowing panes of saturated glass in black lead."""
    y, x = coordinates(size_of(image))
    pane = cells(y, x, float(rng.uniform(9.5, 11.5)), 0.9, rng)
    base = pane.mean(with_tone(image, tone(image)))
    jewels = np.array(
        [
            (0.85, 0.06, 0.10),
            (0.08, 0.18, 0.80),
            (0.98, 0.78, 0.05),
            (0.05, 0.58, 0.25),
            (0.55, 0.08, 0.62),
            (0.98, 0.45, 0.05),
            (0.15, 0.65, 0.85),
        ],
        dtype=np.float32,
    )
    hue = saturate(base, 3.0) + 0.9 * pane.paint(
        rng.random((pane.count, 3), dtype=np.float32) - 0.5
    )
    glass = 0.72 * nearest_colours(hue, jewels) + 0.28 * saturate(base, 2.0)
    glass = glass * (0.16 + 1.25 * luminance(base))[..., None]
    glow = 0.25 * smoothstep(pane.distance, 6.0, 0.0)
    glass = clip01(glass * 1.1 + glow[..., None] * (0.4 * glass + 0.12))
    return over(colour(0.02, 0.02, 0.025), glass, smoothstep(pane.border, 1.9, 1.0))


def mosaic(image: Image, rng: np.random.Generator) -> Image:
    """Small square tesserae with pale grout."""
    shape = size_of(image)
    across, along = rotated(shape, float(rng.uniform(-0.25, 0.25)))
    wave = 3.0 * (value_noise(shape, 50.0, rng) - 0.5)
    size = float(rng.uniform(7.0, 8.4))
    tile = tiles(across + wave, along - wave, size, size, rng)
    base = tile.mean(saturate(with_tone(image, 0.85 * tone(image)), rng.uniform(1.9, 2.5)))
    jitter = tile.paint((rng.random((tile.count, 3), dtype=np.float32) - 0.5) * np.float32(0.22))
    bevel = 0.05 * (-(tile.down + tile.across) / size)
    stone = shade(clip01(base + jitter), bevel * 4.0)
    grout = np.array(jittered_colours([(0.82, 0.78, 0.68)], 0.05, rng)[0], np.float32)
    return over(np.broadcast_to(grout, image.shape), stone, smoothstep(tile.border, 0.95, 0.45))


_YARNS: tuple[Colour, ...] = (
    (0.97, 0.94, 0.88),
    (0.82, 0.18, 0.22),
    (0.93, 0.55, 0.62),
    (0.16, 0.32, 0.55),
    (0.50, 0.70, 0.84),
    (0.20, 0.46, 0.26),
    (0.92, 0.74, 0.36),
    (0.52, 0.32, 0.20),
    (0.17, 0.14, 0.18),
    (0.90, 0.74, 0.62),
)


def embroidery(image: Image, rng: np.random.Generator) -> Image:
    """Cross-stitches of coloured thread on linen."""
    shape = size_of(image)
    y, x = coordinates(shape)
    size = float(rng.uniform(6.4, 7.6))
    stitch = tiles(y, x, size, size, rng)
    base = stitch.mean(saturate(with_tone(image, tone(image)), 1.5))
    yarn = nearest_colours(base, np.array(jittered_colours(_YARNS, 0.04, rng), dtype=np.float32))
    yarn = 0.7 * yarn + 0.3 * base
    lower = np.abs(stitch.down - stitch.across) / size
    upper = np.abs(stitch.down + stitch.across) / size
    linen = _weave(shape, rng)
    cloth = over(
        shade(yarn, 0.35 - 2.4 * lower), linen, smoothstep(lower.astype(np.float32), 0.32, 0.22)
    )
    return over(
        shade(yarn, 0.45 - 2.2 * upper), cloth, smoothstep(upper.astype(np.float32), 0.30, 0.22)
    )


def _weave(shape: Shape, rng: np.random.Generator) -> Image:
    """Plain linen (H, W, 3)."""
    y, x = coordinates(shape)
    threads = 0.05 * (np.cos(y * 2.1) + np.cos(x * 2.1)) + 0.02 * grain(shape, 0.6, rng)
    return clip01(colour(0.86, 0.80, 0.68) * (0.9 + threads[..., None]))


_PLASTICS: tuple[Colour, ...] = (
    (0.95, 0.95, 0.93),
    (0.80, 0.07, 0.08),
    (0.05, 0.33, 0.73),
    (0.98, 0.80, 0.05),
    (0.10, 0.52, 0.20),
    (0.96, 0.50, 0.10),
    (0.85, 0.70, 0.50),
    (0.45, 0.25, 0.13),
    (0.60, 0.63, 0.66),
    (0.07, 0.07, 0.09),
    (0.40, 0.70, 0.92),
)


def lego(image: Image, rng: np.random.Generator) -> Image:
    """Square plastic bricks with round studs, in toy colours."""
    y, x = coordinates(size_of(image))
    size = float(rng.uniform(8.4, 9.8))
    brick = tiles(y, x, size, size, rng)
    base = brick.mean(saturate(with_tone(image, tone(image)), 1.9))
    plastic = nearest_colours(base, np.array(_PLASTICS, dtype=np.float32))
    return _with_studs(0.12 + 0.82 * plastic, brick, size)


def _with_studs(plastic: Image, brick: Cells, size: float) -> Image:
    """Plastic colours with a lit round stud on every brick."""
    radius = 0.33 * size
    slope = -(brick.down + brick.across) / (1.414 * radius)
    ring = smoothstep(np.abs(brick.distance - radius), 1.3, 0.2)
    light = 0.85 * ring * slope + 0.22 * smoothstep(brick.distance, radius, radius - 1.0)
    seam = smoothstep(brick.border, 0.9, 0.2)
    return clip01(shade(plastic, (light - 0.55 * seam).astype(np.float32)))


def autumn_leaves(image: Image, rng: np.random.Generator) -> Image:
    """Collage of fallen leaves in orange, red and yellow."""
    y, x = coordinates(size_of(image))
    values = sharpen(tone(image, 0.9), 8.0, 0.5)
    foliage = ramp(
        values, [(0.10, 0.04, 0.02), (0.36, 0.15, 0.05), (0.68, 0.38, 0.12), (0.95, 0.80, 0.48)]
    )
    palette = np.array(
        [
            (0.93, 0.45, 0.06),
            (0.80, 0.14, 0.05),
            (0.98, 0.76, 0.12),
            (0.60, 0.28, 0.08),
            (0.72, 0.60, 0.14),
        ],
        dtype=np.float32,
    )
    for size in (13.0, 16.0):
        leaf = cells(y, x, size * float(rng.uniform(0.9, 1.1)), 0.9, rng)
        turn = leaf.noise(rng) * 6.3
        along = np.cos(turn) * leaf.across + np.sin(turn) * leaf.down
        side = np.cos(turn) * leaf.down - np.sin(turn) * leaf.across
        width = 0.36 * size * (1.0 - (along / (0.62 * size)) ** 2)
        blade = smoothstep((np.abs(side) - width).astype(np.float32), 0.5, -0.5)
        vein = smoothstep(np.abs(side).astype(np.float32), 0.9, 0.3)
        dye = leaf.paint(palette[rng.integers(0, len(palette), leaf.count)])
        dye = dye * (0.34 + 1.0 * values - 0.35 * vein * (0.4 + values))[..., None]
        foliage = over(clip01(dye), foliage, blade)
    return foliage
