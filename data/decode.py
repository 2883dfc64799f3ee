"""From image files to square uint8 RGB pictures, in one documented way.

EXIF orientation is applied; transparency is laid on white; palettes, greyscale and CMYK become RGB
through Pillow; 16-bit greyscale is scaled to 8 bits; 32-bit and floating-point pixels have no
defined range and are refused; of an animation the first frame is taken. The largest centred square
is cut and resized with the protocol's filter (Pillow, antialiased).
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from benchmark.errors import DataError

Filter = Literal["lanczos", "bicubic", "bilinear", "box"]
Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 64_000_000
_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}


class BadImageError(DataError):
    """A file that is no usable image; the message is the reason, without the file's name."""


def decode(data: bytes) -> Image.Image:
    """Decode to RGB.

    Raises:
        BadImageError: not an image, truncated, of pixels without a defined range, or of more than
            ``MAX_PIXELS`` pixels (found from the header, before anything is decompressed).
    """
    try:
        with warnings.catch_warnings():
            # our own bound below is tighter than Pillow's
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise BadImageError(
                f"{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} allowed"
            )
        file_format = image.format
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except Image.DecompressionBombError as error:
        raise BadImageError("its header claims far too many pixels") from error
    except UnidentifiedImageError as error:
        # Pillow's text holds an address of memory, another each time
        raise BadImageError("it cannot be decoded (no image format that is known)") from error
    # Pillow's decoders raise all of these on damaged files
    except (OSError, SyntaxError, ValueError, EOFError, struct.error,
            IndexError, KeyError, TypeError, OverflowError) as error:  # fmt: skip
        raise BadImageError(f"it cannot be decoded ({error or type(error).__name__})") from error
    # older Pillow versions give 16-bit PNGs the mode I
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PNG"):
        wide = np.asarray(image, dtype=np.float64) / 257.0
        return Image.fromarray(np.clip(np.round(wide), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise BadImageError(f"its pixels are {kind} and have no defined range")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        overlay = image if image.mode == "RGBA" else image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), overlay)
        del image, overlay  # at most three images of this size at a time
        return flat.convert("RGB")
    # the largest images are not copied without need
    return image if image.mode == "RGB" else image.convert("RGB")


def square(image: Image.Image, size: int, resize_filter: Filter) -> Pixels:
    """Centre-crop to a square and resize: [size, size, 3] uint8."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cropped = image.crop((left, top, left + side, top + side))
    if side != size:
        cropped = cropped.resize((size, size), _FILTERS[resize_filter])
    return np.asarray(cropped, dtype=np.uint8)
