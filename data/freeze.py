"""Frozen sample sets: images at run resolution in one Parquet file, with a fingerprint.

A set is made once per (source, size, filter, limit) and kept in a cache folder. Every use checks
it: pixels against their hashes, hashes against the fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from benchmark.cache import VARIABLE
from benchmark.errors import DataError
from benchmark.run import decode_png, encode_png
from data.decode import BadImageError, Filter, Pixels, square
from data.sources import Source

log = logging.getLogger(__name__)

FORMAT = 1
OnBadImage = Literal["fail", "skip"]
_METADATA = b"stylebench"
_COLUMNS = ("image_id", "file", "width", "height", "file_sha256", "pixel_sha256")
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


@dataclass(frozen=True, eq=False)
class FrozenImage:
    """One image of a set.

    Attributes:
        image_id: unique in the set, file-name safe.
        file: what the user knows it by.
        width: of the decoded original, in pixels.
        height: of the decoded original, in pixels.
        file_sha256: of the original file's bytes.
        pixel_sha256: of ``pixels``.
        pixels: [S, S, 3] uint8 RGB.
    """

    image_id: str
    file: str
    width: int
    height: int
    file_sha256: str
    pixel_sha256: str
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class FrozenSet:
    """A frozen, ordered set of content images.

    Attributes:
        path: the Parquet file.
        fingerprint: SHA-256 over size, filter and the ordered ids and pixel hashes.
        size: side in pixels.
        resize_filter: resampling filter.
        images: in order.
        skipped: ``{"file", "reason"}`` of unusable images that were passed over.
    """

    path: Path
    fingerprint: str
    size: int
    resize_filter: str
    images: tuple[FrozenImage, ...]
    skipped: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class _Request:
    source: Source
    size: int
    resize_filter: Filter
    limit: int | None
    on_bad_image: OnBadImage

    def key(self) -> str:
        """Names the cache file; the bytes of the inputs are compared apart."""
        content = {
            "format": FORMAT,
            "source": self.source.name,
            "identity": self.source.identity(),
            "size": self.size,
            "filter": self.resize_filter,
            "limit": self.limit,
            "on_bad_image": self.on_bad_image,
        }
        return _sha256(_canonical(content))[:16]


def freeze(
    source: Source, *, size: int, resize_filter: Filter, limit: int | None,
    on_bad_image: OnBadImage, cache_dir: Path,
) -> FrozenSet:  # fmt: skip
    """Decode, crop, resize and store a source's images, or take the set that is already there.

    Of several processes that ask at once, one does the work and the others wait for it. A set
    whose original files have changed since is made anew.

    Args:
        source: where the images come from.
        size: side in pixels.
        resize_filter: resampling filter of the protocol.
        limit: the first so many usable images only.
        on_bad_image: ``fail`` at the first unusable image, or ``skip`` and record it.
        cache_dir: sets are kept in its folder ``datasets``.

    Raises:
        DataError: no usable image, an unusable one under ``fail``, a cache folder that cannot be
            written, or a stored set that was changed.
    """
    request = _Request(source, size, resize_filter, limit, on_bad_image)
    folder = cache_dir / "datasets"
    path = folder / f"{source.name}-{size}-{request.key()}.parquet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if path.is_file():
                found, inputs = _read(path)
                if _unchanged(source, inputs):
                    return found
                log.info("%s: the original images have changed; frozen anew", path)
            return _make(path, request)
    except OSError as error:
        raise DataError(
            f"the cache folder {folder} cannot be used: {error.strerror or error}. Free some "
            f"space, mend its permissions, or name another folder with the environment variable "
            f"{VARIABLE}."
        ) from error


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _fingerprint(images: tuple[FrozenImage, ...], size: int, resize_filter: str) -> str:
    ids = [[image.image_id, image.pixel_sha256] for image in images]
    return _sha256(_canonical({"size": size, "filter": resize_filter, "images": ids}))


def _make(path: Path, request: _Request) -> FrozenSet:
    source, size = request.source, request.size
    images: list[FrozenImage] = []
    skipped: list[dict[str, str]] = []
    inputs: dict[str, str | None] = {}
    for entry in source.entries():
        if request.limit is not None and len(images) == request.limit:
            break
        # file names that are not valid Unicode are kept in a form that can be stored
        file = entry.file.encode("utf-8", "backslashreplace").decode("utf-8")
        inputs[entry.id] = None
        try:
            data = source.read(entry)
            digest = inputs[entry.id] = _sha256(data)
            original = source.decode(entry, data)
        except BadImageError as bad:
            if request.on_bad_image == "fail":
                raise DataError(
                    f"the image {file} cannot be used: {bad}. Remove or mend it, or pass over "
                    f"such images with --on-bad-image skip."
                ) from bad
            log.warning("%s is skipped: %s", file, bad)
            skipped.append({"file": file, "reason": str(bad)})
            continue
        pixels = square(original, size, request.resize_filter)
        width, height = original.size
        pixel_sha256 = _sha256(pixels.tobytes())
        images.append(
            FrozenImage(entry.id, file, width, height, digest, pixel_sha256, pixels)
        )  # fmt: skip
    if not images:
        raise DataError(
            f"none of the {len(skipped)} images can be used; the first, {skipped[0]['file']}: "
            f"{skipped[0]['reason']}"
        )
    ordered = tuple(images)
    fingerprint = _fingerprint(ordered, size, request.resize_filter)
    frozen = FrozenSet(path, fingerprint, size, request.resize_filter, ordered, tuple(skipped))
    _write(frozen, inputs)
    return frozen


def _write(frozen: FrozenSet, inputs: dict[str, str | None]) -> None:
    rows = [
        {**{key: getattr(image, key) for key in _COLUMNS}, "png": encode_png(image.pixels)}
        for image in frozen.images
    ]
    facts = {
        "format": FORMAT,
        "fingerprint": frozen.fingerprint,
        "size": frozen.size,
        "resize_filter": frozen.resize_filter,
        "skipped": list(frozen.skipped),
        "inputs": inputs,
    }
    table = pa.Table.from_pylist(
        rows, schema=_SCHEMA.with_metadata({_METADATA: _canonical(facts)})
    )  # fmt: skip
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


def _read(path: Path) -> tuple[FrozenSet, dict[str, str | None]]:
    """A stored set, every hash checked, and the SHA-256 of the files it was made from."""
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[_METADATA])
        if facts["format"] != FORMAT:
            raise ValueError(f"its format is {facts['format']}, not {FORMAT}")
        images = tuple(
            FrozenImage(**{key: row[key] for key in _COLUMNS}, pixels=decode_png(row["png"]))
            for row in table.to_pylist()
        )
        size, resize_filter = facts["size"], facts["resize_filter"]
        frozen = FrozenSet(
            path, facts["fingerprint"], size, resize_filter, images, tuple(facts["skipped"])
        )  # fmt: skip
        inputs: dict[str, str | None] = facts["inputs"]
    except (pa.ArrowException, OSError, SyntaxError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, " ".join(str(error).split())[:200]) from error
    for image in images:
        if _sha256(image.pixels.tobytes()) != image.pixel_sha256:
            raise _damaged(path, f"the pixels of {image.image_id!r} are not those of its hash")
    if _fingerprint(images, size, resize_filter) != frozen.fingerprint:
        raise _damaged(path, "its images are not those of its fingerprint")
    return frozen, inputs


def _unchanged(source: Source, inputs: dict[str, str | None]) -> bool:
    """Whether the files a set was made from still have the bytes they had."""
    for entry in source.entries():
        if entry.id in inputs:
            try:
                found: str | None = _sha256(source.read(entry))
            except BadImageError:
                found = None
            if found != inputs[entry.id]:
                return False
    return True
