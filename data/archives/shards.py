"""The files of a folder that together hold one set of images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import DataError

_NUMBER = re.compile(r"[-_.]?\d+(-of-\d+)?(-[0-9a-f]{16})?$")


def shard_files(path: Path, suffixes: Sequence[str], start: str = "") -> list[Path]:
    """The file itself, or the files of a folder that have one of the suffixes, by name.

    Args:
        path: a file or a folder.
        suffixes: in lower case, with the dot.
        start: what the names of wanted files begin with.

    Raises:
        DataError: there are none, or they are shards of several sets, such as train and test.
    """
    if not path.is_dir():
        return [path]
    files = sorted(
        item for item in path.iterdir()
        if item.name.lower().endswith(tuple(suffixes)) and not item.name.startswith(".")
        and item.is_file()
    )  # fmt: skip
    sets = Counter(_set_name(file, suffixes) for file in files)
    found = ", ".join(f"{name or 'unnamed'} ({n} files)" for name, n in sorted(sets.items()))
    chosen = [file for file in files if file.name.startswith(start)]
    if not chosen:
        words = f" whose name begins with {start!r}" if start else ""
        raise DataError(f"the folder {path} has no {suffixes[0]} file{words}; it has {found or 0}")
    if len({_set_name(file, suffixes) for file in chosen}) > 1:
        raise DataError(
            f"the folder {path} holds shards of several sets: {found}. Choose with "
            f"--images-within SET, or give one file."
        )
    return chosen


def _set_name(file: Path, suffixes: Sequence[str]) -> str:
    """What the names of all shards of a set have in common: ``train`` of train-00001-of-00013."""
    suffix = next(suffix for suffix in suffixes if file.name.lower().endswith(suffix))
    return _NUMBER.sub("", file.name[: -len(suffix)])
