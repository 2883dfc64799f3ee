"""Procedural image styles that turn a photo into a stylised photo.

Each style is a distribution: the generator decides texture scale, orientation, palette
and strength. The registry `STYLES` maps a style's id to the way it is applied, the
prompt of the benchmark and the other phrases that captions use for it.
"""

from __future__ import annotations

import difflib

import numpy as np

from .fields import Image, clip01
from .registry import STYLES, Style

__all__ = ["STYLES", "Style", "stylize"]


def stylize(image: Image, style: str, rng: np.random.Generator) -> Image:
    """Apply a style to an image.

    `image` is float32 of shape (H, W, 3) in [0, 1], made for 128 x 128; the result has the
    same shape, type and range. An unknown style raises KeyError naming the nearest ids.
    """
    if style not in STYLES:
        near = difflib.get_close_matches(style, STYLES, n=3, cutoff=0.3)
        raise KeyError(f"unknown style {style!r}; nearest: {', '.join(near) or 'none'}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must have shape (H, W, 3), not {image.shape}")
    return clip01(STYLES[style].apply(image.astype(np.float32, copy=False), rng))
