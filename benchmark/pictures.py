"""Pictures of a run in one Parquet file: written as they come, read one row group at a time."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmark.errors import RunDirectoryError

Pixels = npt.NDArray[np.uint8]
GROUP = 64  # pictures of a row group
_GROUPS_HELD = 2  # pictures are asked for in about the order in which they are stored


def encode_png(pixels: Pixels) -> bytes:
    """Lossless PNG of [H, W, 3] uint8 RGB; equal pixels give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def decode_png(data: bytes) -> Pixels:
    """[H, W, 3] uint8 RGB of a PNG written by :func:`encode_png`."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def write_pictures(path: Path, key: str, images: Mapping[str, Pixels]) -> None:
    """Store pictures by id, in order; at most one row group of them is in memory.

    Args:
        path: appears by renaming, once it is whole.
        key: name of the column of ids.
        images: [H, W, 3] uint8 by id; each is asked for once.
    """
    schema = pa.schema([(key, pa.string()), ("png", pa.binary())])
    partial = path.with_name(f".{path.stem}.part")
    # pictures do not repeat: a dictionary would have to be held whole by whoever reads them
    with pq.ParquetWriter(partial, schema, use_dictionary=False) as writer:
        ids = list(images)
        for start in range(0, len(ids), GROUP):
            group = ids[start : start + GROUP]
            pngs = [encode_png(images[image_id]) for image_id in group]
            writer.write_table(pa.Table.from_pydict({key: group, "png": pngs}, schema=schema))
    partial.replace(path)


class StoredPictures(Mapping[str, Pixels]):
    """The pictures of a file by id; the row groups asked for last are in memory.

    Args:
        path: what :func:`write_pictures` wrote, with row groups of any size.
        key: name of the column of ids.

    Raises:
        RunDirectoryError: the file is not there, or cannot be read.
    """

    def __init__(self, path: Path, key: str) -> None:
        if not path.is_file():
            raise RunDirectoryError(f"{path.parent} has no {path.name}; run it again")
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                groups = range(file.num_row_groups)
                sizes = [file.metadata.row_group(group).num_rows for group in groups]
                ids = file.read(columns=[key])[key].to_pylist()
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._damaged(error) from error
        self._starts = [0, *accumulate(sizes)][:-1]
        self._rows = {image_id: row for row, image_id in enumerate(ids)}
        self._held: OrderedDict[int, list[bytes]] = OrderedDict()

    def __getitem__(self, image_id: str) -> Pixels:
        row = self._rows[image_id]
        group = bisect_right(self._starts, row) - 1
        if group not in self._held:
            self._held[group] = self._read(group)
        self._held.move_to_end(group)
        while len(self._held) > _GROUPS_HELD:
            self._held.popitem(last=False)
        return decode_png(self._held[group][row - self._starts[group]])

    def _read(self, group: int) -> list[bytes]:
        try:
            with pq.ParquetFile(self._path) as file:
                found: list[bytes] = file.read_row_group(group, columns=["png"])["png"].to_pylist()
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._damaged(error) from error
        return found

    def _damaged(self, error: Exception) -> RunDirectoryError:
        reason = " ".join(str(error).split())[:200]
        return RunDirectoryError(f"{self._path} cannot be read ({reason}); run it again")

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
