"""Where images come from: one interface, and the two sources that need no download."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from benchmark.errors import DataError
from data.cards import StandIn
from data.decode import BadImageError, decode

_ID_LENGTH = 60
MAX_BYTES = 64 << 20  # of one image file, unpacked; 64 megapixels of PNG fit mostly


@dataclass(frozen=True)
class Entry:
    """One image of a source, not read yet.

    Attributes:
        id: unique in the source; lower-case letters, digits and single hyphens.
        file: what the user knows it by.
    """

    id: str
    file: str


Stream = Generator[tuple[Entry, bytes | BadImageError], None, None]


class Source(ABC):
    """An ordered set of images. Listing is cheap; bytes are read in one pass, or entry by entry.

    Two equal sources give equal entries, in the same order, in every process.

    Attributes:
        name: of the kind of source, part of the frozen set's file name.
        stand_in: whether its images stand in for those of the dataset.
        pinned: whether the identity fixes the bytes, so that a frozen set need not be compared
            with its originals again.
        remote: whether the bytes come from a network, and are kept to be read once only.
    """

    name: ClassVar[str]
    stand_in: ClassVar[bool] = False
    pinned: ClassVar[bool] = False
    remote: ClassVar[bool] = False

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """JSON-able facts that, with the bytes read, decide every image."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON-able facts for a run's manifest."""

    @abstractmethod
    def entries(self) -> Sequence[Entry]:
        """All images, in order.

        Raises:
            DataError: there are none, or the source cannot be reached.
        """

    @abstractmethod
    def read(self, entry: Entry) -> bytes:
        """The bytes of an entry's file.

        Raises:
            BadImageError: it cannot be read.
        """

    def stream(self, entries: Sequence[Entry]) -> Stream:
        """The entries with their bytes, or with why one cannot be read, in the given order.

        Args:
            entries: some of :meth:`entries`, in their order.
        """
        for entry in entries:
            try:
                yield entry, self.read(entry)
            except BadImageError as bad:
                yield entry, bad

    def origin(self, ids: Sequence[str]) -> dict[str, Any]:
        """JSON-able facts found on the way that belong to the bytes, such as a full commit id.

        They are stored with a frozen set and go into the manifest of every run on it.

        Args:
            ids: of the entries that were used.
        """
        return {}

    def restore(self, origin: dict[str, Any]) -> None:  # noqa: B027 - most have nothing to restore
        """Go on from the facts that an earlier process found: the bytes must be the same."""

    def decode(self, entry: Entry, data: bytes) -> Image.Image:
        """The entry's image in RGB.

        Raises:
            BadImageError: the bytes are no usable image.
        """
        return decode(data)


class EmbeddedSource(Source):
    """The pictures of a card that ship with the package, drawn by the mini models.

    Args:
        dataset: whose stand-ins they are.
        pictures: those of its card.
    """

    name = "embedded"
    stand_in = True
    pinned = True

    def __init__(self, dataset: str, pictures: Sequence[StandIn]) -> None:
        self._folder = files("data") / "stand_ins" / dataset
        self._sha256 = {picture.id: picture.sha256 for picture in pictures}

    def identity(self) -> dict[str, Any]:
        return {"pictures": self._sha256}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "drawn_by": "mini-unet and mini-stylegan2 (data.draw_stand_ins)"}

    def entries(self) -> Sequence[Entry]:
        return [Entry(picture_id, f"{picture_id}.png") for picture_id in self._sha256]

    def read(self, entry: Entry) -> bytes:
        file = self._folder / entry.file
        try:
            data = file.read_bytes()
        except OSError as error:
            raise DataError(
                f"the stand-in {file} cannot be read ({error.strerror}): reinstall stylebench"
            ) from error
        if hashlib.sha256(data).hexdigest() != self._sha256[entry.id]:
            raise DataError(
                f"the stand-in {file} is not the one that the dataset's card names: reinstall "
                f"stylebench"
            )
        return data


class FolderSource(Source):
    """The images of a user's folder, sorted by file name; subfolders are not entered.

    Files whose name begins with a dot are passed over. Ids come from the file names.

    Args:
        folder: where the images are.
    """

    name = "folder"
    suffixes = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def identity(self) -> dict[str, Any]:
        return {"files": [entry.file for entry in self.entries()]}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "folder": str(self.folder)}

    def entries(self) -> Sequence[Entry]:
        files = self._files()
        return [
            Entry(image_id, file) for image_id, file in zip(file_ids(files), files, strict=True)
        ]

    def _files(self) -> list[str]:
        if not self.folder.exists():
            raise DataError(f"the image folder {self.folder} does not exist")
        if not self.folder.is_dir():
            raise DataError(f"{self.folder} is a file; --images takes the folder that holds images")
        try:
            items = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise DataError(f"the folder {self.folder} cannot be read: {error.strerror}") from error
        files = [path.name for path in items if self._is_image(path)]
        if not files:
            raise DataError(f"the folder {self.folder} has no images: {self._contents(items)}")
        return sorted(files)

    def _is_image(self, path: Path) -> bool:
        return path.suffix.lower() in self.suffixes and path.is_file()

    def _contents(self, items: list[Path]) -> str:
        if not items:
            return "it is empty"
        folders = sorted(path for path in items if path.is_dir())
        for folder in folders:
            if any(self._is_image(path) for path in folder.iterdir()):
                return f"its images are in subfolders; name one of them (--images {folder})"
        kinds = Counter(path.suffix.lower() or "no suffix" for path in items if not path.is_dir())
        parts = [f"{count} of {kind}" for kind, count in kinds.most_common(5)]
        parts += [f"{len(folders)} folders"] if folders else []
        return f"it holds {', '.join(parts)}. Image types: {' '.join(self.suffixes)}"

    def read(self, entry: Entry) -> bytes:
        path = self.folder / entry.file
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise BadImageError(f"it has {size:,} bytes, more than the {MAX_BYTES:,} allowed")
            return path.read_bytes()
        except OSError as error:
            raise BadImageError(f"it cannot be read ({error.strerror})") from error


def file_ids(files: Sequence[str]) -> list[str]:
    """File-name safe, unique ids of file names.

    An id is the stem in lower-case ASCII letters, digits and single hyphens. Where two files would
    share one, or a stem is too long or has no such letters, eight digits of the name's SHA-256 are
    added: to all that would share it, so that an id does not depend on the order of files.
    """
    stems = [_slug(Path(file).stem) for file in files]
    shared = {stem for stem, count in Counter(stems).items() if count > 1}
    ids = []
    for file, stem in zip(files, stems, strict=True):
        if stem in shared or not stem or len(stem) > _ID_LENGTH:
            digest = hashlib.sha256(file.encode("utf-8", "surrogateescape")).hexdigest()[:8]
            stem = f"{stem[:_ID_LENGTH].strip('-') or 'image'}-{digest}"
        ids.append(stem)
    return ids


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
