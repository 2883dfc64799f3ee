"""Frozen sample sets: images at run resolution in one Parquet file, with a fingerprint.

A set is made once per (source, card, size, filter, limit) and kept in a cache folder. Every use
checks it: pixels against their hashes, hashes against the fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from benchmark.cache import VARIABLE, cache_root
from benchmark.errors import DataError
from data.card import DatasetCard
from data.pixels import BadImage, Filter, Pixels, decode_png, encode_png, square
from data.sources import Entry, Source

log = logging.getLogger(__name__)

FORMAT = 1
OnBadImage = Literal["fail", "skip"]
_METADATA = b"stylebench"
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("file", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("file_sha256", pa.string()),
        ("pixel_sha256", pa.string()),
        ("png", pa.binary()),
    ]
)


@dataclass(frozen=True)
class FrozenImage:
    """One image of a set.

    Attributes:
        image_id: unique in the set, file-name safe.
        file: what the user knows it by.
        width: of the decoded original, in pixels.
        height: of the decoded original, in pixels.
        file_sha256: of the original file's bytes.
        pixel_sha256: of the frozen [S, S, 3] uint8 pixels.
    """

    image_id: str
    file: str
    width: int
    height: int
    file_sha256: str
    pixel_sha256: str


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class FrozenSet:
    """A frozen, ordered set of source images.

    Attributes:
        path: the Parquet file.
        fingerprint: SHA-256 over card, size, filter and the ordered ids and pixel hashes.
        dataset: name of the card.
        card_version: its version.
        domain: what the images show, as a class of the denoiser.
        source: name of the source (``embedded``, ``folder``).
        stand_in: whether the images stand in for the dataset.
        note: the sentence that says so, or None.
        size: side in pixels.
        filter: resampling filter.
        images: in order.
        skipped: unusable images that were passed over.
    """

    path: Path
    fingerprint: str
    dataset: str
    card_version: int
    domain: str
    source: str
    stand_in: bool
    note: str | None
    size: int
    filter: str
    images: tuple[FrozenImage, ...]
    skipped: tuple[SkippedImage, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_ids(self) -> tuple[str, ...]:
        return tuple(image.image_id for image in self.images)

    def pixels(self) -> Pixels:
        """All images [N, S, S, 3] uint8, in order, checked against their hashes.

        Raises:
            DataError: the file is gone, truncated or changed.
        """
        return np.stack([decode_png(png) for png in self._checked_pngs()])

    def pngs(self) -> dict[str, bytes]:
        """Lossless PNG of every image by id, in order, checked.

        Raises:
            DataError: the file is gone, truncated or changed.
        """
        return dict(zip(self.image_ids, self._checked_pngs(), strict=True))

    def verify(self) -> None:
        """Check the file.

        Raises:
            DataError: the file is gone, truncated or changed.
        """
        self._checked_pngs()

    def _checked_pngs(self) -> list[bytes]:
        found, pngs = _read(self.path)
        if found.fingerprint != self.fingerprint:
            raise _damaged(self.path, "it now holds other images than when the run began")
        return pngs

    def describe(self) -> dict[str, Any]:
        """JSON-able facts for a run's manifest."""
        return {
            "name": self.dataset,
            "card_version": self.card_version,
            "domain": self.domain,
            "source": self.source,
            "stand_in": self.stand_in,
            "note": self.note,
            "fingerprint": self.fingerprint,
            "size": self.size,
            "filter": self.filter,
            "count": len(self.images),
            "enlarged": sum(min(i.width, i.height) < self.size for i in self.images),
            "images": [asdict(image) for image in self.images],
            "skipped": [asdict(image) for image in self.skipped],
        }


def freeze(
    source: Source, card: DatasetCard, size: int, filter_name: Filter = "lanczos",
    limit: int | None = None, cache_dir: Path | None = None, on_bad_image: OnBadImage = "fail",
) -> FrozenSet:  # fmt: skip
    """Decode, crop, resize and store a source's images, or take the set that is already there.

    Of several processes that ask at once, one does the work and the others wait for it.

    Args:
        source: where the images come from.
        card: the dataset they are run as.
        size: side in pixels.
        filter_name: resampling filter of the protocol.
        limit: the first so many usable images only.
        cache_dir: where sets are kept; default ``datasets`` in :func:`benchmark.cache.cache_root`.
        on_bad_image: ``fail`` at the first unusable image, or ``skip`` and record it.

    Raises:
        DataError: no usable image, an unusable one under ``fail``, a cache folder that cannot be
            written, or a stored set that was changed.
    """
    folder = cache_dir if cache_dir is not None else cache_root() / "datasets"
    request = {
        "format": FORMAT, "source": source.name, "identity": source.identity(), "dataset": card.name,
        "card_version": card.version, "domain": card.domain, "size": size, "filter": filter_name,
        "limit": limit, "on_bad_image": on_bad_image, "note": source.note,
    }  # fmt: skip
    key = hashlib.sha256(_canonical(request)).hexdigest()[:16]
    path = folder / f"{card.name}-{size}-{key}.parquet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        with lock:
            if path.is_file():
                found, _ = _read(path)
                if _inputs_unchanged(path, source):
                    return found
                log.info("%s: the source images have changed; frozen anew", path)
            return _make(path, source, card, size, filter_name, limit, on_bad_image)
    except OSError as error:
        raise DataError(
            f"the cache folder {folder} cannot be written: {error.strerror or error}. Free some "
            f"space, mend its permissions, or name another folder with the environment variable "
            f"{VARIABLE}."
        ) from error


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fingerprint_of(
    images: tuple[FrozenImage, ...], *, dataset: str, card_version: int, domain: str, size: int,
    filter_name: str,
) -> str:  # fmt: skip
    """SHA-256 of what decides the samples: card, size, filter, ordered ids and pixel hashes."""
    content = {
        "dataset": dataset, "card_version": card_version, "domain": domain, "size": size,
        "filter": filter_name,
        "images": [[image.image_id, image.pixel_sha256] for image in images],
    }  # fmt: skip
    return _sha256(_canonical(content))


def _make(
    path: Path, source: Source, card: DatasetCard, size: int, filter_name: Filter,
    limit: int | None, on_bad_image: OnBadImage,
) -> FrozenSet:  # fmt: skip
    images: list[FrozenImage] = []
    pngs: list[bytes] = []
    skipped: list[SkippedImage] = []
    inputs: list[tuple[str, str | None]] = []
    for entry in source.entries():
        if limit is not None and len(images) == limit:
            break
        digest: str | None = None
        try:
            data = source.read(entry)
            digest = _sha256(data)
            original = source.decode(entry, data)
        except BadImage as bad:
            if on_bad_image == "fail":
                raise DataError(
                    f"the image {entry.file} cannot be used: {bad}. Remove or mend it, or pass "
                    f"over such images with --on-bad-image skip."
                ) from bad
            log.warning("%s is skipped: %s", entry.file, bad)
            skipped.append(SkippedImage(_printable(entry.file), str(bad)))
        else:
            pixels = square(original, size, filter_name)
            images.append(
                FrozenImage(
                    entry.id,
                    _printable(entry.file),
                    original.width,
                    original.height,
                    digest,
                    _sha256(pixels.tobytes()),
                )  # fmt: skip
            )
            pngs.append(encode_png(pixels))
        inputs.append((entry.id, digest))
    if not images:
        raise DataError(
            f"none of the {len(skipped)} images of {card.name!r} can be used; the first, "
            f"{skipped[0].file}: {skipped[0].reason}"
        )
    frozen = FrozenSet(
        path=path,
        fingerprint=fingerprint_of(
            tuple(images), dataset=card.name, card_version=card.version, domain=card.domain,
            size=size, filter_name=filter_name,
        ),
        dataset=card.name,
        card_version=card.version,
        domain=card.domain,
        source=source.name,
        stand_in=source.stand_in,
        note=source.note,
        size=size,
        filter=filter_name,
        images=tuple(images),
        skipped=tuple(skipped),
    )  # fmt: skip
    _write(frozen, pngs, inputs)
    return frozen


def _printable(file: str) -> str:
    """File names that are not valid Unicode, in a form that can be stored."""
    return file.encode("utf-8", "backslashreplace").decode("utf-8")


def _write(
    frozen: FrozenSet, pngs: list[bytes], inputs: list[tuple[str, str | None]]
) -> None:  # fmt: skip
    rows = [{**asdict(image), "png": png} for image, png in zip(frozen.images, pngs, strict=True)]
    facts = {
        key: value
        for key, value in asdict(frozen).items()
        if key not in {"path", "images"}
    }  # fmt: skip
    metadata = {_METADATA: _canonical({**facts, "format": FORMAT, "inputs": inputs})}
    table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata(metadata))
    partial = frozen.path.with_name(f".{frozen.path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="none")  # PNGs do not get smaller
            file.flush()
            os.fsync(file.fileno())
        partial.replace(frozen.path)
    finally:
        partial.unlink(missing_ok=True)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"the frozen sample set {path} is damaged or was changed: {reason}. Delete this file; the "
        f"next run makes it anew."
    )


def _read(path: Path) -> tuple[FrozenSet, list[bytes]]:
    """A stored set and its PNGs; every hash is checked."""
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[_METADATA])
        rows = table.to_pylist()
        pngs = [row.pop("png") for row in rows]
        images = tuple(FrozenImage(**row) for row in rows)
        skipped = tuple(SkippedImage(**item) for item in facts.pop("skipped"))
        found_format, _ = facts.pop("format"), facts.pop("inputs")
        frozen = FrozenSet(path=path, images=images, skipped=skipped, **facts)
    except FileNotFoundError as error:
        raise DataError(
            f"the frozen sample set {path} is gone. Run the same command again to make it anew."
        ) from error
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, " ".join(str(error).split())[:200]) from error
    if found_format != FORMAT:
        raise _damaged(path, f"it is of format {found_format}, not {FORMAT}")
    for image, png in zip(images, pngs, strict=True):
        if _pixel_sha256(path, image, png) != image.pixel_sha256:
            raise _damaged(path, f"the pixels of {image.image_id!r} are not those of its hash")
    expected = fingerprint_of(
        images, dataset=frozen.dataset, card_version=frozen.card_version, domain=frozen.domain,
        size=frozen.size, filter_name=frozen.filter,
    )  # fmt: skip
    if expected != frozen.fingerprint:
        raise _damaged(path, "its images are not those of its fingerprint")
    return frozen, pngs


def _pixel_sha256(path: Path, image: FrozenImage, png: bytes) -> str:
    try:
        return _sha256(decode_png(png).tobytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(path, f"the image {image.image_id!r} cannot be decoded") from error


def _inputs_unchanged(path: Path, source: Source) -> bool:
    """Whether the files a set was made from still have the bytes they had."""
    metadata = pq.read_schema(path).metadata
    inputs: dict[str, str | None] = dict(json.loads(metadata[_METADATA])["inputs"])
    return all(
        digest == inputs[entry.id]
        for entry, digest in _digests(source, lambda entry: entry.id in inputs)
    )


def _digests(source: Source, wanted: Callable[[Entry], bool]) -> Iterator[tuple[Entry, str | None]]:
    for entry in source.entries():
        if wanted(entry):
            try:
                yield entry, _sha256(source.read(entry))
            except BadImage:
                yield entry, None
