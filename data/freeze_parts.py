"""The finished images of a set that is not whole yet, in small files beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.decode import BadImageError
from data.frozen import COLUMNS, DAMAGE, FORMAT, METADATA, SCHEMA, canonical, fingerprint
from data.sources import Entry, Source

IMAGES_OF_A_PART = 64  # about 7 MB of PNGs at 256 x 256


@dataclass
class Part:
    """Images in the order of the source: usable ones as rows, the others with a reason."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    bad_inputs: dict[str, str | None] = field(default_factory=dict)

    def skip(self, image_id: str, digest: str | None, file: str, reason: str) -> None:
        """Pass over an image; ``digest`` is of its bytes, None if it has none."""
        self.skipped.append({"file": file, "reason": reason})
        self.bad_inputs[image_id] = digest

    @property
    def full(self) -> bool:
        return len(self.rows) + len(self.skipped) >= IMAGES_OF_A_PART


class Parts:
    """All parts of a set, and the set that they become.

    Args:
        path: of the set.
        size, resize_filter: of the set.
    """

    def __init__(self, path: Path, size: int, resize_filter: str) -> None:
        self._path = path
        self._size, self._filter = size, resize_filter
        self._folder = path.with_name(f".{path.stem}.parts")
        self._files: list[Path] = []
        self._images: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self.bad_inputs: dict[str, str | None] = {}

    @property
    def count(self) -> int:
        """Usable images so far."""
        return len(self._images)

    @property
    def ids(self) -> list[str]:
        """Of the usable images so far."""
        return [image["image_id"] for image in self._images]

    @property
    def inputs(self) -> dict[str, str | None]:
        """SHA-256 of the bytes of every image so far by its id."""
        usable = {image["image_id"]: image["file_sha256"] for image in self._images}
        return usable | self.bad_inputs

    def resume(self, source: Source, entries: Sequence[Entry]) -> None:
        """Take up the parts that an earlier process left, as far as they fit the source.

        A part that is damaged, or whose originals have changed, is dropped with all after it.
        """
        places = {entry.id: place for place, entry in enumerate(entries)}
        done = 0
        left = sorted(self._folder.glob("[0-9]*.parquet"))
        for index, file in enumerate(left):
            try:
                part = _read(file)
                inputs = {row["image_id"]: row["file_sha256"] for row in part.rows}
                inputs |= part.bad_inputs
                known = sorted(places[image_id] for image_id in inputs)
                whole = known == list(range(done, done + len(known)))
            except DAMAGE:
                whole = False
            if not whole or not (source.pinned or _same(source, entries, known, inputs)):
                for rest in left[index:]:
                    rest.unlink()
                return
            done += len(known)
            self._take(file, part)

    def _take(self, file: Path, part: Part) -> None:
        self._files.append(file)
        self._images += [{key: row[key] for key in COLUMNS} for row in part.rows]
        self.skipped += part.skipped
        self.bad_inputs |= part.bad_inputs

    def store(self, part: Part) -> None:
        """Keep finished images; they survive whatever happens next."""
        if not part.rows and not part.skipped:
            return
        self._folder.mkdir(exist_ok=True)
        file = self._folder / f"{len(self._files):06d}.parquet"
        facts = {"skipped": part.skipped, "bad_inputs": part.bad_inputs}
        table = pa.Table.from_pylist(
            part.rows, schema=SCHEMA.with_metadata({METADATA: canonical(facts)})
        )
        partial = file.with_name(f".{file.name}.part")
        try:
            # PNGs do not get smaller
            pq.write_table(table, partial, compression="none", use_dictionary=False)
            _sync(partial)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        self._take(file, part)

    def join(self, origin: dict[str, Any]) -> None:
        """Make the set of the parts, a row group of each, and remove them."""
        facts = {
            "format": FORMAT,
            "fingerprint": fingerprint(self._images, self._size, self._filter),
            "size": self._size,
            "resize_filter": self._filter,
            "skipped": self.skipped,
            "bad_inputs": self.bad_inputs,
            "origin": origin,
        }
        schema = SCHEMA.with_metadata({METADATA: canonical(facts)})
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            with pq.ParquetWriter(
                partial, schema, compression="none", use_dictionary=False
            ) as writer:
                for file in self._files:
                    rows = pq.read_table(file).replace_schema_metadata(schema.metadata)
                    if rows.num_rows:
                        writer.write_table(rows)
            _sync(partial)
            partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)
        for file in self._files:
            file.unlink()
        self._folder.rmdir()

    def forget_if_empty(self) -> None:
        """Leave no folder behind where nothing was finished."""
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()


def _read(file: Path) -> Part:
    table = pq.read_table(file)
    facts = json.loads((table.schema.metadata or {})[METADATA])
    rows = table.to_pylist()
    for row in rows:
        if sha256(row.pop("png")).hexdigest() != row["png_sha256"]:
            raise ValueError("a picture is not that of its hash")
    return Part(rows, facts["skipped"], facts["bad_inputs"])


def _same(
    source: Source, entries: Sequence[Entry], places: Sequence[int], inputs: dict[str, str | None]
) -> bool:
    """Whether the originals of a part still have the bytes they had."""
    with closing(source.stream([entries[place] for place in places])) as stream:
        for entry, data in stream:
            found = None if isinstance(data, BadImageError) else sha256(data).hexdigest()
            if found != inputs[entry.id]:
                return False
    return True


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
