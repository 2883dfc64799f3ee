"""The weights folder as a place to write to: one writer per file, enough room, clear refusals."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout
from requests import RequestException
from rich.filesize import decimal
from safetensors import SafetensorError, safe_open

from benchmark.cache import VARIABLE
from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.checkpoint_file import require_checkpoint
from benchmark.zoo.weights_lock import record, recorded

if TYPE_CHECKING:
    from benchmark.zoo.download import Watcher
    from benchmark.zoo.registry import ModelCard


@dataclass(frozen=True)
class Obtained:
    """A checkpoint that is in its place.

    Attributes:
        status: ``present`` if it was there before.
        source: the address or file it came from, None if it was there before.
        recorded_now: its hash was not known and has been written to the lock file.
    """

    id: str
    status: Literal["fetched", "added", "present"]
    path: Path
    sha256: str
    bytes: int
    source: str | None = None
    recorded_now: bool = False


def obtained(
    card: ModelCard, path: Path, status: Literal["fetched", "added", "present"], digest: str,
    source: str | None = None,
) -> Obtained:  # fmt: skip
    """The outcome; a hash that nobody publishes is recorded unless it is in the lock file."""
    folder, size = path.parent, path.stat().st_size
    known = recorded(card, folder)
    new = source is not None and card.sha256 is None and (known is None or known.sha256 != digest)
    if new:
        record(card, folder, digest, size, str(source))
    return Obtained(card.id, status, path, digest, size, source, new)


def require_obtainable(card: ModelCard) -> None:
    """Refuse a model that is part of the package (UsageError)."""
    if card.ships:
        raise UsageError(f"the model {card.id!r} ships with the package: there is nothing to do")


def set_aside(file: Path, path: Path) -> str:
    """Keep a wrong file beside ``path`` as ``<name>.bad``; a sentence that says so."""
    bad = path.with_name(f"{path.name}.bad")
    file.replace(bad)
    return f"It is kept as {bad}"


@contextmanager
def held(card: ModelCard, folder: Path, watcher: Watcher) -> Iterator[None]:
    """Keep other processes from writing the same file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{card.file}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            watcher.tell(f"another process is fetching {card.file}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise WeightsError(
            f"{folder} cannot be written: {error.strerror}. Choose another folder with "
            f"--weights-dir, or set ${VARIABLE}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def require_whole(path: Path) -> None:
    """See that a file has its end, where no hash says so."""
    kind = require_checkpoint(path)
    if kind == "zip" and not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is truncated: its archive has no end")
    if kind == "safetensors":
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is truncated or damaged ({error})") from error


def require_room(folder: Path, name: str, needed: int) -> None:
    """Make sure that a folder has space for what is still to come.

    Args:
        folder: exists.
        name: of the file, for the message.
        needed: bytes.

    Raises:
        WeightsError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WeightsError(
            f"{folder} has {decimal(free)} of free space, but {name} needs {decimal(needed)}: make "
            f"room, or choose another folder with --weights-dir"
        )


@contextmanager
def writing(part: Path) -> Iterator[None]:
    """Turn errors of the disk while ``part`` is written into ones that say what to do."""
    try:
        yield
    except RequestException:  # is an OSError too, but not the disk's
        raise
    except OSError as error:
        raise WeightsError(
            f"{part} cannot be written: {error.strerror}. What was fetched so far stays there; "
            f"make room and run the command again, or choose another folder with --weights-dir"
        ) from error
