"""Styles that rebuild the photo from a material: metal, wood, masonry, ice."""

from __future__ import annotations

import numpy as np

from .cells import cells, running_bond, tiles
from .fields import (
    Field,
    Image,
    blur,
    clip01,
    colour,
    coordinates,
    edge_strength,
    grain,
    jittered_colours,
    over,
    ramp,
    relief,
    rotated,
    sharpen,
    size_of,
    smoothstep,
    straight_streaks,
    tone,
    turbulence,
    value_noise,
    veins,
)


def _reflections(values: Field, bands: float, depth: float, phase: float) -> Field:
    """Tone with the light and dark bands that polished metal mirrors, in [0, 1]."""
    return clip01(values + depth * np.sin(2.0 * np.pi * (bands * values + phase)))


def golden(image: Image, rng: np.random.Generator) -> Image:
    """Hammered polished gold with bright glints."""
    shape = size_of(image)
    dents = grain(shape, rng.uniform(1.7, 2.3), rng)
    form = sharpen(tone(image, 1.1), 8.0, 0.7)
    light = 0.55 * relief(dents) + 3.0 * relief(blur(form, 1.5))
    metal = _reflections(
        clip01(0.1 + 0.8 * form + 0.22 * light), rng.uniform(1.4, 1.9), 0.10, rng.random()
    )
    gold = ramp(
        metal,
        jittered_colours(
            [
                (0.16, 0.07, 0.0),
                (0.50, 0.28, 0.02),
                (0.88, 0.60, 0.08),
                (1.0, 0.83, 0.28),
                (1.0, 0.97, 0.72),
            ],
            0.025,
            rng,
        ),
    )
    glint = smoothstep(metal + 0.35 * light, 0.95, 1.25)
    return over(colour(1.0, 0.99, 0.88), gold, glint)


def silver(image: Image, rng: np.random.Generator) -> Image:
    """Liquid chrome: cold mirror bands that follow the form."""
    shape = size_of(image)
    form = blur(sharpen(tone(image, 1.2), 8.0, 0.6), 1.0)
    ripple = 0.10 * (value_noise(shape, 14.0, rng) - 0.5)
    light = relief(blur(form, 1.2))
    metal = _reflections(
        clip01(0.08 + 0.84 * form + ripple), rng.uniform(3.4, 4.4), 0.20, rng.random()
    )
    chrome = ramp(
        metal,
        jittered_colours(
            [
                (0.02, 0.03, 0.05),
                (0.22, 0.27, 0.34),
                (0.60, 0.66, 0.73),
                (0.90, 0.94, 0.98),
                (1.0, 1.0, 1.0),
            ],
            0.02,
            rng,
        ),
    )
    return clip01(chrome + 2.2 * light[..., None])


def wooden(image: Image, rng: np.random.Generator) -> Image:
    """Carved planks of brown wood with visible grain."""
    shape = size_of(image)
    angle = float(rng.uniform(-0.12, 0.12)) + float(rng.choice([0.0, np.pi / 2.0]))
    across, along = rotated(shape, angle)
    plank = tiles(across, along, float(rng.uniform(24.0, 34.0)), 400.0, rng)
    values = sharpen(tone(image, 0.9), 8.0, 0.5)
    warp = 16.0 * (value_noise(shape, 34.0, rng) - 0.5)
    period = float(rng.uniform(4.6, 6.2))
    rings = np.abs(((across + warp + 9.0 * plank.noise(rng)) / period) % 1.0 - 0.3).astype(
        np.float32
    )
    fibres = straight_streaks(shape, angle, 30.0, 1.5, rng)
    wood = (
        0.10
        + 0.74 * values
        + 0.30 * (rings - 0.35)
        + 0.05 * fibres
        + 0.14 * (plank.noise(rng) - 0.5)
    )
    brown = ramp(
        wood,
        jittered_colours(
            [(0.14, 0.06, 0.02), (0.38, 0.20, 0.08), (0.64, 0.40, 0.18), (0.86, 0.64, 0.36)],
            0.03,
            rng,
        ),
    )
    carved = brown + 1.1 * relief(blur(values, 0.8))[..., None] * colour(1.0, 0.8, 0.55)
    return over(colour(0.09, 0.04, 0.01), clip01(carved), 0.85 * smoothstep(plank.border, 1.2, 0.5))


def red_bricks(image: Image, rng: np.random.Generator) -> Image:
    """A wall of red bricks with pale mortar, painted by the photo's light."""
    shape = size_of(image)
    height = float(rng.uniform(8.0, 10.5))
    wall = running_bond(shape, height, height * float(rng.uniform(2.0, 2.4)), rng)
    values = sharpen(tone(image), 8.0, 0.6)
    lit = 0.08 + 0.80 * values + 0.22 * (wall.noise(rng) - 0.5) + 0.05 * grain(shape, 0.8, rng)
    brick = ramp(
        lit,
        jittered_colours(
            [(0.20, 0.04, 0.03), (0.52, 0.13, 0.09), (0.78, 0.27, 0.17), (0.95, 0.56, 0.40)],
            0.025,
            rng,
        ),
    )
    mortar = np.array(jittered_colours([(0.80, 0.75, 0.69)], 0.05, rng)[0], np.float32)
    joint = mortar * (0.42 + 0.6 * values[..., None])
    return over(joint, brick, smoothstep(wall.border, 1.35, 0.65))


def stone_wall(image: Image, rng: np.random.Generator) -> Image:
    """Irregular grey stones with dark mortar."""
    shape = size_of(image)
    y, x = coordinates(shape)
    wobble = 4.0 * (value_noise(shape, 9.0, rng) - 0.5)
    stone = cells(y * 1.25 + wobble, x * 0.9 + wobble, float(rng.uniform(13.0, 16.0)), 0.8, rng)
    values = sharpen(tone(image), 8.0, 0.6)
    rough = turbulence(shape, 6.0, rng)
    dome = smoothstep(stone.border, 0.5, 5.0)
    light = 0.35 * relief(dome) + 0.4 * relief(rough)
    lit = 0.03 + 0.86 * values + 0.14 * (stone.noise(rng) - 0.5) + 0.22 * (rough - 0.5) + light
    grey = ramp(
        lit,
        jittered_colours(
            [(0.16, 0.16, 0.16), (0.42, 0.41, 0.39), (0.66, 0.65, 0.61), (0.88, 0.87, 0.83)],
            0.02,
            rng,
        ),
    )
    mortar = colour(0.10, 0.095, 0.085) + 0.26 * values[..., None]
    return over(mortar, grey, smoothstep(stone.border, 2.4, 1.0))


def clay(image: Image, rng: np.random.Generator) -> Image:
    """Soft terracotta modelling with finger-print ridges."""
    shape = size_of(image)
    y, x = coordinates(shape)
    form = blur(sharpen(tone(image, 1.2), 9.0, 0.7), 1.6)
    thumb = cells(y, x, float(rng.uniform(22.0, 30.0)), 0.9, rng)
    stretch = np.hypot(thumb.down, 0.6 * thumb.across + 0.3 * thumb.down)
    ridges = np.cos(stretch * float(rng.uniform(0.85, 1.05))) * smoothstep(thumb.border, 0.0, 6.0)
    dents = grain(shape, 4.5, rng)
    lit = (
        0.14
        + 0.68 * form
        + 3.0 * relief(form)
        + 0.5 * relief(dents)
        + 0.11 * ridges.astype(np.float32)
    )
    clay_ = ramp(
        lit,
        jittered_colours(
            [(0.30, 0.11, 0.06), (0.62, 0.29, 0.17), (0.84, 0.49, 0.32), (0.97, 0.74, 0.58)],
            0.03,
            rng,
        ),
    )
    return clip01(clay_)


def marble(image: Image, rng: np.random.Generator) -> Image:
    """Carved white marble with grey and ochre veins."""
    shape = size_of(image)
    form = blur(sharpen(tone(image, 1.0), 8.0, 0.7), 0.9)
    lit = 0.02 + 0.95 * form + 2.0 * relief(form) + 0.10 * (turbulence(shape, 20.0, rng) - 0.5)
    stone = ramp(
        lit,
        jittered_colours(
            [(0.40, 0.39, 0.40), (0.70, 0.69, 0.69), (0.90, 0.89, 0.88), (0.99, 0.985, 0.97)],
            0.015,
            rng,
        ),
    )
    stone = over(colour(0.36, 0.37, 0.40), stone, 0.75 * veins(shape, rng.uniform(26.0, 36.0), rng))
    return over(colour(0.72, 0.58, 0.36), stone, 0.55 * veins(shape, rng.uniform(30.0, 42.0), rng))


def ice(image: Image, rng: np.random.Generator) -> Image:
    """Frozen pale-blue crystal facets with white frost."""
    shape = size_of(image)
    across, along = rotated(shape, float(rng.uniform(0.0, np.pi)))
    crystal = cells(across, along / 1.8, float(rng.uniform(9.0, 12.0)), 1.0, rng)
    values = sharpen(tone(image), 8.0, 0.5)
    angle = 6.3 * crystal.noise(rng)
    facet = (np.cos(angle) * crystal.down + np.sin(angle) * crystal.across) / 10.0
    lit = 0.12 + 0.74 * values + 0.22 * (crystal.noise(rng) - 0.5) + 0.14 * facet
    frozen = ramp(
        lit,
        jittered_colours(
            [(0.05, 0.22, 0.42), (0.28, 0.58, 0.80), (0.66, 0.87, 0.96), (0.97, 1.0, 1.0)],
            0.03,
            rng,
        ),
    )
    frost = np.maximum(
        smoothstep(crystal.border, 1.3, 0.2), smoothstep(edge_strength(image, 0.8), 0.6, 1.0)
    )
    return clip01(
        over(colour(0.95, 1.0, 1.0), frozen, 0.7 * frost) + 0.05 * grain(shape, 0.6, rng)[..., None]
    )
