"""A checkpoint that the user has, taken into the weights folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmark.errors import WeightsError
from benchmark.zoo.checkpoint_file import file_sha256, folder_option, require_checkpoint
from benchmark.zoo.download import Watcher
from benchmark.zoo.models import build, can_load
from benchmark.zoo.registry import ModelCard, model_card, model_ids
from benchmark.zoo.weights_folder import (
    Obtained,
    held,
    obtained,
    require_obtainable,
    require_room,
    require_whole,
)
from benchmark.zoo.weights_lock import LOCK_FILE, recorded


def add_file(
    card: ModelCard, source: Path, folder: Path, watcher: Watcher, *, move: bool = False,
    replace: bool = False,
) -> Obtained:  # fmt: skip
    """Take a file that the user has into the weights folder, after it was verified.

    Where no hash is known to compare with, the file must load strictly as the model it is for
    (if this version has a loader), and its hash is recorded.

    Args:
        card: of a model that does not ship.
        source: the file; left where it is unless ``move``.
        folder: the weights folder; made if need be.
        watcher: is told how it goes on.
        move: the user's file is taken away.
        replace: another file that is there, or a recorded hash, gives way.

    Raises:
        UsageError: the model ships with the package.
        WeightsError: not the right file, another one is there, or the folder cannot take it.
    """
    require_obtainable(card)
    if not source.is_file():
        raise WeightsError(f"{source} does not exist, or is not a file")
    path = card.path(folder)
    with held(card, folder, watcher):
        here = path.exists() and path.samefile(source)
        if path.exists() and not here and not replace:
            raise WeightsError(
                f"{path} is there already (bench weights verify {card.id}{folder_option(folder)}); "
                f"--replace puts {source} in its place"
            )
        known = recorded(card, folder)
        digest = _require_right(card, source, known.sha256 if known and not replace else None)
        if not here:
            _place(source, path, digest, move)
        return obtained(card, path, "added", digest, source=str(source.absolute()))


def _require_right(card: ModelCard, source: Path, recorded_hash: str | None) -> str:
    require_checkpoint(source)
    found = file_sha256(source)
    expected = card.sha256 or recorded_hash
    if expected is not None and found != expected:
        others = [other for other in map(model_card, model_ids()) if other.sha256 == found]
        hint = f"\nIt is the file of the model {others[0].id!r}." if others else ""
        if card.sha256 is None:
            hint += f"\nThe expected hash is that of {LOCK_FILE}; --replace records the new one."
        raise WeightsError(
            f"{source} is not the file of the model {card.id!r}.\n  expected SHA-256 {expected}\n"
            f"  found    SHA-256 {found}{hint}"
        )
    if expected is None:
        require_whole(source)
        if can_load(card):
            build(card, source)
    return found


def _place(source: Path, path: Path, digest: str, move: bool) -> None:
    """Copy or move a verified file to its place; it appears there whole or not at all."""
    part = path.with_name(f".{path.name}.adding")
    try:
        if move and source.stat().st_dev == path.parent.stat().st_dev:
            source.replace(path)
            return
        require_room(path.parent, path.name, source.stat().st_size)
        shutil.copyfile(source, part)
        if file_sha256(part) != digest:
            raise WeightsError(f"{source} changed while it was copied: run the command again")
        part.replace(path)
        if move:
            source.unlink()
    except OSError as error:
        raise WeightsError(f"{source} cannot be put at {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
