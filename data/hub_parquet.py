"""Parquet on the hub: footers, then only the row groups and columns that are needed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.errors import DataError
from data.cards import HubLocation, Label
from data.hub_http import HubClient, RangeFile
from data.hub_layouts import Layout, Row, beyond, image_bytes, missing_column

_BUFFER = 4 << 20
_ROWS_AT_ONCE = 16


class ParquetLayout(Layout):
    """The Parquet files of a split.

    Args:
        client, commit: the repository.
        location: split, columns and label.
        paths: the split's files, in order.
        labels: class names of the label column where the repository's card gives them.
    """

    def __init__(
        self, client: HubClient, commit: str, location: HubLocation, paths: Sequence[str],
        labels: Sequence[str] | None,
    ) -> None:  # fmt: skip
        self._client, self._commit, self._location = client, commit, location
        self._paths, self._labels = paths, labels
        self._open_file: tuple[int, pq.ParquetFile] | None = None
        self._lengths: dict[int, int] = {}

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return self._client.sizes(self._commit, self._paths)

    def _file(self, index: int) -> pq.ParquetFile:
        """One file at a time stays open."""
        if self._open_file is not None and self._open_file[0] == index:
            return self._open_file[1]
        path = self._paths[index]
        if path not in self._sizes:
            raise DataError(f"{self._location.id}: the hub does not list {path}")
        source = RangeFile(self._client, self._commit, path, self._sizes[path])
        try:
            # buffered: a row group is read in pieces, never held whole
            found = pq.ParquetFile(
                pa.PythonFile(source, mode="r"), pre_buffer=False, buffer_size=_BUFFER
            )
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(path, error) from error
        self._open_file = (index, found)
        self._lengths[index] = found.metadata.num_rows
        return found

    def _damaged(self, path: str, error: Exception) -> DataError:
        reason = " ".join(str(error).split())[:160]
        return DataError(
            f"{self._location.id}: {path} is truncated or no Parquet file ({reason}). The file on "
            f"the hub is damaged: take another revision or a mirror."
        )

    def _length(self, index: int) -> int:
        if index not in self._lengths:
            self._file(index)
        return self._lengths[index]

    def fitting(self) -> Iterator[int]:
        label, start = self._location.label, 0
        for index in range(len(self._paths)):
            if label is None:
                self._leaf(self._file(index), self._location.image_column)
                yield from range(start, start + self._length(index))
            else:
                values = self._column(index, label.column, self._wanted(index, label))
                yield from (start + row for row, fits in enumerate(values) if fits)
            start += self._length(index)

    def _wanted(self, index: int, label: Label) -> Any:
        """The label as it stands in the column: a class number, or the value itself."""
        schema = self._file(index).schema_arrow
        self._leaf(self._file(index), label.column)
        names = self._labels or _class_names(schema, label.column)
        if names is None:
            return label.value
        if label.value not in names:
            raise DataError(
                f"{self._location.id}: the column {label.column!r} has no class {label.value!r}, "
                f"but {', '.join(names)}"
            )
        return names.index(label.value)

    def _column(self, index: int, column: str, wanted: Any) -> Iterator[bool]:
        for batch in self._batches(index, None, column):
            yield from (value == wanted for value in batch.column(0).to_pylist())

    def _batches(
        self, index: int, groups: list[int] | None, column: str, at_once: int = 4096
    ) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._file(index).iter_batches(
                at_once, row_groups=groups, columns=[column], use_threads=False
            )
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(self._paths[index], error) from error

    def _leaf(self, file: pq.ParquetFile, column: str) -> str:
        """The Parquet column that holds what is wanted of an Arrow column."""
        schema = file.schema_arrow
        if column not in schema.names:
            raise missing_column(self._location.id, column, schema.names)
        kind = schema.field(column).type
        if not pa.types.is_struct(kind):
            return column
        if kind.get_field_index("bytes") < 0:
            raise DataError(
                f"{self._location.id}: the column {column!r} holds no image bytes but {kind}"
            )
        return f"{column}.bytes"

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        start, place = 0, 0
        for index in range(len(self._paths)):
            if place == len(rows):
                return
            stop = start + self._length(index)
            inside = [row - start for row in rows[place : bisect_left(rows, stop)]]
            if inside:
                for row, data in self._read_file(index, inside):
                    yield start + row, data
            place, start = place + len(inside), stop
        if place < len(rows):
            raise beyond(self._location, rows[place], start)

    def _read_file(self, index: int, rows: Sequence[int]) -> Iterator[Row]:
        file = self._file(index)
        leaf = self._leaf(file, self._location.image_column)
        start = 0
        for group in range(file.metadata.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            wanted = set(rows[bisect_left(rows, start) : bisect_left(rows, stop)])
            last = max(wanted, default=-1)
            row = start
            for batch in self._batches(index, [group], leaf, _ROWS_AT_ONCE) if wanted else ():
                cells = batch.column(0)
                for cell in cells.field(0) if pa.types.is_struct(cells.type) else cells:
                    if row in wanted:
                        yield row, image_bytes(cell.as_py())
                    row += 1
                if row > last:
                    break
            start = stop


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    from datasets import Features

    names = getattr(Features.from_arrow_schema(schema)[column], "names", None)
    return None if names is None else list(names)
