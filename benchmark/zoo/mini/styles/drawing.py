"""Styles drawn with lines: sketches, inks and prints."""

from __future__ import annotations

import numpy as np

from .fields import (
    Field,
    Image,
    Shape,
    blur,
    clip01,
    colour,
    contours,
    coordinates,
    edge_strength,
    grain,
    jittered_colours,
    kuwahara,
    luminance,
    nearest_colours,
    over,
    posterise,
    ramp,
    rotated,
    saturate,
    shade,
    sharpen,
    size_of,
    smoothstep,
    straight_streaks,
    tone,
    value_noise,
)


def _paper(shape: Shape, tint: Image, roughness: float, rng: np.random.Generator) -> Image:
    """Sheet of paper (H, W, 3) with a fine tooth."""
    return tint + roughness * grain(shape, 0.8, rng)[..., None]


def _hatching(
    shape: Shape, angle: float, period: float, wobble: float, rng: np.random.Generator
) -> Field:
    """Parallel hand-drawn lines: 1 at the centre of a line, 0 half-way to the next."""
    across, _ = rotated(shape, angle)
    drift = wobble * (value_noise(shape, 18.0, rng) - 0.5)
    phase = (across + drift) / period + float(rng.random())
    return (1.0 - 2.0 * np.abs(phase - np.round(phase))).astype(np.float32)


def crayon_sketch(image: Image, rng: np.random.Generator) -> Image:
    """Waxy coloured strokes that leave white paper between them."""
    shape = size_of(image)
    angle = float(rng.uniform(0.5, 1.1)) * float(rng.choice([-1.0, 1.0]))
    strokes = straight_streaks(shape, angle, rng.uniform(22.0, 34.0), rng.uniform(2.8, 4.0), rng)
    tooth = grain(shape, 0.6, rng)
    dark = 1.0 - tone(image, 1.0)
    cover = smoothstep(0.14 + dark * 0.85 + 0.32 * strokes + 0.16 * tooth, 0.25, 0.65)
    wax = saturate(clip01(blur(image, 1.5) * 0.7 + 0.2), rng.uniform(2.6, 3.4))
    hues = ramp(value_noise(shape, 40.0, rng), [(0.9, 0.2, 0.2), (0.2, 0.4, 0.9), (0.95, 0.6, 0.1)])
    layer = shade(0.68 * wax + 0.32 * hues, 0.16 * strokes)
    drawing = over(clip01(layer), _paper(shape, colour(0.98, 0.97, 0.95), 0.015, rng), cover * 0.95)
    line = smoothstep(edge_strength(image, 1.2) + 0.12 * tooth + 0.08 * strokes, 0.45, 0.8)
    return over(wax * 0.45, drawing, line)


def pencil_sketch(image: Image, rng: np.random.Generator) -> Image:
    """Thin grey hatching and outlines on white paper."""
    shape = size_of(image)
    values = sharpen(tone(image), 8.0, 0.4)
    angle = float(rng.uniform(0.6, 1.0))
    period = float(rng.uniform(4.2, 5.6))
    first = _hatching(shape, angle, period, 3.0, rng)
    second = _hatching(shape, angle - 1.3, period, 3.0, rng)
    dark = 1.0 - values
    graphite = 0.55 * smoothstep(first + 1.1 * dark, 1.0, 1.5) + 0.4 * smoothstep(
        second + dark, 1.25, 1.7
    )
    graphite = graphite * (0.85 + 0.12 * grain(shape, 0.6, rng))
    line = 0.8 * smoothstep(edge_strength(image, 0.9), 0.35, 0.85)
    ink = np.maximum(clip01(graphite), line)[..., None]
    return clip01(
        _paper(shape, colour(0.97, 0.97, 0.97), 0.012, rng) - ink * colour(0.78, 0.77, 0.75)
    )


def charcoal(image: Image, rng: np.random.Generator) -> Image:
    """Broad smudged black on tan paper, with white chalk on the lights."""
    shape = size_of(image)
    angle = float(rng.uniform(0.0, np.pi))
    strokes = straight_streaks(shape, angle, 26.0, rng.uniform(3.5, 5.5), rng)
    tooth = grain(shape, 0.8, rng)
    values = sharpen(tone(image, 1.6), 10.0, 0.5)
    black = smoothstep(1.0 - values + 0.10 * strokes + 0.13 * tooth, 0.35, 0.95)
    outline = smoothstep(blur(edge_strength(image, 1.6), 0.8) + 0.13 * tooth, 0.4, 0.9)
    chalk = smoothstep(values + 0.08 * strokes + 0.14 * tooth, 0.85, 1.15)
    paper = _paper(
        shape,
        np.array(jittered_colours([(0.76, 0.63, 0.47)], 0.025, rng)[0], np.float32),
        0.035,
        rng,
    )
    drawing = over(colour(0.97, 0.95, 0.9), paper, 0.8 * chalk)
    return over(colour(0.07, 0.065, 0.06), drawing, np.maximum(black, 0.95 * outline))


def engraving(image: Image, rng: np.random.Generator) -> Image:
    """Swelling parallel ink lines on cream paper."""
    shape = size_of(image)
    values = sharpen(tone(image, 0.9), 8.0, 0.5)
    period = float(rng.uniform(5.0, 6.2))
    angle = float(rng.uniform(-0.3, 0.3))
    across, _ = rotated(shape, angle)
    # The lines bend with the light, as an engraver lets them follow the form.
    bend = 7.0 * blur(values, 5.0) + 5.0 * (value_noise(shape, 40.0, rng) - 0.5)
    phase = (across + bend) / period
    line = 1.0 - 2.0 * np.abs(phase - np.round(phase))
    dark = 1.0 - values
    ink = smoothstep((line + 1.15 * dark).astype(np.float32), 0.95, 1.25)
    cross = _hatching(shape, angle + 0.9, period, 2.0, rng)
    ink = np.maximum(ink, smoothstep(cross + dark, 1.55, 1.8))
    ink = np.maximum(ink, smoothstep(edge_strength(image, 0.9), 0.55, 0.95))
    black = np.array(jittered_colours([(0.09, 0.08, 0.10)], 0.04, rng)[0], np.float32)
    return over(black, _paper(shape, colour(0.95, 0.91, 0.80), 0.012, rng), ink)


def comic(image: Image, rng: np.random.Generator) -> Image:
    """Thick black outlines, flat primary colours and ink hatching in the shadows."""
    shape = size_of(image)
    values = tone(image, 1.0) ** np.float32(0.75)
    flat = kuwahara(saturate(image, 2.2), 3)
    palette = jittered_colours(
        [
            (0.98, 0.97, 0.92),
            (0.99, 0.80, 0.60),
            (0.98, 0.83, 0.15),
            (0.88, 0.16, 0.13),
            (0.16, 0.38, 0.80),
            (0.45, 0.70, 0.90),
            (0.25, 0.62, 0.30),
            (0.55, 0.32, 0.18),
            (0.13, 0.12, 0.25),
        ],
        0.04,
        rng,
    )
    stretched = clip01(flat + (values - luminance(flat))[..., None] * 0.7)
    painted = nearest_colours(stretched, np.array(palette, dtype=np.float32))
    hatch = _hatching(shape, float(rng.uniform(0.6, 0.95)), float(rng.uniform(5.0, 6.5)), 0.5, rng)
    shadow = smoothstep(hatch + 1.2 * (0.45 - values), 0.65, 0.8)
    solid = smoothstep(values, 0.11, 0.06)
    line = smoothstep(blur(edge_strength(image, 1.2), 0.7), 0.40, 0.55)
    line = np.maximum(line, contours(blur(values, 1.5), float(rng.uniform(2.6, 3.4))))
    return over(colour(0.03, 0.03, 0.05), painted, np.maximum(np.maximum(shadow, solid), line))


def ukiyo_e(image: Image, rng: np.random.Generator) -> Image:
    """Woodblock print: flat indigo and vermilion areas, dark outlines, waves, paper fibres."""
    shape = size_of(image)
    smooth = kuwahara(image, 4)
    steps = posterise(tone(smooth, 1.2), 5)
    paper = (0.95, 0.89, 0.74)
    cool = jittered_colours(
        [(0.07, 0.12, 0.30), (0.13, 0.27, 0.50), (0.38, 0.55, 0.66), (0.74, 0.78, 0.70), paper],
        0.03,
        rng,
    )
    warm = jittered_colours(
        [(0.16, 0.10, 0.16), (0.62, 0.17, 0.13), (0.85, 0.36, 0.22), (0.93, 0.72, 0.50), paper],
        0.03,
        rng,
    )
    warmth = smooth[..., 0] - smooth[..., 2] + 0.15 * (value_noise(shape, 30.0, rng) - 0.5)
    split = float(np.quantile(warmth[::2, ::2], rng.uniform(0.45, 0.65)))
    print_ = over(
        ramp(steps, warm), ramp(steps, cool), smoothstep(warmth, split - 0.01, split + 0.01)
    )
    mid = smoothstep(np.abs(steps - 0.5), 0.4, 0.3)
    print_ = over(
        colour(*paper), print_, 0.6 * mid * _waves(shape, float(rng.uniform(15.0, 19.0)), rng)
    )
    fibres = straight_streaks(shape, rng.uniform(-0.1, 0.1), 30.0, 1.6, rng)
    line = smoothstep(edge_strength(smooth, 0.8), 0.35, 0.6)
    return over(colour(0.08, 0.08, 0.14), print_ * (1.0 + 0.035 * fibres[..., None]), 0.92 * line)


def _waves(shape: Shape, size: float, rng: np.random.Generator) -> Field:
    """Overlapping arcs in staggered rows, as in the Japanese wave pattern: 1 on an arc."""
    y, x = coordinates(shape)
    v, u = y + size * float(rng.random()), x + size * float(rng.random())
    row = np.floor(v / (size / 2.0))
    centre = np.where(row % 2 == 0, 0.0, size / 2.0)
    across = (u + centre) % size - size / 2.0
    radius = np.hypot(across, (row + 1.0) * (size / 2.0) - v)
    ring = radius / (size / 4.0)
    return smoothstep(np.abs(ring - np.round(ring)).astype(np.float32), 0.24, 0.12)


def blueprint(image: Image, rng: np.random.Generator) -> Image:
    """White construction lines and a fine grid on blue paper."""
    shape = size_of(image)
    blue = np.array(jittered_colours([(0.07, 0.25, 0.60)], 0.04, rng)[0], np.float32)
    smooth = blur(tone(image), 2.0)
    base = _paper(shape, blue, 0.012, rng) * (0.78 + 0.4 * smooth[..., None])
    y, x = coordinates(shape)
    period = float(rng.uniform(9.0, 12.0))
    offset = rng.uniform(0.0, period, 2)
    grid = np.maximum((y + offset[0]) % period < 1.3, (x + offset[1]) % period < 1.3)
    base = over(colour(0.55, 0.72, 0.95), base, 0.38 * grid.astype(np.float32))
    line = smoothstep(edge_strength(image, 0.9), 0.35, 0.7)
    fine = 0.55 * contours(smooth, float(rng.uniform(3.5, 5.0)))
    return over(colour(0.95, 0.97, 1.0), base, np.maximum(line, fine))
