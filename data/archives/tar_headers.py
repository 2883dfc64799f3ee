"""The headers of tar archives, plain or compressed with gzip, read with bounds."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

from benchmark.errors import DataError
from data.archives.members import MAX_MEMBERS, head, shown, why_not
from data.sources import MAX_BYTES

_BLOCK = 512
_HEADER_BYTES = 1 << 20  # of a header with its long names and attributes
# images hardly shrink; an archive that grows more than this is made to fill memory or time
_MAX_GROWTH = 100
# tarfile and gzip raise all of these on damaged files
DAMAGE = (
    tarfile.TarError, zlib.error, OSError, EOFError, ValueError, OverflowError, RecursionError
)  # fmt: skip


class _Headers:
    """A file of which only short pieces may be read: tarfile takes a header's word for lengths."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims to have {size:,} bytes")
        return self._file.read(size)


def members_of(path: Path) -> Iterator[tarfile.TarInfo]:
    """All members but folders, without their contents.

    Raises:
        DataError: no tar archive, a truncated or damaged one, or one that claims to be huge.
    """
    try:
        yield from _scan(path)
    except DAMAGE as error:
        reason = shown(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        if not is_compressed(path) and head(path)[257:262] != b"ustar":
            raise DataError(f"{path} is no tar archive: {why_not(path)}") from error
        raise DataError(
            f"the tar archive {path} is truncated or damaged ({reason}). Download or pack it again."
        ) from error


def _scan(path: Path) -> Iterator[tarfile.TarInfo]:
    compressed = is_compressed(path)
    most = path.stat().st_size
    if compressed:
        most = most * _MAX_GROWTH + MAX_BYTES
    with (
        closing(open_tar(path)) as file,
        tarfile.TarFile.taropen("", fileobj=_Headers(file)) as tar,  # type: ignore[arg-type]
    ):
        count, end = 0, 0
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep every header
            count += 1
            if info.size < 0 or info.offset < end or count > MAX_MEMBERS:
                raise tarfile.ReadError(f"the header at byte {info.offset:,} is impossible")
            end = info.offset_data + (info.size if info.isreg() else 0)
            if end > most or (compressed and info.size > MAX_BYTES):
                # what is compressed must be unpacked to be passed over
                raise tarfile.ReadError(
                    f"{info.name} claims to have {info.size:,} bytes, more than there can be"
                )
            if not info.isdir():
                yield info
        # tarfile takes a damaged header for the end
        file.seek(tar.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError(f"it ends at byte {tar.offset:,} without the end mark")


def open_tar(path: Path) -> IO[bytes]:
    """The bytes of the tar, unpacked as they are read.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        return gzip.open(path) if is_compressed(path) else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}") from error


def is_compressed(path: Path) -> bool:
    """Whether a file begins as gzip does."""
    return head(path)[:2] == b"\x1f\x8b"
