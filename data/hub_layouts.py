"""How the rows of a split lie in a repository: one file per image, or a plain stream.

``datasets`` finds the files of a split. Parquet (``data.hub_parquet``) is read by row groups and
columns, and image files one by one, so that only wanted rows travel and a download goes on where it
stopped; every other format is streamed by ``datasets`` from its first row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import PurePosixPath
from typing import Any

from benchmark.errors import DataError
from data.cards import HubLocation
from data.decode import BadImageError
from data.hub_http import HubClient
from data.sources import FolderSource

Row = tuple[int, bytes | BadImageError]


class Layout(ABC):
    """The rows of a split, numbered from 0."""

    @abstractmethod
    def fitting(self) -> Iterator[int]:
        """Row numbers that have the card's label, found as far as the iterator is drawn."""

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        """Image bytes of rows, which rise."""


class FilesLayout(Layout):
    """One file per image; the label is the folder that the file is in.

    Args:
        client, commit: the repository.
        location: split and label.
        paths: the split's image files, in order.
    """

    def __init__(
        self, client: HubClient, commit: str, location: HubLocation, paths: Sequence[str]
    ) -> None:
        self._client, self._commit, self._location = client, commit, location
        self._paths = [
            path for path in paths if PurePosixPath(path).suffix.lower() in FolderSource.suffixes
        ]

    def fitting(self) -> Iterator[int]:
        label = self._location.label
        for row, path in enumerate(self._paths):
            if label is None or PurePosixPath(path).parent.name == label.value:
                yield row

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        for row in rows:
            if row >= len(self._paths):
                raise beyond(self._location, row, len(self._paths))
            yield row, self._client.read(self._commit, self._paths[row])


class StreamLayout(Layout):
    """What only ``datasets`` can read: rows come from the first one on.

    Args:
        location: columns and label.
        builder: a ``datasets`` builder at the pinned commit.
    """

    def __init__(self, location: HubLocation, builder: Any) -> None:
        self._location, self._builder = location, builder

    def _stream(self) -> Iterator[dict[str, Any]]:
        try:
            stream = self._builder.as_streaming_dataset(split=self._location.split)
            yield from stream.decode(False)
        except Exception as error:  # whatever the library raises after tries of its own
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{self._location.id}: the stream of `datasets` ended ({type(error).__name__}: "
                f"{reason}). Run the same command again later: what has arrived is kept."
            ) from error

    def fitting(self) -> Iterator[int]:
        label = self._location.label
        if label is None:
            yield from count()
            return
        features = self._builder.info.features or {}
        names = getattr(features.get(label.column), "names", None)
        wanted = names.index(label.value) if names and label.value in names else label.value
        for number, row in enumerate(self._stream()):
            if label.column not in row:
                raise missing_column(self._location.id, label.column, row)
            if row[label.column] == wanted:
                yield number

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        wanted, column, number = set(rows), self._location.image_column, -1
        for number, row in enumerate(self._stream()):
            if column not in row:
                raise missing_column(self._location.id, column, row)
            if number in wanted:
                cell = row[column]
                yield number, image_bytes(cell["bytes"] if isinstance(cell, dict) else cell)
                wanted.remove(number)
            if not wanted:
                return
        raise beyond(self._location, min(wanted), number + 1)


def missing_column(name: str, column: str, known: Any) -> DataError:
    """A column that is not there, with those that are."""
    return DataError(
        f"{name} has no column {column!r}; its columns are {', '.join(known)}. Its layout has "
        f"changed: pin the revision that the card was written for, or correct the card."
    )


def beyond(location: HubLocation, row: int, length: int) -> DataError:
    """A row of the sample list that the split does not have."""
    return DataError(
        f"{location.id}: the split {location.split!r} has {length} rows, and the sample list wants "
        f"row {row}"
    )


def image_bytes(value: Any) -> bytes | BadImageError:
    """A cell's bytes, or why it has none."""
    return value if isinstance(value, bytes) else BadImageError("its row holds no image bytes")
