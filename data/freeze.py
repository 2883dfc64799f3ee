"""Freezing: images at run resolution in one Parquet file, with a fingerprint.

A set is made once per (source, size, filter, limit) and kept in a cache folder. Every use checks
it (see ``data.frozen``). Finished images are kept in parts beside the set until it is whole, so
that freezing goes on where it was cut, and memory does not grow with the set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from benchmark.cache import VARIABLE
from benchmark.errors import DataError
from benchmark.pictures import encode_png
from data.decode import BadImageError, Filter, square
from data.freeze_parts import Part, Parts
from data.frozen import FORMAT, FrozenImage, FrozenSet, canonical, read_set
from data.originals import KeptSource
from data.sources import Entry, Source

__all__ = ["FrozenImage", "FrozenSet", "OnBadImage", "freeze"]

log = logging.getLogger(__name__)

OnBadImage = Literal["fail", "skip"]
_SHOWN_FROM = 200  # images; fewer local ones are done before a bar is read


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
        return sha256(canonical(content)).hexdigest()[:16]


def freeze(
    source: Source, *, size: int, resize_filter: Filter, limit: int | None,
    on_bad_image: OnBadImage, cache_dir: Path,
) -> FrozenSet:  # fmt: skip
    """Decode, crop, resize and store a source's images, or take the set that is already there.

    Of several processes that ask at once, one does the work and the others wait for it. A set
    whose original files have changed since is made anew. The bytes of remote images are kept as
    well, in the folder ``originals``.

    Args:
        source: where the images come from.
        size: side in pixels.
        resize_filter: resampling filter of the protocol.
        limit: the first so many usable images only.
        on_bad_image: ``fail`` at the first unusable image, or ``skip`` and record it.
        cache_dir: sets are kept in its folder ``datasets``.

    Raises:
        DataError: no usable image, an unusable one under ``fail``, a source that cannot be
            reached, a cache folder that cannot be written, or a stored set that was changed.
    """
    if source.remote:
        source = KeptSource(source, cache_dir / "originals")
    request = _Request(source, size, resize_filter, limit, on_bad_image)
    folder = cache_dir / "datasets"
    path = folder / f"{source.name}-{size}-{request.key()}.parquet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if path.is_file():
                found, inputs = read_set(path)
                if source.pinned or _unchanged(source, inputs):
                    return found
                log.info("%s: the original images have changed; frozen anew", path)
            _make(path, request)
            return read_set(path)[0]
    except OSError as error:
        raise DataError(
            f"the cache folder {folder} cannot be used: {error.strerror or error}. Free some "
            f"space, mend its permissions, or name another folder with the environment variable "
            f"{VARIABLE}."
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process freezes %s; waiting for it", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(path: Path, request: _Request) -> None:
    source = request.source
    entries = source.entries()
    parts = Parts(path, request.size, request.resize_filter)
    parts.resume(source, entries)
    wanted = len(entries) if request.limit is None else min(request.limit, len(entries))
    open_entries = [entry for entry in entries if entry.id not in parts.inputs]
    if parts.count:
        log.info("%s: goes on after %d finished images", path.name, parts.count)
    try:
        with _progress(source, wanted, parts) as advance:
            part = Part()
            with closing(source.stream(open_entries)) as stream:
                while parts.count + len(part.rows) < wanted:
                    found = next(stream, None)
                    if found is None:
                        break
                    _add(part, request, *found)
                    advance()
                    if part.full:
                        parts.store(part)
                        part = Part()
            parts.store(part)
    finally:
        parts.forget_if_empty()
    if not parts.count:
        first = parts.skipped[0]
        raise DataError(
            f"none of the {len(parts.skipped)} images can be used; the first, {first['file']}: "
            f"{first['reason']}"
        )
    parts.join(source.origin(parts.ids))


def _add(part: Part, request: _Request, entry: Entry, data: bytes | BadImageError) -> None:
    # file names that are not valid Unicode are kept in a form that can be stored
    file = entry.file.encode("utf-8", "backslashreplace").decode("utf-8")
    digest = None
    try:
        if isinstance(data, BadImageError):
            raise data
        digest = sha256(data).hexdigest()
        original = request.source.decode(entry, data)
    except BadImageError as bad:
        if request.on_bad_image == "fail":
            mend = (
                "Pass" if isinstance(request.source, KeptSource) else "Remove or mend it, or pass"
            )
            raise DataError(
                f"the image {file} cannot be used: {bad}. {mend} over such images with "
                f"--on-bad-image skip."
            ) from bad
        log.warning("%s is skipped: %s", file, bad)
        part.skip(entry.id, digest, file, str(bad))
        return
    pixels = square(original, request.size, request.resize_filter)
    png = encode_png(pixels)
    part.rows.append(
        {
            "image_id": entry.id, "file": file, "width": original.width,
            "height": original.height, "file_sha256": digest,
            "pixel_sha256": sha256(pixels.tobytes()).hexdigest(),
            "png_sha256": sha256(png).hexdigest(), "png": png,
        }
    )  # fmt: skip


@contextmanager
def _progress(source: Source, total: int, parts: Parts) -> Iterator[Callable[[], None]]:
    """A bar on stderr, where there is something to wait for."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("images"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not isinstance(source, KeptSource) and total < _SHOWN_FROM,
    ) as bar:  # fmt: skip
        task = bar.add_task(f"freezing {source.name}", total=total, completed=parts.count)
        yield lambda: bar.advance(task)


def _unchanged(source: Source, inputs: dict[str, str | None]) -> bool:
    """Whether the files a set was made from still have the bytes they had."""
    known = [entry for entry in source.entries() if entry.id in inputs]
    with closing(source.stream(known)) as stream:
        for entry, data in stream:
            found = None if isinstance(data, BadImageError) else sha256(data).hexdigest()
            if found != inputs[entry.id]:
                return False
    return True
