"""The bytes of remote images as they came, kept so that they travel once.

A store is a folder of small Parquet files in which every entry stands once. A download that is cut
goes on after the last image that arrived; another resolution or limit needs no download at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from PIL import Image

from benchmark.errors import DataError
from data.decode import BadImageError
from data.sources import Entry, Source, Stream

_IMAGES_OF_A_PART = 64
_BYTES_OF_A_PART = 32 << 20
_SCHEMA = pa.schema(
    [("id", pa.string()), ("file", pa.string()), ("sha256", pa.string()), ("data", pa.binary())]
)


class KeptSource(Source):
    """A remote source whose entries and bytes are kept in a folder.

    Args:
        inner: where the bytes come from.
        folder: of the stores of all sources.
    """

    pinned = True

    def __init__(self, inner: Source, folder: Path) -> None:
        self._inner = inner
        digest = hashlib.sha256(_canonical(inner.identity())).hexdigest()[:16]
        self.folder = folder / f"{inner.name}-{digest}"

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._inner.name

    def identity(self) -> dict[str, Any]:
        return self._inner.identity()

    def describe(self) -> dict[str, Any]:
        return self._inner.describe()

    def origin(self, ids: Sequence[str]) -> dict[str, Any]:
        return self._inner.origin(ids)

    def decode(self, entry: Entry, data: bytes) -> Image.Image:
        return self._inner.decode(entry, data)

    def read(self, entry: Entry) -> bytes:
        [(_, data)] = self.stream([entry])
        if isinstance(data, BadImageError):
            raise data
        return data

    def entries(self) -> Sequence[Entry]:
        """Listed once; later from the store, with the facts that belong to the bytes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        index = self.folder / "index.json"
        with self._lock():
            if index.is_file():
                try:
                    listed = json.loads(index.read_bytes())
                    self._inner.restore(listed["origin"])
                    return [Entry(item["id"], item["file"]) for item in listed["entries"]]
                except (ValueError, KeyError, TypeError) as error:
                    raise self._damaged(index) from error
            entries = self._inner.entries()
            _write(index, lambda path: path.write_bytes(_canonical({
                "identity": self.identity(), "origin": self.origin([]),
                "entries": [{"id": entry.id, "file": entry.file} for entry in entries],
            })))  # fmt: skip
            return entries

    def stream(self, entries: Sequence[Entry]) -> Stream:
        with self._lock():
            kept = self._kept()
            fresh = self._fetch([entry for entry in entries if entry.id not in kept])
            part: tuple[Path | None, dict[str, bytes]] = (None, {})
            try:
                for entry in entries:
                    if entry.id not in kept:
                        yield next(fresh)
                        continue
                    if part[0] != kept[entry.id]:
                        part = (kept[entry.id], self._load(kept[entry.id]))
                    yield entry, part[1][entry.id]
            finally:
                fresh.close()

    def _lock(self) -> FileLock:
        return FileLock(self.folder / ".lock")

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.parquet"))

    def _kept(self) -> Mapping[str, Path]:
        found = {}
        for path in self._parts():
            try:
                for image_id in pq.read_table(path, columns=["id"])["id"].to_pylist():
                    found[image_id] = path
            except (pa.ArrowException, OSError, KeyError) as error:
                raise self._damaged(path) from error
        return found

    def _load(self, path: Path) -> dict[str, bytes]:
        try:
            rows = pq.read_table(path).to_pylist()
            found = {row["id"]: row["data"] for row in rows}
            intact = all(_sha256(row["data"]) == row["sha256"] for row in rows)
        except (pa.ArrowException, OSError, KeyError, TypeError) as error:
            raise self._damaged(path) from error
        if not intact:
            raise self._damaged(path)
        return found

    def _fetch(self, entries: Sequence[Entry]) -> Stream:
        """From the inner source; what has arrived is stored, however the caller ends."""
        held: list[dict[str, Any]] = []
        try:
            for entry, data in self._inner.stream(entries) if entries else ():
                if isinstance(data, bytes):
                    held.append({"id": entry.id, "file": entry.file, "sha256": _sha256(data),
                                 "data": data})  # fmt: skip
                yield entry, data
                size = sum(len(row["data"]) for row in held)
                if len(held) >= _IMAGES_OF_A_PART or size >= _BYTES_OF_A_PART:
                    self._store(held)
                    held = []
        finally:
            if held:
                self._store(held)

    def _store(self, rows: list[dict[str, Any]]) -> None:
        last = self._parts()[-1:]
        number = int(last[0].stem) + 1 if last else 0
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        _write(
            self.folder / f"{number:06d}.parquet",
            lambda path: pq.write_table(table, path, compression="none"),
        )

    def _damaged(self, path: Path) -> DataError:
        return DataError(
            f"{path}, where downloaded images are kept, is damaged or was changed. Delete this "
            f"file; the next run fetches what was in it again."
        )


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """All of a file or nothing, also after a power cut."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
