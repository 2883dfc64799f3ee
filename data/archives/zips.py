"""Images inside a zip archive, such as AFHQ and CelebA-HQ are published in."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from functools import cached_property
from pathlib import PurePosixPath

from benchmark.errors import DataError
from data.archives.members import (
    MAX_MEMBERS,
    ArchiveSource,
    Member,
    contents,
    head,
    hidden,
    shown,
    why_not,
)
from data.decode import BadImageError
from data.sources import MAX_BYTES, FolderSource

_ENCRYPTED = 0x1
# of the other methods Python's decoders unpack a whole piece at once, however large it gets
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# what zipfile and its decoders raise on damaged, encrypted or foreign archives
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError,
    ValueError, struct.error,
)  # fmt: skip


class ZipSource(ArchiveSource):
    """The images of a zip archive, sorted by name and read where they lie.

    Of two members with one name the last counts, as when unpacking.
    """

    name = "zip"

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except _DAMAGE as error:
            if head(self.path)[:4] == b"PK\x03\x04":
                raise DataError(
                    f"{self.path} is truncated or damaged: the list of its files, which stands at "
                    f"its end, cannot be read ({error}). Download it again."
                ) from error
            raise DataError(f"{self.path} is no zip archive: {why_not(self.path)}") from error

    def _list(self) -> list[Member]:
        files = [info for info in self._archive.infolist() if not info.is_dir()]
        if len(files) > MAX_MEMBERS:
            raise DataError(f"{self.path} lists {len(files):,} files, over {MAX_MEMBERS:,}")
        by_name = {info.filename.removeprefix("./"): info for info in files}
        images = {name: info for name, info in by_name.items() if _is_image(name)}
        if not images:
            raise DataError(self._no_images(list(by_name)))
        if any(info.flag_bits & _ENCRYPTED for info in images.values()):
            raise DataError(
                f"{self.path} is encrypted: unpack it with its password and give the folder "
                f"(--images FOLDER)"
            )
        return [
            Member(name, images[name].file_size, images[name], _refusal(images[name]))
            for name in sorted(images)
        ]

    def _no_images(self, names: list[str]) -> str:
        databases = [name for name in names if PurePosixPath(name).name == "data.mdb"]
        if databases:
            folder = PurePosixPath(databases[0]).parent
            return (
                f"{self.path} holds an LMDB, as LSUN is published, and that is read from a folder: "
                f"unpack it (unzip {self.path}) and give --images {shown(str(folder))}"
            )
        return (
            f"{self.path} has no images: {contents(names)}. Image types: "
            f"{' '.join(FolderSource.suffixes)}"
        )

    def _read(self, member: Member) -> bytes:
        try:
            with self._archive.open(member.place) as file:
                data = file.read(MAX_BYTES)
        except _DAMAGE as error:
            raise BadImageError(f"it cannot be unpacked ({error})") from error
        if len(data) != member.size:
            raise BadImageError(f"it has {len(data):,} bytes and claims {member.size:,}")
        return data


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in FolderSource.suffixes and not hidden(name)


def _refusal(info: zipfile.ZipInfo) -> str | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link inside the archive, and links are not followed"
    if info.compress_type not in _METHODS:
        return (
            f"it is packed with the zip method {info.compress_type}; pack the archive with the "
            f"usual one (deflate)"
        )
    return None
