"""``bench export``: run directories in the format of another tool."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from benchmark.errors import UsageError
from reports.export.folder import Existing, ExportedRun, export_folder, write_record
from reports.export.reading import scored_runs

Format = Literal["hf", "csv", "tensorboard", "wandb"]

LIMIT_IMAGES = 64


def export_runs(
    paths: Sequence[Path], format_name: Format, out: Path, *, existing: Existing,
    limit_images: int | None, as_json: bool,
) -> None:  # fmt: skip
    """The command: write the folder, print what is where.

    Args:
        paths: run directories, or folders of them; all of one protocol.
        limit_images: of W&B's table; ``LIMIT_IMAGES`` if None.

    Raises:
        UsageError: no run, different protocols, a run twice, a package that is not installed.
        RunDirectoryError: a run that is not scored or was changed after it was made; ``out`` is
            taken or cannot be written.
    """
    if limit_images is not None and format_name != "wandb":
        raise UsageError(f"--limit-images is of --format wandb; {format_name} has no such limit")
    if format_name in {"tensorboard", "wandb"}:
        require_extra(format_name)
    runs = scored_runs(paths)
    with export_folder(out, existing) as folder:
        if format_name == "hf":
            from reports.export.huggingface import write_dataset

            entries = write_dataset(runs, folder)
        elif format_name == "csv":
            from reports.export.loggers import write_csv

            entries = write_csv(runs, folder)
        elif format_name == "tensorboard":
            from reports.export.loggers import write_tensorboard

            entries = write_tensorboard(runs, folder)
        else:
            from reports.export.loggers import write_wandb

            limit = LIMIT_IMAGES if limit_images is None else limit_images
            entries = write_wandb(runs, folder, limit)
        write_record(folder, format_name, entries)
    _print(entries, format_name, out, as_json)


def require_extra(package: str) -> None:
    """Refuse a format whose package is not installed.

    Raises:
        UsageError: it cannot be imported.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise UsageError(
            f"--format {package} needs the package {package}, which cannot be imported ({error}): "
            f'pip install "stylebench[{package}]"'
        ) from error


def _print(entries: Sequence[ExportedRun], format_name: str, out: Path, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "format": format_name,
                "out": str(out),
                **entry.model_dump(mode="json"),
                "files": [str(out / name) for name in entry.files],
            }
            for entry in entries
        ]
        json.dump(rows, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    for entry in entries:
        counts = entry.samples
        done = f"{counts['ok'] + counts['failed']} of {counts['expected']} samples"
        sys.stdout.write(f"{entry.label}  {entry.status}, {done}, {counts['failed']} failed\n")
    # a path is a line of its own, so that a terminal can open it; shared files are named once
    for name in dict.fromkeys(name for entry in entries for name in entry.files):
        sys.stdout.write(f"{out / name}\n")
