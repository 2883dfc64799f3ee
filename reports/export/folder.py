"""The folder that an export writes: never over files of someone else, never left half done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark import __version__
from benchmark.environment import command_line
from benchmark.errors import RunDirectoryError
from benchmark.files import explain_write_errors, sha256_of
from reports.export.records import ScoredRun, Status

RECORD = "export.json"
Existing = Literal["fail", "overwrite"]


class ExportedRun(BaseModel):
    """One run of an export. ``files`` are those that hold it, relative to the folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    method: str
    dataset: str
    protocol: str
    config_hash: str
    manifest_sha256: str
    status: Status
    samples: dict[str, int]
    files: tuple[str, ...]


class ExportRecord(BaseModel):
    """``export.json``: what a folder was made from. ``files`` maps names to SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    format: str
    stylebench: str
    command: tuple[str, ...]
    runs: tuple[ExportedRun, ...]
    files: dict[str, str]


def exported(run: ScoredRun, files: Sequence[str]) -> ExportedRun:
    """The entry of a run that is in ``files``."""
    config = run.manifest.config
    return ExportedRun(
        label=run.label, method=config.method, dataset=config.dataset, protocol=config.protocol,
        config_hash=run.manifest.config_hash,
        manifest_sha256=sha256_of(run.directory.manifest_path), status=run.status,
        samples=run.counts, files=tuple(files),
    )  # fmt: skip


@contextmanager
def export_folder(out: Path, existing: Existing) -> Iterator[Path]:
    """An empty folder to write into; whatever fails, what was there before is there again.

    Raises:
        RunDirectoryError: something is there and ``existing`` is ``fail``; what is there was not
            written by an export; the folder cannot be written.
    """
    out = out.absolute()
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    with _explain(out):
        occupied = _occupied(out)
        if occupied:
            _require_replaceable(out, existing)
            out.rename(old)
        new = [path for path in (out, *out.parents) if not path.exists()]
        try:
            out.mkdir(parents=True, exist_ok=True)
            yield out
        except BaseException:
            _undo(out, new)
            if occupied:
                old.rename(out)
            raise
        if occupied:
            shutil.rmtree(old)


def _undo(out: Path, new: Sequence[Path]) -> None:
    """Empty ``out``; remove it and its parents where they are ``new``."""
    for path in out.iterdir() if out.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    for path in new:
        if path.is_dir():
            path.rmdir()


@contextmanager
def _explain(out: Path) -> Iterator[None]:
    try:
        with explain_write_errors(out):
            yield
    except RunDirectoryError as error:
        if isinstance(error.__cause__, OSError):
            raise RunDirectoryError(
                f"cannot write {out}: {error.__cause__.strerror}. Choose another folder with "
                f"--out, mend its permissions or free some space; nothing was left behind."
            ) from error
        raise


def _occupied(out: Path) -> bool:
    if out.is_dir():
        return any(out.iterdir())
    if out.exists():
        raise RunDirectoryError(f"{out} is a file: --out takes a folder")
    return False


def _require_replaceable(out: Path, existing: Existing) -> None:
    record = read_record(out)
    if record is None:
        raise RunDirectoryError(
            f"{out} holds files that `bench export` did not write, which it never removes. Choose "
            f"another folder with --out."
        )
    if existing == "fail":
        raise RunDirectoryError(
            f"{out} already holds an export ({record.format}). Choose another folder with --out, "
            f"or replace it with --existing overwrite."
        )
    foreign = sorted(set(_files(out)) - {*record.files, RECORD})
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise RunDirectoryError(
            f"{out} holds files besides the export ({', '.join(foreign[:3])}{more}). Move them "
            f"away, or choose another folder with --out."
        )


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def read_record(folder: Path) -> ExportRecord | None:
    """The record of an export; None if there is none that can be read."""
    try:
        return ExportRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def write_record(folder: Path, format_name: str, runs: Sequence[ExportedRun]) -> None:
    """Close an export with its record, the last file to be written."""
    record = ExportRecord(
        format=format_name, stylebench=__version__, command=tuple(command_line()),
        runs=tuple(runs),
        files={
            name: f"link to {(folder / name).readlink()}"
            if (folder / name).is_symlink()
            else sha256_of(folder / name)
            for name in _files(folder)
        },
    )  # fmt: skip
    write_json(folder / RECORD, record.model_dump(mode="json"))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n",
                    encoding="utf-8")  # fmt: skip
