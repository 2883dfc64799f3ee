"""Images in Parquet files, as Hugging Face lays them out: bytes, or bytes and path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.errors import DataError
from data.archives.members import MAX_MEMBERS, head, named_entries, shown, why_not
from data.archives.shards import shard_files
from data.decode import BadImageError
from data.sources import MAX_BYTES, Entry, Source, Stream

SUFFIXES = (".parquet",)
_BUFFER = 4 << 20
# pyarrow raises all of these on damaged files
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError)


class _Place(NamedTuple):
    file: int
    group: int
    row: int  # in the group


class ParquetSource(Source):
    """The rows of Parquet files, in their order.

    Names come from ``path`` in the image column; a row without one has its number. Bytes are read
    page by page, so that memory depends on the pages that the file's writer made.

    Args:
        path: a file, or a folder of shards.
        column: of the images; default: ``image``, or the only one that can hold images.
        shards: take files whose names begin so only, for example ``train``.
    """

    name = "parquet"

    def __init__(self, path: Path, column: str | None = None, shards: str = "") -> None:
        self.path, self.shards = path, shards
        self._wanted = column

    @cached_property
    def _files(self) -> list[Path]:
        return shard_files(self.path, SUFFIXES, self.shards)

    @cached_property
    def _column(self) -> str:
        with _open(self._files[0]) as file:
            return _image_column(self._files[0], file.schema_arrow, self._wanted)

    @cached_property
    def _rows(self) -> dict[str, tuple[Entry, _Place]]:
        names: list[str | None] = []
        places: list[_Place] = []
        numbered: list[str] = []
        for index, path in enumerate(self._files):
            with _open(path) as file:
                groups = range(file.num_row_groups)
                rows = [file.metadata.row_group(group).num_rows for group in groups]
                if min(rows, default=0) < 0 or len(places) + sum(rows) > MAX_MEMBERS:
                    raise ValueError(f"it claims {sum(rows):,} rows")
                found = _names(path, file, self._column, sum(rows))
                if len(found) != sum(rows):
                    raise ValueError(f"{sum(rows)} rows have {len(found)} names")
                names += found
                numbered += [f"{path.name} row {row}" for row in range(sum(rows))]
                for group, count in enumerate(rows):
                    places += [_Place(index, group, row) for row in range(count)]
        if not places:
            raise DataError(f"{self.path} has no rows")
        counts = Counter(names)
        unique = [
            (name if counts[name] == 1 else f"{row}/{name}") if name else f"row-{row:06d}"
            for row, name in enumerate(names)
        ]
        files = [name or number for name, number in zip(names, numbered, strict=True)]
        entries = named_entries(unique, files)
        return {entry.id: (entry, place) for entry, place in zip(entries, places, strict=True)}

    def identity(self) -> dict[str, Any]:
        files = [[path.name, path.stat().st_size] for path in self._files]
        return {"files": files, "column": self._column, "rows": len(self._rows)}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "archive": str(self.path), **self.identity()}

    def entries(self) -> Sequence[Entry]:
        return [entry for entry, _ in self._rows.values()]

    def read(self, entry: Entry) -> bytes:
        [(_, data)] = self.stream([entry])
        if isinstance(data, BadImageError):
            raise data
        return data

    def stream(self, entries: Sequence[Entry]) -> Stream:
        for index, of_file in groupby(entries, key=lambda entry: self._place(entry).file):
            with _open(self._files[index]) as file:
                for group, found in groupby(of_file, key=lambda entry: self._place(entry).group):
                    yield from self._read_group(file, group, list(found))

    def _place(self, entry: Entry) -> _Place:
        return self._rows[entry.id][1]

    def _read_group(self, file: pq.ParquetFile, group: int, entries: Sequence[Entry]) -> Stream:
        left = list(entries)
        reason = "its row is missing"
        try:
            for row, cell in enumerate(_cells(file, group, self._column)):
                if row == self._place(left[0]).row:
                    yield left.pop(0), _image_bytes(cell)
                if not left:
                    return
        except BadImageError as bad:
            reason = str(bad)
        except _DAMAGE as error:
            reason = f"its row group cannot be read ({_short(error)})"
        for entry in left:
            yield entry, BadImageError(reason)


def _cells(file: pq.ParquetFile, group: int, column: str) -> Iterator[Any]:
    """The bytes of every row of a row group.

    Raises:
        BadImageError: the group claims so many bytes that one of its rows must be over the bound.
    """
    leaf = _leaf(file.schema_arrow, column, "bytes")
    facts = file.metadata.row_group(group)
    columns = [facts.column(index) for index in range(facts.num_columns)]
    claimed = sum(
        found.total_uncompressed_size for found in columns if found.path_in_schema == leaf
    )
    if claimed > facts.num_rows * MAX_BYTES:
        raise BadImageError(
            f"the images of its {facts.num_rows} rows claim to have {claimed:,} bytes"
        )
    # one row at a time: a dictionary page may make each of many rows as large as the largest
    for batch in file.iter_batches(1, row_groups=[group], columns=[leaf], use_threads=False):
        cells = batch.column(0)
        yield from cells.field(0) if pa.types.is_struct(cells.type) else cells


def _image_bytes(cell: Any) -> bytes | BadImageError:
    if not cell.is_valid:
        return BadImageError("its row holds no image bytes")
    size = cell.as_buffer().size
    if size > MAX_BYTES:
        return BadImageError(f"it has {size:,} bytes, more than the {MAX_BYTES:,} allowed")
    data: bytes = cell.as_py()
    return data


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    """An open file; what goes wrong while it is listed is told of the file."""
    try:
        # buffered: a row group is read in pieces, never held whole
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            yield file
    except _DAMAGE as error:
        if head(path)[:4] != b"PAR1":
            raise DataError(f"{path} is no Parquet file: {why_not(path)}") from error
        raise DataError(
            f"{path} is truncated or damaged ({_short(error)}). Download it again."
        ) from error


def _names(path: Path, file: pq.ParquetFile, column: str, rows: int) -> list[str | None]:
    """The file name that every row gives its image, where it does."""
    _image_column(path, file.schema_arrow, column)
    leaf = _leaf(file.schema_arrow, column, "path")
    if leaf == column:
        return [None] * rows
    names: list[str | None] = []
    for batch in file.iter_batches(4096, columns=[leaf], use_threads=False):
        names += batch.column(0).field(0).to_pylist()
    return names


def _leaf(schema: pa.Schema, column: str, child: str) -> str:
    """The Parquet column of a part of an image column; the column itself if it has no parts."""
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index(child) >= 0:
        return f"{column}.{child}"
    return column


def _image_column(path: Path, schema: pa.Schema, wanted: str | None) -> str:
    known = ", ".join(f"{shown(field.name)} ({field.type})" for field in schema)
    able = [field.name for field in schema if _holds_bytes(field.type)]
    if wanted is None:
        if "image" in able or len(able) == 1:
            return "image" if "image" in able else able[0]
        found = "several columns" if able else "no column"
        raise DataError(
            f"{path} has {found} that can hold images; its columns are {known}. Name one with "
            f"--images-within COLUMN (for a folder of shards: --images-within :COLUMN)."
        )
    if wanted not in schema.names:
        raise DataError(f"{path} has no column {wanted!r}; its columns are {known}")
    if wanted not in able:
        raise DataError(
            f"{path}: the column {wanted!r} holds no bytes of images; its columns are {known}"
        )
    return wanted


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _short(error: Exception) -> str:
    return shown(" ".join(str(error).split())[:160])
