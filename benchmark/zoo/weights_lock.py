"""Hashes of checkpoints that nobody publishes one for: those of the first download, kept.

``weights.lock.json`` lies in the weights folder. A file that is another one later is refused, and a
colleague who is given the lock file gets the same files or a clear refusal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import WeightsError

if TYPE_CHECKING:
    from benchmark.zoo.registry import ModelCard

LOCK_FILE = "weights.lock.json"


class Record(BaseModel):
    """One checkpoint as it was when it was first seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    source: str = Field(description="address it was fetched from, or the user's file")
    recorded: datetime


class _LockFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["stylebench-weights-lock/1"] = "stylebench-weights-lock/1"
    models: dict[str, Record] = Field(default_factory=dict)


def read_lock(folder: Path) -> dict[str, Record]:
    """Records of a weights folder by model id; empty if it has no lock file.

    Raises:
        WeightsError: the lock file cannot be read or is damaged.
    """
    path = folder / LOCK_FILE
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return _LockFile.model_validate_json(text).models
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise WeightsError(
            f"{path} is damaged ({where}: {first['msg']}). Restore it from a copy; or move it "
            f"away, and hashes are recorded anew, but a file exchanged meanwhile goes unnoticed."
        ) from error


def recorded(card: ModelCard, folder: Path) -> Record | None:
    """What was recorded of a model; None where the registry knows its hash, or nothing was."""
    if card.ships or card.sha256 is not None:
        return None
    return read_lock(folder).get(card.id)


def known_bytes(card: ModelCard, folder: Path) -> int | None:
    """Size of the right file by the registry or the lock file, None if neither knows."""
    known = recorded(card, folder)
    if card.bytes is None and known is not None:
        return known.bytes
    return card.bytes


def record(card: ModelCard, folder: Path, sha256: str, size: int, source: str) -> None:
    """Write down a checkpoint's hash; an earlier record of the model is replaced.

    Args:
        card: of a model whose hash the registry does not know.
        folder: the weights folder.
        sha256, size: of the file; bytes.
        source: where it came from.

    Raises:
        WeightsError: the lock file is damaged or cannot be written.
    """
    path = folder / LOCK_FILE
    try:
        with FileLock(folder / f".{LOCK_FILE}.lock"):
            entry = Record(
                file=card.file, sha256=sha256, bytes=size, source=source,
                recorded=datetime.now(UTC).replace(microsecond=0),
            )  # fmt: skip
            models = read_lock(folder) | {card.id: entry}
            content = _LockFile(models=dict(sorted(models.items())))
            partial = path.with_name(f".{LOCK_FILE}.part")
            partial.write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")
            partial.replace(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror}") from error
