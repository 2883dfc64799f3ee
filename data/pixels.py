"""From an image file to square RGB pixels: one set of rules for every source.

* EXIF orientation is applied; of animations and multi-page files the first frame is taken.
* Transparent pixels are laid on white. Greyscale is repeated in the three channels; palettes are
  looked up. CMYK and other colour spaces are converted by Pillow's formulas; embedded ICC profiles
  are ignored.
* 16-bit greyscale is scaled to 8 bits (value / 257, rounded); Pillow itself reads 16-bit colour by
  its high bytes. Floating-point and 32-bit pixels have no defined range and are refused.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]
Filter = Literal["lanczos", "bicubic", "bilinear", "box"]
# Pillow's own limit: larger images are taken for decompression bombs
MAX_IMAGE_PIXELS = 89_478_485

_FILTERS: dict[str, Image.Resampling] = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}


class BadImage(Exception):  # noqa: N818 -- whether it is an error is the caller's choice
    """An image that cannot be used; its text is the reason."""


def decode_rgb(data: bytes) -> Image.Image:
    """Decode an image file to RGB, upright.

    Args:
        data: the file's bytes, in any format Pillow reads.

    Returns:
        An image of mode ``RGB``.

    Raises:
        BadImage: not an image, damaged, of too many pixels, or of pixels without a defined range.
    """
    try:
        with warnings.catch_warnings():
            # the size is checked here, before anything is decoded
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        with image:
            _require_reasonable_size(image)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), image.format)
    except Image.DecompressionBombError as error:
        raise BadImage(f"it has more than {MAX_IMAGE_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise BadImage("it is not an image that Pillow can read") from error
    # Pillow's decoders raise all of these on damaged files
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError,
            TypeError, OverflowError, MemoryError) as error:  # fmt: skip
        raise BadImage(f"it is damaged: {error or type(error).__name__}") from error


def _require_reasonable_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise BadImage(
            f"it has {image.width} x {image.height} pixels, more than {MAX_IMAGE_PIXELS:,}"
        )


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    # older Pillow versions give 16-bit PNGs the mode I
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PNG"):
        values = np.asarray(image).astype(np.float64)
        grey = np.round(values / 257.0).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in {"I", "F"}:
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise BadImage(f"its pixels are {kind}, which have no defined range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, size: int, filter_name: Filter) -> Pixels:
    """Centre-crop to a square, then resize (antialiased).

    Args:
        image: mode ``RGB``.
        size: side in pixels.
        filter_name: Pillow resampling filter.

    Returns:
        [size, size, 3] uint8.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cropped = image.crop((left, top, left + side, top + side))
    if side != size:
        cropped = cropped.resize((size, size), _FILTERS[filter_name])
    return np.array(cropped)


def encode_png(pixels: Pixels) -> bytes:
    """Lossless PNG of [H, W, 3] uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(data: bytes) -> Pixels:
    """[H, W, 3] uint8 of an RGB PNG."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))
