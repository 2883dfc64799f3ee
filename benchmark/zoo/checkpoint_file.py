"""What a checkpoint file is, by its bytes: its type, its hash, and whether it is the one meant."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cache import cache_root
from benchmark.errors import WeightsError
from benchmark.zoo.weights_lock import LOCK_FILE, known_bytes, recorded

if TYPE_CHECKING:
    from benchmark.zoo.registry import ModelCard

HEAD = 512  # bytes that tell the type
FETCH_AGAIN = "Delete the file and fetch it again."
_LARGEST_HEADER = 100_000_000  # of the safetensors format, in bytes


def default_weights_dir() -> Path:
    """Folder of checkpoints that do not ship, unless ``--weights-dir`` names another."""
    return cache_root() / "weights"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_type(head: bytes) -> str:
    """``safetensors``, ``zip``, ``pickle``, ``html``, ``lfs`` or ``unknown``.

    Args:
        head: the first :data:`HEAD` bytes of a file, or all of a shorter one.
    """
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "html"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"version https://git-lfs"):
        return "lfs"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LARGEST_HEADER:
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    return "unknown"


def require_checkpoint(path: Path) -> str:
    """Type of a file whose first bytes look like a checkpoint; the error says what else it is."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except IsADirectoryError as error:
        raise WeightsError(f"{path} is a folder, not a checkpoint file") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    kind = file_type(head)
    if kind == "html":
        raise WeightsError(
            f"{path} is a web page, not a checkpoint: the server answered with an error or a "
            f"quota page, which was saved under this name. {FETCH_AGAIN}"
        )
    if kind == "lfs":
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the checkpoint itself. Fetch the real file "
            f"(git lfs pull)."
        )
    if not head:
        raise WeightsError(f"{path} is empty. {FETCH_AGAIN}")
    if kind == "unknown":
        raise WeightsError(
            f"{path} is of an unknown file type (first bytes {head[:8].hex(' ')}). Supported are "
            f"safetensors files and PyTorch state dicts (.pt, .pth, .ckpt, .bin); a truncated or "
            f"renamed file looks like this too."
        )
    return kind


def verify_file(card: ModelCard, path: Path) -> str:
    """Check that a checkpoint is there and is the one that was meant; its SHA-256.

    Where the registry knows no hash, the one that the first download recorded in the folder's lock
    file takes its place.

    Raises:
        WeightsError: missing (with what to do), truncated, or of another hash (both are named).
    """
    if not path.is_file():
        raise WeightsError(missing_message(card, path))
    record = recorded(card, path.parent)
    expected_bytes = known_bytes(card, path.parent)
    size = path.stat().st_size
    if expected_bytes is not None and size != expected_bytes:
        require_checkpoint(path)
        what = "truncated" if size < expected_bytes else "not the expected file"
        raise WeightsError(
            f"{path} (model {card.id!r}) is {what}: {size:,} bytes instead of {expected_bytes:,}. "
            f"{FETCH_AGAIN}"
        )
    found = file_sha256(path)
    if card.sha256 is not None and found != card.sha256:
        require_checkpoint(path)
        raise WeightsError(
            f"{path} (model {card.id!r}) has the wrong hash.\n  expected SHA-256 {card.sha256}\n"
            f"  found    SHA-256 {found}\nThe file is damaged or another one. {FETCH_AGAIN}"
        )
    if record is not None and found != record.sha256:
        require_checkpoint(path)
        raise WeightsError(
            f"{path} (model {card.id!r}) is not the file that was recorded in {LOCK_FILE} on "
            f"{record.recorded:%Y-%m-%d}.\n  recorded SHA-256 {record.sha256}\n"
            f"  found    SHA-256 {found}\nFetch it again (bench weights fetch {card.id}"
            f"{folder_option(path.parent)}). If the new file is meant, record it: "
            f"bench weights add {card.id} {shlex.quote(str(path))} --replace"
            f"{folder_option(path.parent)}"
        )
    return found


def folder_option(weights_dir: Path) -> str:
    """`` --weights-dir FOLDER`` for a command in a message; empty for the default folder."""
    if weights_dir == default_weights_dir():
        return ""
    return f" --weights-dir {shlex.quote(str(weights_dir))}"


def missing_message(card: ModelCard, path: Path) -> str:
    """What to do about a checkpoint that is not there."""
    if card.ships:
        return (
            f"the model {card.id!r} ships with the package, but {path} is missing: reinstall "
            f"stylebench (pip install --force-reinstall --no-deps stylebench)"
        )
    option = folder_option(path.parent)
    lines = [f"the model {card.id!r} ({card.title}) is not present."]
    if card.urls:
        lines.append(f"  fetch it: bench weights fetch {card.id}{option}")
    lines.append(f"  or place the file at {path}: bench weights add {card.id} FILE{option}")
    lines += [f"  {'or' if index else 'from'} {url}" for index, url in enumerate(card.urls)]
    lines.append(f"  SHA-256 {card.sha256 or 'not published'}")
    lines.append(f"  licence: {card.licence}")
    lines.append("or name the folder that has it with --weights-dir.")
    return "\n".join(lines)
