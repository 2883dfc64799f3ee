"""What the sources over archives share: bounds, selection by folder, ids, identity.

Names inside an archive are only names: nothing is written to a path that an archive gives.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.errors import DataError
from data.decode import BadImageError
from data.sources import MAX_BYTES, Entry, Source, file_ids

MAX_MEMBERS = 10_000_000
EVERYTHING = "."  # given as --images-within, takes images of all folders
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Member:
    """An image file inside an archive.

    Attributes:
        name: in the archive.
        size: bytes that it claims to have when unpacked.
        place: where the source finds it again.
        refused: why it is not read, if it is not.
        shard: file name of the shard it is in, where there are several.
    """

    name: str
    size: int
    place: Any
    refused: str | None = None
    shard: str = ""


class ArchiveSource(Source):
    """Images with names inside an archive.

    Args:
        path: the archive.
        within: take images below this folder inside the archive only; ``.`` takes all. Without
            it, images in several folders are refused with a list of the folders.
    """

    def __init__(self, path: Path, within: str | None = None) -> None:
        self.path, self.within = path, within

    @abstractmethod
    def _list(self) -> list[Member]:
        """All image members in order; within a shard every name stands once.

        Raises:
            DataError: the archive cannot be read, or has no images.
        """

    @abstractmethod
    def _read(self, member: Member) -> bytes:
        """The bytes of a member of at most ``MAX_BYTES``.

        Raises:
            BadImageError: it cannot be read.
        """

    @cached_property
    def _members(self) -> dict[str, tuple[Entry, Member]]:
        members = self._list()
        taken = select([member.name for member in members], self.within, self.path)
        members = [member for member, take in zip(members, taken, strict=True) if take]
        counts = Counter(member.name for member in members)
        # a name that shards share is told apart by its shard
        names = [
            f"{member.shard}/{member.name}" if counts[member.name] > 1 else member.name
            for member in members
        ]
        files = [f"{item.shard}/{item.name}" if item.shard else item.name for item in members]
        entries = named_entries(names, files)
        return {entry.id: (entry, member) for entry, member in zip(entries, members, strict=True)}

    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for _, member in self._members.values():
            line = f"{member.shard}\0{member.name}\0{member.size}\0"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return {"images": len(self._members), "names_and_sizes": digest.hexdigest()}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name, "archive": str(self.path), "within": self.within, **self.identity()
        }  # fmt: skip

    def entries(self) -> Sequence[Entry]:
        return [entry for entry, _ in self._members.values()]

    def read(self, entry: Entry) -> bytes:
        member = self._members[entry.id][1]
        check(member)
        return self._read(member)


def check(member: Member) -> None:
    """Refuse a member before any of it is read.

    Raises:
        BadImageError: it is no regular file, or claims too many bytes.
    """
    if member.refused is not None:
        raise BadImageError(member.refused)
    if member.size > MAX_BYTES:
        raise BadImageError(
            f"it claims to have {member.size:,} bytes, more than the {MAX_BYTES:,} allowed"
        )


def named_entries(names: Sequence[str], files: Sequence[str]) -> list[Entry]:
    """Entries with the ids that the same images would have in a folder.

    Args:
        names: unique; what the ids are made of, without the folders that all have in common.
        files: what the user knows the images by.
    """
    if len(set(names)) != len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"two images have the name {shown(twice)!r}: pack them under others")
    parents = [name.split("/")[:-1] for name in names]
    # what the first and the last in order have in common, all have
    ends = zip(min(parents, default=[]), max(parents, default=[]), strict=False)
    depth = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    ids = file_ids(["/".join(name.split("/")[depth:]) for name in names])
    return [Entry(image_id, shown(file)) for image_id, file in zip(ids, files, strict=True)]


def select(names: Sequence[str], within: str | None, path: Path) -> list[bool]:
    """Which of the images are taken.

    Raises:
        DataError: none is below ``within``; or they lie in several folders and nothing says which.
    """
    folders = Counter(name.rpartition("/")[0] for name in names)
    found = ", ".join(f"{shown(key) or 'the top'} ({n})" for key, n in folders.most_common(_SHOWN))
    if len(folders) > _SHOWN:
        found += f" and {len(folders) - _SHOWN} more"
    if within is None and len(folders) > 1:
        raise DataError(
            f"{path} has images in several folders: {found}. Choose with --images-within FOLDER; "
            f"--images-within {EVERYTHING} takes all of them."
        )
    if within is None or within.strip("/") in {"", EVERYTHING}:
        return [True] * len(names)
    start = f"{within.removeprefix('./').strip('/')}/"
    taken = [name.startswith(start) for name in names]
    if not any(taken):
        raise DataError(
            f"{path} has no images within {within!r} (--images-within); its images are in {found}"
        )
    return taken


def hidden(name: str) -> bool:
    """Whether a file is passed over: dot files, and what macOS adds to archives."""
    return name.rpartition("/")[2].startswith(".") or name.startswith("__MACOSX/")


def contents(names: Iterable[str]) -> str:
    """What an archive holds, for a message that it holds no images."""
    kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in names)
    if not kinds:
        return "it is empty"
    return "it holds " + ", ".join(f"{n} of {shown(kind)}" for kind, n in kinds.most_common(5))


def shown(text: str) -> str:
    """A name from outside without control characters, which would act on a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def why_not(path: Path) -> str:
    """What a file is that is not what its name says, and what to do."""
    start = head(path).lstrip().lower()
    if not start:
        return "it is empty or cannot be read; download it again"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page that a server sent in place of the file; download it again"
    return "download it again, or give the file that it was made from"


def head(path: Path) -> bytes:
    """The first bytes of a file, at most 512; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError:
        return b""
