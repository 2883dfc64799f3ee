"""Images in an LMDB, as LSUN's official archives hold them: a key, and the bytes of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import DataError
from data.archives.members import ArchiveSource, Member, head, shown, why_not
from data.decode import BadImageError

if TYPE_CHECKING:
    import lmdb

_MAGIC = b"\xde\xc0\xef\xbe"
_MAGIC_AT = 16  # behind the header of the first page
# findings of the check that tell of writers, not of anything that reading depends on
_HARMLESS = ("freeDB", "P_DIRTY", "newer than committed", "txnid", ": walked", "a leak")


class LmdbSource(ArchiveSource):
    """The values of an LMDB, sorted by key. Needs the package ``lmdb``.

    It is opened for reading only, without a lock file, so that it may lie on a read-only disk. Its
    pages are checked before, because LMDB itself trusts them and would end the process.

    Args:
        path: the folder of ``data.mdb``, or a file of that kind.
        within: as in :class:`ArchiveSource`, for keys that have slashes.
    """

    name = "lmdb"

    @property
    def _file(self) -> Path:
        return self.path / "data.mdb" if self.path.is_dir() else self.path

    @contextmanager
    def _open(self) -> Iterator[lmdb.Transaction]:
        import lmdb

        # opened for each use: one process may not have the same LMDB open twice
        with (
            lmdb.open(
                str(self.path), subdir=self.path.is_dir(), readonly=True, lock=False,
                readahead=False, create=False,
            ) as environment,
            environment.begin(buffers=True) as transaction,
        ):  # fmt: skip
            yield transaction

    def _list(self) -> list[Member]:
        try:
            import lmdb
        except ImportError as error:
            raise _needs_package(self.path) from error
        self._check()
        members = []
        try:
            with self._open() as transaction:
                for key, value in transaction.cursor():
                    raw = bytes(key)
                    # the bytes of the value are not touched for its length
                    name = raw.decode("utf-8", "backslashreplace")
                    members.append(Member(name, len(value), raw))
        except (lmdb.Error, OSError) as error:
            raise self._damaged(str(error)) from error
        if not members:
            raise DataError(f"the LMDB {self.path} has no images: it is empty")
        return members

    def _check(self) -> None:
        if not is_lmdb(self._file):
            raise DataError(f"{self._file} is no LMDB: {why_not(self._file)}")
        try:
            from lmdb import verify
        except ImportError as error:
            raise _needs_package(self.path) from error
        try:
            found: list[str] = verify.verify(str(self._file))  # type: ignore[no-untyped-call]
        except verify.VerifyError as error:
            raise self._damaged(str(error)) from error
        serious = [line for line in found if not any(word in line for word in _HARMLESS)]
        if serious:
            raise self._damaged(serious[0])

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            f"the LMDB {self.path} is truncated or damaged ({shown(reason)}). Unpack or download "
            f"it again."
        )

    def _read(self, member: Member) -> bytes:
        import lmdb

        try:
            with self._open() as transaction:
                value = transaction.get(member.place)
                if value is None or len(value) != member.size:
                    raise BadImageError("the LMDB has changed since it was listed")
                return bytes(value)
        except (lmdb.Error, OSError) as error:
            raise BadImageError(f"it cannot be read ({error})") from error


def is_lmdb(file: Path) -> bool:
    """Whether a file begins as an LMDB does."""
    return head(file)[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def _needs_package(path: Path) -> DataError:
    return DataError(
        f"{path} is an LMDB, which needs the package lmdb, version 3 or newer: "
        f"pip install 'stylebench[lmdb]'"
    )
