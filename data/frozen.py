"""A frozen sample set on disk: one Parquet file, checked at every use, pixels read on demand."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.errors import DataError
from benchmark.pictures import decode_png
from data.decode import Pixels

FORMAT = 2
METADATA = b"stylebench"
COLUMNS = ("image_id", "file", "width", "height", "file_sha256", "pixel_sha256")
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("file", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("file_sha256", pa.string()),
        ("pixel_sha256", pa.string()),
        ("png_sha256", pa.string()),
        ("png", pa.binary()),
    ]
)
_GROUPS_HELD = 2
# Pillow and pyarrow raise all of these on damaged files
DAMAGE = (pa.ArrowException, OSError, SyntaxError, KeyError, TypeError, ValueError, IndexError)


class Pictures:
    """The PNGs of a set, by row; the last few row groups that were asked for are held.

    Args:
        path: the set.
        groups: rows of each row group.
    """

    def __init__(self, path: Path, groups: Sequence[int]) -> None:
        self._path = path
        self._starts = [sum(groups[:index]) for index in range(len(groups))]
        self._held: OrderedDict[int, list[bytes]] = OrderedDict()

    def pixels(self, row: int, sha256: str) -> Pixels:
        """[S, S, 3] uint8.

        Raises:
            DataError: the file was changed since it was opened, or is damaged.
        """
        try:
            found = decode_png(self._png(row))
        except DAMAGE as error:
            raise damaged(self._path, reason(error)) from error
        if hashlib.sha256(found.tobytes()).hexdigest() != sha256:
            raise damaged(self._path, f"the pixels of row {row} are not those of their hash")
        return found

    def _png(self, row: int) -> bytes:
        group = bisect_right(self._starts, row) - 1
        if group not in self._held:
            with pq.ParquetFile(self._path) as file:
                table = file.read_row_group(group, columns=["png"])
            self._held[group] = table["png"].to_pylist()
        self._held.move_to_end(group)
        while len(self._held) > _GROUPS_HELD:
            self._held.popitem(last=False)
        return self._held[group][row - self._starts[group]]


@dataclass(frozen=True, eq=False, slots=True)
class FrozenImage:
    """One image of a set.

    Attributes:
        image_id: unique in the set, file-name safe.
        file: what the user knows it by.
        width: of the decoded original, in pixels.
        height: of the decoded original, in pixels.
        file_sha256: of the original file's bytes.
        pixel_sha256: of ``pixels``.
    """

    image_id: str
    file: str
    width: int
    height: int
    file_sha256: str
    pixel_sha256: str
    _pictures: Pictures = field(repr=False)
    _row: int = field(repr=False)

    @property
    def pixels(self) -> Pixels:
        """[S, S, 3] uint8 RGB, read from the set and compared with its hash each time."""
        return self._pictures.pixels(self._row, self.pixel_sha256)


class PixelsById(Mapping[str, Pixels]):
    """The pixels of a set by image id, in order; none is held."""

    def __init__(self, images: Sequence[FrozenImage]) -> None:
        self._images = {image.image_id: image for image in images}

    def __getitem__(self, image_id: str) -> Pixels:
        return self._images[image_id].pixels

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


@dataclass(frozen=True, eq=False)
class FrozenSet:
    """A frozen, ordered set of content images.

    Attributes:
        path: the Parquet file.
        fingerprint: SHA-256 over size, filter and the ordered ids and pixel hashes.
        size: side in pixels.
        resize_filter: resampling filter.
        images: in order; their pixels are read on demand.
        skipped: ``{"file", "reason"}`` of unusable images that were passed over.
        origin: facts of the source that belong to the bytes (see ``Source.origin``).
    """

    path: Path
    fingerprint: str
    size: int
    resize_filter: str
    images: tuple[FrozenImage, ...]
    skipped: tuple[dict[str, str], ...]
    origin: dict[str, Any]

    @property
    def pixels(self) -> Mapping[str, Pixels]:
        """[S, S, 3] uint8 by image id, in order."""
        return PixelsById(self.images)


def fingerprint(images: Sequence[Mapping[str, Any]], size: int, resize_filter: str) -> str:
    """Of a set, from ``image_id`` and ``pixel_sha256`` of its images."""
    ids = [[image["image_id"], image["pixel_sha256"]] for image in images]
    content = {"size": size, "filter": resize_filter, "images": ids}
    return hashlib.sha256(canonical(content)).hexdigest()


def read_set(path: Path) -> tuple[FrozenSet, dict[str, str | None]]:
    """A stored set, every hash checked, and the SHA-256 of the files it was made from by id.

    Row groups are read one after another, so that memory does not grow with the set.

    Raises:
        DataError: it is damaged or was changed.
    """
    rows: list[dict[str, Any]] = []
    try:
        with pq.ParquetFile(path) as file:
            facts = json.loads((file.schema_arrow.metadata or {})[METADATA])
            if facts["format"] != FORMAT:
                raise ValueError(f"its format is {facts['format']}, not {FORMAT}")
            groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            for group in range(len(groups)):
                for row in file.read_row_group(group).to_pylist():
                    if hashlib.sha256(row.pop("png")).hexdigest() != row.pop("png_sha256"):
                        raise ValueError(f"the picture {row['image_id']!r} is not that of its hash")
                    rows.append({key: row[key] for key in COLUMNS})
        size, resize_filter = facts["size"], facts["resize_filter"]
        if fingerprint(rows, size, resize_filter) != facts["fingerprint"]:
            raise ValueError("its images are not those of its fingerprint")
        pictures = Pictures(path, groups)
        found = FrozenSet(
            path, facts["fingerprint"], size, resize_filter,
            tuple(FrozenImage(**row, _pictures=pictures, _row=i) for i, row in enumerate(rows)),
            tuple(facts["skipped"]), facts["origin"],
        )  # fmt: skip
        inputs: dict[str, str | None] = facts["bad_inputs"]
        return found, inputs | {image.image_id: image.file_sha256 for image in found.images}
    except DAMAGE as error:
        raise damaged(path, reason(error)) from error


def canonical(value: Any) -> bytes:
    """Sorted keys, no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def reason(error: Exception) -> str:
    """An exception's text in one short line."""
    return " ".join(str(error).split())[:200]


def damaged(path: Path, why: str) -> DataError:
    """A stored set that must not be used."""
    return DataError(
        f"the frozen sample set {path} is damaged or was changed: {why}. Delete this file; the "
        f"next run makes it anew."
    )
