"""Styles made of brush strokes, facets and dabs of paint."""

from __future__ import annotations

import numpy as np

from .cells import cells
from .fields import (
    Field,
    Image,
    blur,
    clip01,
    colour,
    contours,
    coordinates,
    drag,
    edge_strength,
    flow_angle,
    gradient,
    grain,
    jittered_colours,
    kuwahara,
    luminance,
    nearest_colours,
    over,
    ramp,
    relief,
    rotated,
    saturate,
    shade,
    sharpen,
    size_of,
    smoothstep,
    streaks,
    tone,
    turbulence,
    value_noise,
    with_tone,
)


def watercolour(image: Image, rng: np.random.Generator) -> Image:
    """Pale transparent washes with dark drying edges and bare paper."""
    shape = size_of(image)
    wet = _warped(image, 5.0, 9.0, rng)
    wash = saturate(kuwahara(kuwahara(wet, 5), 3), rng.uniform(2.6, 3.4))
    values = blur(tone(wet, 1.5), 1.0)
    pigment = smoothstep(1.0 - values + 0.45 * (turbulence(shape, 22.0, rng) - 0.5), 0.02, 0.75)
    pigment = 0.22 + 0.78 * pigment
    rim = contours(values + 0.2 * turbulence(shape, 14.0, rng), float(rng.uniform(3.0, 4.0)))
    pale = clip01(0.44 + 0.56 * with_tone(wash, clip01(luminance(wash) * 0.8 + 0.1)))
    tints = ramp(
        value_noise(shape, 18.0, rng),
        [(0.42, 0.66, 0.97), (0.99, 0.62, 0.62), (0.60, 0.86, 0.62), (0.98, 0.86, 0.48)],
    )
    layer = pale * (0.25 + 0.75 * tints)
    layer = shade(layer, -0.30 * rim - 0.08 * grain(shape, 0.9, rng))
    return over(layer, np.broadcast_to(colour(0.99, 0.985, 0.97), image.shape), clip01(pigment))


def _warped(image: Image, reach: float, period: float, rng: np.random.Generator) -> Image:
    """Image with pixels displaced by smooth noise of up to `reach` / 2 pixels."""
    shape = size_of(image)
    y, x = coordinates(shape)
    row = np.clip(y + reach * (value_noise(shape, period, rng) - 0.5), 0, shape[0] - 1).astype(
        np.intp
    )
    column = np.clip(x + reach * (value_noise(shape, period, rng) - 0.5), 0, shape[1] - 1).astype(
        np.intp
    )
    return image[row, column]


def oil_painting(image: Image, rng: np.random.Generator) -> Image:
    """Thick ridged brush strokes along the form, in warm varnished colours."""
    angle = flow_angle(image, 0.5, 30.0, rng)
    paint = drag(kuwahara(image, 5), angle, 4)
    paint = with_tone(saturate(paint, rng.uniform(1.5, 1.9)), sharpen(tone(paint), 8.0, 0.5) * 0.88)
    varnish = np.array(jittered_colours([(1.04, 0.86, 0.58)], 0.03, rng)[0], np.float32)
    ridges = streaks(angle, 7, 1.0, rng)
    return clip01(shade(paint * varnish, 0.16 * ridges) + 0.14 * relief(ridges)[..., None])


def gogh(image: Image, rng: np.random.Generator) -> Image:
    """Swirling impasto strokes in cobalt blue and yellow."""
    shape = size_of(image)
    angle = flow_angle(image, 0.9, rng.uniform(34.0, 50.0), rng)
    strokes = streaks(angle, 8, 1.2, rng)
    values = sharpen(tone(image, 1.0), 10.0, 0.4)
    stops = jittered_colours(
        [
            (0.03, 0.06, 0.25),
            (0.08, 0.20, 0.55),
            (0.20, 0.42, 0.75),
            (0.50, 0.68, 0.68),
            (0.95, 0.80, 0.25),
            (1.0, 0.95, 0.62),
        ],
        0.04,
        rng,
    )
    starry = ramp(values + 0.13 * strokes, stops)
    own = saturate(drag(blur(image, 1.0), angle, 5), 1.6)
    paint = 0.78 * starry + 0.22 * own
    accent = smoothstep(value_noise(shape, 5.0, rng) + 0.2 * strokes, 0.85, 1.1)
    paint = over(colour(0.85, 0.45, 0.12), paint, 0.6 * accent)
    return clip01(paint + 0.22 * relief(strokes)[..., None])


def cezanne(image: Image, rng: np.random.Generator) -> Image:
    """Short parallel blocks of ochre, green and blue with bluish contours."""
    shape = size_of(image)
    across, along = rotated(shape, float(rng.uniform(0.7, 1.1)) * float(rng.choice([-1.0, 1.0])))
    ratio = float(rng.uniform(2.4, 3.0))
    patch = cells(across, along / ratio, float(rng.uniform(4.8, 6.0)), 0.9, rng)
    base = patch.mean(saturate(with_tone(image, tone(image)), 1.3))
    noise = (rng.random((patch.count, 3), dtype=np.float32) - 0.5) * 0.30
    palette = [
        (0.84, 0.66, 0.34),
        (0.72, 0.48, 0.24),
        (0.52, 0.58, 0.30),
        (0.30, 0.42, 0.26),
        (0.42, 0.56, 0.66),
        (0.24, 0.34, 0.50),
        (0.70, 0.36, 0.24),
        (0.92, 0.86, 0.68),
        (0.16, 0.20, 0.24),
    ]
    paint = nearest_colours(
        base + patch.paint(noise), np.array(jittered_colours(palette, 0.03, rng), np.float32)
    )
    paint = with_tone(paint, 0.5 * luminance(paint) + 0.5 * (0.12 + 0.75 * luminance(base)))
    bristles = np.cos(patch.down * float(rng.uniform(2.2, 2.8)))
    paint = shade(
        paint, (0.10 * bristles - 0.20 * smoothstep(patch.border, 1.1, 0.1)).astype(np.float32)
    )
    line = smoothstep(edge_strength(image, 1.4), 0.5, 0.95)
    return over(colour(0.14, 0.19, 0.32), paint, 0.6 * line)


_CUTS = 10
_PLANES = 1 << _CUTS


def cubist(image: Image, rng: np.random.Generator) -> Image:
    """Angular shifted planes in ochre, umber and grey, each shaded across."""
    shape = size_of(image)
    y, x = coordinates(shape)
    code, edge = _planes(y, x, _CUTS, rng)
    shift = np.rint(rng.uniform(-5.0, 5.0, (2, _PLANES))).astype(np.intp)[:, code]
    row = np.clip(y.astype(np.intp) + shift[0], 0, shape[0] - 1)
    column = np.clip(x.astype(np.intp) + shift[1], 0, shape[1] - 1)
    values = tone(image, 1.0)[row, column]
    slope = rng.uniform(0.0, 2.0 * np.pi, _PLANES).astype(np.float32)[code]
    side = np.cos(slope) * (y / shape[0] - 0.5) + np.sin(slope) * (x / shape[1] - 0.5)
    lift = rng.uniform(-0.12, 0.12, _PLANES).astype(np.float32)[code]
    period = float(rng.uniform(5.0, 6.5))
    hatch = 0.035 * np.cos(2.0 * np.pi / period * (np.cos(slope) * y + np.sin(slope) * x))
    values = clip01(0.06 + 0.86 * values + lift + 0.55 * side + hatch)
    ochre = ramp(
        values,
        jittered_colours(
            [(0.13, 0.08, 0.05), (0.52, 0.33, 0.15), (0.86, 0.68, 0.38), (0.97, 0.91, 0.74)],
            0.03,
            rng,
        ),
    )
    slate = ramp(
        values,
        jittered_colours(
            [(0.08, 0.09, 0.11), (0.33, 0.38, 0.40), (0.63, 0.66, 0.60), (0.94, 0.93, 0.86)],
            0.03,
            rng,
        ),
    )
    mix = (rng.random(_PLANES) < 0.45).astype(np.float32)[code]
    return over(
        colour(0.07, 0.05, 0.04), over(slate, ochre, 0.85 * mix), 0.85 * smoothstep(edge, 1.2, 0.4)
    )


def _planes(
    y: Field, x: Field, lines: int, rng: np.random.Generator
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.intp]], Field]:
    """Plane code per pixel from `lines` random straight cuts, and the distance to a cut."""
    code = np.zeros(y.shape, dtype=np.intp)
    edge = np.full(y.shape, np.inf, dtype=np.float32)
    height, width = y.shape
    for bit in range(lines):
        angle = np.pi * (bit + float(rng.random())) * 0.618
        point_y, point_x = rng.uniform(0.05, 0.95, 2)
        signed = (y - point_y * height) * np.cos(angle) + (x - point_x * width) * np.sin(angle)
        code |= (signed > 0).astype(np.intp) << bit
        edge = np.minimum(edge, np.abs(signed)).astype(np.float32)
    return code, edge


def pointillism(image: Image, rng: np.random.Generator) -> Image:
    """Separate dabs of pure colour on cream canvas."""
    y, x = coordinates(size_of(image))
    canvas = np.broadcast_to(colour(0.96, 0.93, 0.84), image.shape)
    vivid = saturate(
        with_tone(image, 0.02 + 0.88 * sharpen(tone(image), 8.0, 0.6)), rng.uniform(1.8, 2.3)
    )
    painting = 0.5 * canvas + 0.5 * blur(vivid, 2.0)
    size = float(rng.uniform(6.2, 7.4))
    for layer in (0.34, 0.40):
        dab = cells(y, x, size, 0.7, rng)
        hue = (rng.random((dab.count, 3), dtype=np.float32) - 0.5) * 0.34
        opacity = smoothstep(dab.distance, layer * size + 0.5, layer * size - 0.5)
        painting = over(
            clip01(dab.mean(vivid) + dab.paint(hue - hue.mean(axis=1, keepdims=True))),
            painting,
            opacity,
        )
    return painting


def oil_painting_of_flowers(image: Image, rng: np.random.Generator) -> Image:
    """Canvas crowded with bright blossoms among green strokes, lit like the photo."""
    shape = size_of(image)
    y, x = coordinates(shape)
    values = sharpen(tone(image, 1.0), 8.0, 0.4)
    angle = flow_angle(image, 0.8, 24.0, rng)
    strokes = streaks(angle, 5, 1.0, rng)
    leaves = ramp(
        values + 0.14 * strokes,
        jittered_colours(
            [(0.03, 0.10, 0.06), (0.12, 0.34, 0.14), (0.45, 0.62, 0.25), (0.93, 0.92, 0.68)],
            0.03,
            rng,
        ),
    )
    bloom = cells(y, x, float(rng.uniform(12.0, 15.0)), 0.75, rng)
    turn = bloom.noise(rng) * 6.3
    theta = np.arctan2(bloom.down, bloom.across)
    radius = (4.6 + 2.0 * bloom.noise(rng)) * (0.82 + 0.22 * np.cos(5.0 * theta + turn))
    palette = np.array(
        [
            (0.98, 0.35, 0.55),
            (0.92, 0.12, 0.18),
            (0.99, 0.78, 0.15),
            (0.98, 0.93, 0.95),
            (0.62, 0.30, 0.80),
            (0.99, 0.52, 0.18),
        ],
        dtype=np.float32,
    )
    petals = bloom.paint(palette[rng.integers(0, len(palette), bloom.count)])
    light = 0.34 + 0.78 * values + 0.10 * np.cos(5.0 * theta + turn) + 0.06 * strokes
    petals = petals * light[..., None]
    heart = smoothstep(bloom.distance, 2.3, 1.4)
    petals = over(colour(0.95, 0.75, 0.10) * (0.35 + 0.65 * values[..., None]), petals, heart)
    mask = smoothstep((bloom.distance - radius).astype(np.float32), 0.6, -0.6)
    return clip01(over(clip01(petals), leaves, mask) + 0.10 * relief(strokes)[..., None])


def pixar(image: Image, rng: np.random.Generator) -> Image:
    """Smooth saturated 3D render: soft key light, violet shadows, glossy highlights."""
    smooth = blur(kuwahara(image, 3), 0.9)
    values = sharpen(tone(smooth, 1.2), 9.0, 0.5)
    lit = with_tone(saturate(smooth, rng.uniform(1.9, 2.4)), 0.12 + 0.82 * values)
    grade = ramp(
        values,
        jittered_colours(
            [(0.20, 0.10, 0.42), (0.55, 0.30, 0.55), (1.0, 0.66, 0.42), (1.0, 0.93, 0.72)],
            0.03,
            rng,
        ),
    )
    graded = 0.5 * lit + 0.5 * grade
    dy, dx = gradient(blur(values, 2.0))
    rim = smoothstep((-dy - 0.6 * dx).astype(np.float32), 0.02, 0.10)
    gloss = smoothstep(blur(values, 1.5), 0.86, 1.0)
    graded = over(colour(0.45, 0.85, 1.0), graded, 0.35 * rim)
    graded = over(colour(1.0, 0.98, 0.92), graded, 0.5 * gloss)
    return clip01(graded + 0.10 * blur(graded, 4.0))
