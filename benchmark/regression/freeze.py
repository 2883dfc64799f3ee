"""``bench freeze``: the scores of finished runs become references."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.regression.record import Record, record_of
from benchmark.regression.reference import reference_path, to_bytes


@dataclass(frozen=True)
class Frozen:
    """A reference that stands in its folder now.

    Attributes:
        path: of the file.
        n_bytes: its size.
        written: False if a file with the same bytes was there.
        record: what is in it.
    """

    path: Path
    n_bytes: int
    written: bool
    record: Record


def freeze(run: Path, folder: Path, *, force: bool) -> Frozen:
    """Write the reference of a run.

    Args:
        force: take the place of another reference.

    Raises:
        RunDirectoryError: the run cannot be used (see :func:`record_of`), or the folder cannot be
            written.
        UsageError: another reference is there and ``force`` was not given.
    """
    record = record_of(run)
    config = record.facts.manifest.config
    path = reference_path(folder, config.protocol, config.dataset, config.method)
    data = to_bytes(record)
    if path.is_file() and path.read_bytes() == data:
        return Frozen(path, len(data), False, record)
    if path.exists() and not force:
        raise UsageError(
            f"{path} is another reference. `bench check {run}` tells how the run differs from it; "
            f"--force puts the run in its place."
        )
    write_atomically(path, data)
    return Frozen(path, len(data), True, record)
