"""Images inside tar shards, as WebDataset packs them: members of one key make a sample."""

from __future__ import annotations

import tarfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from benchmark.errors import DataError
from data.archives.members import ArchiveSource, Member, check, contents, hidden, shown
from data.archives.shards import shard_files
from data.archives.tar_headers import DAMAGE, is_compressed, members_of, open_tar
from data.decode import BadImageError
from data.sources import Entry, Stream

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_IMAGES = ("jpg", "jpeg", "png", "webp")


class WebDatasetSource(ArchiveSource):
    """The images of tar files, one for each key, sorted by shard and name.

    A key is a member's path up to the first dot of its file name. Links are refused. Plain tars
    are read at any place; compressed ones from the first byte on, in one pass for a whole stream.

    Args:
        path: a shard, or a folder of shards (.tar, .tar.gz, .tgz).
        within: as in :class:`ArchiveSource`.
        shards: take shards whose names begin so only, for example ``train``.
    """

    name = "webdataset"

    def __init__(self, path: Path, within: str | None = None, shards: str = "") -> None:
        super().__init__(path, within)
        self.shards = shards

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"shards": [path.name for path in self._shards]}

    @cached_property
    def _shards(self) -> list[Path]:
        return shard_files(self.path, SUFFIXES, self.shards)

    def _list(self) -> list[Member]:
        members, others = [], []
        for index, path in enumerate(self._shards):
            images: defaultdict[str, dict[str, Member]] = defaultdict(dict)
            for info in members_of(path):
                name = info.name.removeprefix("./")
                key, kind = _split(name)
                if hidden(name) or kind.rpartition(".")[2] not in _IMAGES:
                    others.append(name)
                    continue
                place, shard = (index, info.offset_data), path.name * (len(self._shards) > 1)
                images[key][name] = Member(name, info.size, place, _refusal(info), shard)
            chosen = [_choose(path, key, found) for key, found in images.items()]
            members += sorted(chosen, key=lambda member: member.name)
        if not members:
            raise DataError(
                f"{self.path} has no images: {contents(others)}. Image types in tar files: "
                f".{' .'.join(_IMAGES)}"
            )
        return members

    def _read(self, member: Member) -> bytes:
        shard, _ = member.place
        with closing(open_tar(self._shards[shard])) as file:
            return _piece(file, member)

    def stream(self, entries: Sequence[Entry]) -> Stream:
        by_shard = groupby(entries, key=lambda entry: self._members[entry.id][1].place[0])
        for shard, group in by_shard:
            wanted = list(group)
            if is_compressed(self._shards[shard]):
                yield from self._one_pass(shard, wanted)
            else:
                yield from super().stream(wanted)

    def _one_pass(self, shard: int, entries: Sequence[Entry]) -> Stream:
        """In the given order, reading a compressed shard once.

        What comes too early waits in a nameless temporary file.
        """
        members = [self._members[entry.id][1] for entry in entries]
        order = sorted(range(len(entries)), key=lambda i: members[i].place)
        waiting: dict[int, tuple[int, int] | BadImageError] = {}
        turn = 0
        with closing(open_tar(self._shards[shard])) as file, TemporaryFile() as aside:
            for index in order:
                found = _attempt(file, members[index])
                if isinstance(found, BadImageError):
                    waiting[index] = found
                elif index == turn:
                    yield entries[turn], found
                    turn += 1
                else:
                    waiting[index] = (_put(aside, found), len(found))
                while turn in waiting:
                    kept = waiting.pop(turn)
                    if not isinstance(kept, BadImageError):
                        aside.seek(kept[0])
                    yield (
                        entries[turn],
                        kept if isinstance(kept, BadImageError) else aside.read(kept[1]),
                    )
                    turn += 1


def _put(aside: IO[bytes], data: bytes) -> int:
    place = aside.seek(0, 2)
    try:
        aside.write(data)
    except OSError as error:
        raise DataError(
            f"images cannot be put aside while a compressed tar is read: {error.strerror}. Free "
            f"some space, set TMPDIR to a larger disk, or unpack the archive (gunzip)."
        ) from error
    return place


def _attempt(file: IO[bytes], member: Member) -> bytes | BadImageError:
    try:
        check(member)
        return _piece(file, member)
    except BadImageError as bad:
        return bad


def _piece(file: IO[bytes], member: Member) -> bytes:
    try:
        file.seek(member.place[1])
        data = file.read(member.size)
    except DAMAGE as error:
        raise BadImageError(f"it cannot be read ({error})") from error
    if len(data) != member.size:
        raise BadImageError(f"the archive ends after {len(data):,} of its {member.size:,} bytes")
    return data


def _split(name: str) -> tuple[str, str]:
    """Key and kind: ``a/b.seg.png`` has the key ``a/b`` and the kind ``seg.png``."""
    folder, slash, file = name.rpartition("/")
    stem, _, kind = file.partition(".")
    return folder + slash + stem, kind.lower()


def _choose(path: Path, key: str, found: dict[str, Member]) -> Member:
    """The image of a sample: the one with nothing but an image type behind its key."""
    plain = [name for name in found if _split(name)[1] in _IMAGES]
    names = plain or list(found)
    if len(names) > 1:
        raise DataError(
            f"{path}: the sample {shown(key)!r} has several images "
            f"({', '.join(map(shown, sorted(names)))}), and nothing says which one is meant. Pack "
            f"one for each key (the name up to its first dot), or give a zip archive or a folder."
        )
    return found[names[0]]


def _refusal(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "it is a link inside the archive, and links are not followed"
    if not info.isreg() or info.issparse():
        return "it is no ordinary file of the archive"
    return None
