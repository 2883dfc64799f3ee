"""Training images of the mini zoo: photos, and photos in procedural styles, at 64x64.

Reads the Parquet files of a local corpus (columns ``image`` JPEG bytes, ``id``, ``label``,
``caption``; files ``<domain>-<split>.parquet``). Pictures are held as uint8 arrays; stylised copies
are drawn once, from a generator seeded by the picture's id, and kept in a working folder.
"""

from __future__ import annotations

import hashlib
import io
import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from .styles import STYLES, stylize

log = logging.getLogger(__name__)

SIZE = 64
DOMAINS = ("faces", "dogs", "bedrooms", "interiors", "objects", "paintings")
PHOTO_DOMAINS = ("faces", "dogs", "bedrooms", "interiors", "objects")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """``pixels`` [N, S, S, 3] uint8 RGB; the lists have one entry for each picture."""

    pixels: Pixels
    ids: list[str]
    domains: list[str]
    labels: list[str]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.ids)


def _decode(data: bytes, size: int) -> Pixels:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)


def load(
    folder: Path, split: str, domains: tuple[str, ...] = DOMAINS, size: int = SIZE
) -> Pictures:
    """Decode one split of some domains.

    Raises:
        FileNotFoundError: if a domain's Parquet file is not in ``folder``.
    """
    pixels: list[Pixels] = []
    ids, names, labels, captions = [], [], [], []
    for domain in domains:
        path = folder / f"{domain}-{split}.parquet"
        if not path.is_file():
            raise FileNotFoundError(f"the training corpus has no {path.name} in {folder}")
        for row in pq.read_table(path).to_pylist():
            pixels.append(_decode(row["image"], size))
            ids.append(f"{domain}/{row['id']}")
            names.append(domain)
            labels.append(row["label"])
            captions.append(row["caption"])
    return Pictures(np.stack(pixels), ids, names, labels, captions)


def style_of(picture_id: str, copy: int) -> tuple[str, np.random.Generator]:
    """Style and random stream of the ``copy``-th stylised version of a picture."""
    digest = hashlib.sha256(f"{picture_id}#{copy}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    names = list(STYLES)
    return names[int(rng.integers(len(names)))], rng


def _stylise_row(row: tuple[bytes, str, int]) -> Pixels:
    data, picture_id, copy = row
    style, rng = style_of(picture_id, copy)
    image = _decode(data, 2 * SIZE).astype(np.float32) / 255.0
    styled = stylize(image, style, rng)
    small = styled.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
    pixels: Pixels = np.round(small * 255.0).astype(np.uint8)
    return pixels


def stylised(folder: Path, split: str, copy: int, cache: Path, workers: int = 2) -> Pixels:
    """Stylised version number ``copy`` of every photo of a split, in :func:`load` order.

    Returns:
        [N, 64, 64, 3] uint8 over ``PHOTO_DOMAINS``; :func:`style_of` tells the styles.
    """
    path = cache / f"stylised-{split}-{copy}.npy"
    if not path.is_file():
        rows = [
            (row["image"], f"{domain}/{row['id']}", copy)
            for domain in PHOTO_DOMAINS
            for row in pq.read_table(folder / f"{domain}-{split}.parquet").to_pylist()
        ]
        log.info("drawing %d stylised %s photos (copy %d)", len(rows), split, copy)
        with ProcessPoolExecutor(workers) as pool:
            pixels = np.stack(list(pool.map(_stylise_row, rows, chunksize=64)))
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npy")
        np.save(partial, pixels)
        partial.rename(path)
    array: Pixels = np.load(path, allow_pickle=False)
    return array
