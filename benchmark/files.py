"""Files that are whole or not there, and errors that say what to do."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import RunDirectoryError


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a read-only folder into an error with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise RunDirectoryError(
                f"no space left while writing {path}. Finished chunks are kept: free some space "
                f"and run the same command again to continue."
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
            raise RunDirectoryError(
                f"cannot write {path}: {error.strerror}. Choose another folder with --out or "
                f"mend its permissions."
            ) from error
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name beside ``path``, then rename."""
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
