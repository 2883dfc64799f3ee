"""The one way from stored pixels to what the encoders read."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.errors import DataError

PASS = 8  # images at a time where maps at full resolution are held


def require_pixels(images: Tensor, what: str) -> Tensor:
    """``images`` as it came, if it is a batch of stored pixels.

    Raises:
        DataError: not uint8, or not of shape [N, 3, H, W].
    """
    if images.dtype != torch.uint8:
        raise DataError(
            f"{what}: metrics read stored pixels, uint8 in 0..255, but got {images.dtype}. Turn "
            f"float images into pixels with benchmark.predict.to_pixels, which alone rounds them."
        )
    if images.ndim != 4 or images.shape[1] != 3:
        raise DataError(
            f"{what}: expected RGB images of shape [N, 3, H, W], got {list(images.shape)}"
        )
    return images


def require_pairs(outputs: Tensor, sources: Tensor) -> None:
    """Check a batch of outputs and the sources they were made from.

    Raises:
        DataError: not stored pixels, or of different shapes.
    """
    require_pixels(outputs, "outputs")
    require_pixels(sources, "sources")
    if outputs.shape != sources.shape:
        raise DataError(
            f"outputs {list(outputs.shape)} and sources {list(sources.shape)} must have one shape"
        )


def to_float(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] to float32 in [-1, 1]: value / 127.5 - 1.

    Raises:
        DataError: not stored pixels.
    """
    return require_pixels(images, "images").float().div(127.5).sub(1.0)


def in_passes(outputs: Tensor, sources: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs in groups of at most ``PASS``, so that large images do not fill the memory."""
    for start in range(0, len(outputs), PASS):
        yield outputs[start : start + PASS], sources[start : start + PASS]


def require_side(metric: str, images: Tensor, least: int) -> None:
    """Check that images [N, 3, H, W] are large enough for a metric.

    Raises:
        DataError: a side is below ``least`` pixels.
    """
    height, width = images.shape[-2:]
    if min(height, width) < least:
        raise DataError(
            f"{metric} needs images of at least {least} x {least} pixels, got {height} x {width}"
        )
