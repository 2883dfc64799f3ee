"""Image files of every kind become upright 8-bit RGB, or a reason why not."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import decode as module
from data.decode import BadImageError, decode, square


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(height: int = 6, width: int = 9) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 30, columns * 20, rows + columns], -1).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_rgb_is_kept(kind: str) -> None:
    image = decode(encoded(Image.fromarray(gradient()), kind))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), gradient())


def test_transparency_is_laid_on_white() -> None:
    pixels = np.dstack([gradient(), np.full((6, 9), 128, np.uint8)])
    pixels[0, 0, 3], pixels[5, 8, 3] = 0, 255
    result = np.asarray(decode(encoded(Image.fromarray(pixels)))).astype(int)
    assert result[0, 0].tolist() == [255, 255, 255]
    assert result[5, 8].tolist() == gradient()[5, 8].tolist()
    blended = gradient() * (128 / 255) + 255 * (127 / 255)
    assert np.abs(result[1:5] - blended[1:5]).max() <= 1


def test_grey_with_alpha_and_transparent_palette() -> None:
    grey = Image.fromarray(np.dstack([np.full((2, 2), 10, np.uint8)] * 2), "LA")
    grey.putalpha(Image.fromarray(np.array([[0, 255], [255, 255]], np.uint8)))
    assert np.asarray(decode(encoded(grey)))[:, :, 0].tolist() == [[255, 10], [10, 10]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1])
    opaque = np.asarray(decode(encoded(palette)))
    assert opaque.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    keyed = np.asarray(decode(encoded(palette, transparency=0)))
    assert keyed.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_greyscale_and_bilevel() -> None:
    grey = gradient()[:, :, 1]
    result = np.asarray(decode(encoded(Image.fromarray(grey))))
    assert all(np.array_equal(result[:, :, channel], grey) for channel in range(3))
    bilevel = Image.fromarray(np.eye(3, dtype=np.uint8) * 255).convert("1")
    assert np.array_equal(np.asarray(decode(encoded(bilevel)))[:, :, 2], np.eye(3) * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_greyscale_is_scaled(kind: str) -> None:
    values = np.array([[0, 257, 32768], [65535, 128, 129]], np.uint16)
    result = np.asarray(decode(encoded(Image.fromarray(values), kind)))
    assert result[:, :, 0].tolist() == [[0, 1, 128], [255, 0, 1]]


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.ones((2, 2), np.float32), "floating-point"), (np.ones((2, 2), np.int32), "32-bit")],
)
def test_pixels_without_a_range_are_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(BadImageError, match=words):
        decode(encoded(Image.fromarray(values), "TIFF"))


def test_cmyk() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0] = 255  # full cyan
    result = np.asarray(decode(encoded(Image.fromarray(pixels, "CMYK"), "JPEG", quality=100)))
    assert np.abs(result.astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = gradient()
    undo = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1),
        7: np.rot90(upright.transpose(1, 0, 2), 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation]))
    assert np.array_equal(np.asarray(decode(encoded(stored, exif=exif))), upright)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_exif_orientation_of_photographs(kind: str) -> None:
    """A picture that lies on its side: its left half is red once it stands."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    image = decode(encoded(stored, kind, exif=exif))
    assert image.size == (32, 16)
    assert np.abs(np.asarray(image)[:, :14].astype(int) - [255, 0, 0]).max() < 40
    assert np.asarray(image)[:, 18:].max() < 40


def test_cmyk_of_photoshop_is_inverted() -> None:
    """An Adobe marker says that 0 is full ink: cyan ink stays cyan."""
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 0] = 255
    stored = encoded(Image.fromarray(pixels, "CMYK"), "JPEG", quality=100)
    assert b"Adobe" in stored
    result = np.asarray(decode(stored)).astype(int)
    assert np.abs(result - [0, 255, 255]).max() <= 3
    tiff = np.asarray(decode(encoded(Image.fromarray(pixels, "CMYK"), "TIFF")))
    assert (tiff == [0, 255, 255]).all()


def test_grey_jpeg_and_palette_gif() -> None:
    grey = np.asarray(decode(encoded(Image.new("L", (16, 16), 77), "JPEG")))
    assert grey.shape == (16, 16, 3)
    assert np.abs(grey.astype(int) - 77).max() <= 1
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 10, 20, 30])
    assert (np.asarray(decode(encoded(palette, "GIF"))) == [10, 20, 30]).all()


def test_16_bit_colour_is_reduced() -> None:
    """Pillow has no 16-bit colour: the high byte is kept."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    row = b"\0" + struct.pack(">6H", 0, 0x80FF, 0xFFFF, 0x0100, 0x7F00, 0x00FF)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    )  # fmt: skip
    assert np.asarray(decode(data)).tolist() == [[[0, 0x80, 0xFF], [1, 0x7F, 0]]]


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PNG", "GIF"])
def test_first_frame_of_animations(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.asarray(decode(data))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"no pixels"])
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(BadImageError):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_damaged_files_never_end_in_another_exception(kind: str) -> None:
    """Truncations and flipped bytes give an image or a BadImageError, whatever the decoder does."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(noise, kind, exif=exif) if kind != "BMP" else encoded(noise, kind)
    refused = 0
    for attempt in range(150):
        data = bytearray(whole)
        if attempt % 2:
            data = data[: int(rng.integers(1, len(data)))]
        else:
            for place in rng.integers(0, min(len(data), 200), 4):
                data[place] = int(rng.integers(256))
        try:
            assert decode(bytes(data)).mode == "RGB"
        except BadImageError:
            refused += 1
    assert refused > 20


def bomb(side: int) -> bytes:
    """A PNG whose header claims side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


PEAK = """
import resource, sys
from data.decode import BadImageError, decode
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(data)
    print("decoded")
except BadImageError:
    print("refused")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def measured(path: Path) -> tuple[str, float]:
    """What becomes of a file, and by how many MiB the peak of a fresh process grows."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).resolve().parents[2], timeout=120,
    )  # fmt: skip
    outcome, grown = done.stdout.split()
    return outcome, float(grown)


def test_peak_memory_of_bombs(tmp_path: Path) -> None:
    """By the header alone, whatever it claims; the largest image allowed costs 4 bytes a pixel."""
    path = tmp_path / "image.png"
    for side in (8_001, 100_000):
        path.write_bytes(bomb(side))
        outcome, grown = measured(path)
        assert outcome == "refused"
        assert grown < 16
    Image.new("RGB", (8_000, 8_000)).save(path, compress_level=1)
    assert path.stat().st_size < 1_000_000, "a decompression bomb within the bound"
    outcome, grown = measured(path)
    assert outcome == "decoded"
    assert grown < 300


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    assert side * side > module.MAX_PIXELS
    with pytest.raises(BadImageError, match="pixels"):
        decode(bomb(side))


def test_square_takes_the_centre() -> None:
    pixels = np.zeros((4, 10, 3), np.uint8)
    pixels[:, 3:7] = 200
    assert (square(Image.fromarray(pixels), 4, "lanczos") == 200).all()
    tall = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 0, 2)))
    assert (square(tall, 4, "lanczos") == 200).all()


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "bilinear", "box"])
def test_reduction_is_antialiased(name: str) -> None:
    """A fine checkerboard becomes its mean, not a sample of it."""
    board = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
    small = square(Image.fromarray(np.dstack([board] * 3)), 16, name)  # type: ignore[arg-type]
    assert small.shape == (16, 16, 3)
    assert np.abs(small.astype(int) - 127.5).max() <= 4
