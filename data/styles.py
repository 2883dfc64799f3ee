"""Style images of image-guided runs, from a user's file or folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.decode import BadImageError, Filter, Pixels, decode, square
from data.sources import FolderSource, file_ids


@dataclass(frozen=True)
class StyleImage:
    """One target style that is shown rather than named.

    Attributes:
        id: file-name safe, from the file's name.
        pixels: [S, S, 3] uint8, the largest centred square at the run's resolution.
        sha256: of the pixels.
    """

    id: str
    pixels: Pixels

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()


def load_styles(path: Path, size: int, resize_filter: Filter) -> list[StyleImage]:
    """The style images of a file or of a folder (sorted by name; subfolders are not entered).

    Raises:
        BadImageError: a file that is no usable image (named).
        DataError: the path does not exist or holds no images.
    """
    files, ids = _files(path)
    styles = []
    for file, name in zip(files, ids, strict=True):
        try:
            picture = decode(file.read_bytes())
        except BadImageError as error:
            raise BadImageError(f"{file}: {error}") from error
        styles.append(StyleImage(name, square(picture, size, resize_filter)))
    return styles


def _files(path: Path) -> tuple[Sequence[Path], Sequence[str]]:
    if path.is_file():
        return [path], file_ids([path.name])
    entries = FolderSource(path).entries()
    return [path / entry.file for entry in entries], [entry.id for entry in entries]
