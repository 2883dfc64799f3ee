"""Runs through Lightning's loggers: CSV, TensorBoard, Weights & Biases."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import ValidationError
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from benchmark.errors import DataError, UsageError
from reports.export.folder import ExportedRun, exported
from reports.export.records import ScoredRun, metric_names

log = logging.getLogger(__name__)

Flat = dict[str, bool | int | float | str]

WANDB_PROJECT = "stylebench"
WANDB_TABLE_ROWS = 10_000  # more make a table that its page does not show
_EXPORTING = {
    "WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    # they would describe the machine that exports, not the one that ran
    "WANDB_X_DISABLE_META": "true", "WANDB_X_DISABLE_STATS": "true",
}  # fmt: skip


def hyperparameters(run: ScoredRun) -> Flat:
    """The run's configuration as one level of names, what it is and how complete it is."""
    manifest = run.manifest
    return {
        **flatten(manifest.config.model_dump(mode="json")),
        "config_hash": manifest.config_hash,
        "run_status": run.status,
        **{f"samples.{name}": count for name, count in run.counts.items()},
        "stand_in_note": manifest.stand_in_note or "none",
        "git_revision": manifest.git_revision or "none",
    }


def flatten(value: Mapping[str, Any], prefix: str = "") -> Flat:
    """Nested names joined by dots, lists as JSON, None as ``none``.

    >>> flatten({"a": {"b": 1, "c": [1, 2]}, "d": None})
    {'a.b': 1, 'a.c': '[1, 2]', 'd': 'none'}
    """
    flat: Flat = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{prefix}{key}.")
        elif item is None:
            flat[f"{prefix}{key}"] = "none"
        else:
            plain = isinstance(item, bool | int | float | str)
            flat[f"{prefix}{key}"] = item if plain else json.dumps(item)
    return flat


def summary_numbers(run: ScoredRun) -> dict[str, float]:
    """``<metric>/mean``, ``/interval_low``, ``/interval_high``; what has no value is left out."""
    return {
        f"{name}/{key}": value
        for name, entry in run.summary.items()
        for key, value in entry.numbers().items()
    }


def write_csv(runs: Sequence[ScoredRun], folder: Path) -> list[ExportedRun]:
    """``samples.csv`` over all runs, and each run's ``metrics.csv`` and ``hparams.yaml``.

    A row of ``samples.csv`` is a sample; a cell without a value is empty.
    """
    metrics = metric_names(runs)
    table = folder / "samples.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for run in runs:
            for row in run.rows(metrics):
                if writer is None:
                    writer = csv.DictWriter(file, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(row)
    entries = []
    for run in runs:
        logger = CSVLogger(folder, name="", version=run.label)
        logger.log_hyperparams(dict(hyperparameters(run)))
        logger.log_metrics(dict(summary_numbers(run)), step=0)
        logger.finalize("success")
        files = [f"{run.label}/metrics.csv", f"{run.label}/hparams.yaml", table.name]
        entries.append(exported(run, files))
    return entries


def write_tensorboard(runs: Sequence[ScoredRun], folder: Path) -> list[ExportedRun]:
    """A log folder for each run; ``tensorboard --logdir`` on the export shows them together.

    Raises:
        UsageError: ``folder`` has characters that the logger expands.
        DataError: the contact sheet is no image.
    """
    entries = []
    for run in runs:
        logger = TensorBoardLogger(folder, name="", version=run.label, default_hp_metric=False)
        if Path(logger.log_dir) != folder / run.label:
            raise UsageError(
                f"TensorBoard's logger would write to {logger.log_dir}: choose an --out without "
                f"'$' and '~'"
            )
        numbers = summary_numbers(run)
        means = {name: value for name, value in numbers.items() if name.endswith("/mean")}
        logger.log_hyperparams(dict(hyperparameters(run)), means, step=0)
        logger.log_metrics({k: v for k, v in numbers.items() if k not in means}, step=0)
        for name in run.values:
            values = [value for value in run.values[name] if value is not None]
            if values:
                logger.experiment.add_histogram(f"{name}/samples", np.array(values), 0)
        sheet = contact_sheet(run)
        if sheet is not None:
            logger.experiment.add_image("contact-sheet", np.asarray(sheet), 0, dataformats="HWC")
        logger.finalize("success")
        files = sorted(path.name for path in (folder / run.label).iterdir())
        entries.append(exported(run, [f"{run.label}/{name}" for name in files]))
    return entries


def contact_sheet(run: ScoredRun) -> Image.Image | None:
    """The stored contact sheet in RGB; None, with a warning, where there is none.

    Raises:
        DataError: it is no image.
    """
    path = run.directory.contact_sheet_path
    if not path.is_file():
        log.warning("%s is not there; the export is without it", path)
        return None
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is no image: {error}. `bench score {run.directory.path}` draws it anew."
        ) from error


def write_wandb(runs: Sequence[ScoredRun], folder: Path, limit_images: int) -> list[ExportedRun]:
    """One W&B run for each run: config, summary, a table of samples, the contact sheet.

    Nothing leaves the machine unless ``WANDB_MODE=online`` is set. What ``wandb sync`` would send
    lies in ``folder``, which must stay where it is until then: W&B notes absolute paths.

    Args:
        limit_images: samples of a run whose images go into its table; the others have scores alone.

    Raises:
        UsageError: W&B refuses (no login, a setting that it does not know).
        DataError: the contact sheet is no image.
    """
    import wandb

    online = os.environ.get("WANDB_MODE") == "online"
    metrics = metric_names(runs)
    entries = []
    with tempfile.TemporaryDirectory() as cache, _environment(folder, Path(cache), online):
        try:
            for run in runs:
                session = wandb.init(
                    name=run.label, dir=str(folder),
                    project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
                )  # fmt: skip
                logger = WandbLogger(experiment=session)
                logger.log_hyperparams(dict(hyperparameters(run)))
                _log_samples(logger, run, metrics, limit_images)
                session.summary.update(summary_numbers(run))
                logger.finalize("success")
                entries.append(exported(run, [f"wandb/{Path(session.dir).parent.name}"]))
                session.finish()
        except (wandb.errors.Error, ValidationError) as error:
            raise UsageError(
                f"W&B refuses: {error}. With WANDB_MODE=online it needs a login (`wandb login`) "
                f"and the network; leave it unset to write the run offline."
            ) from error
        finally:
            wandb.teardown()
    return entries


def _log_samples(
    logger: WandbLogger, run: ScoredRun, metrics: Sequence[str], limit_images: int
) -> None:
    import wandb

    rows: list[list[Any]] = []
    columns: list[str] = []
    for number, (row, source, sample) in enumerate(
        zip(run.rows(metrics), run.source_pngs(), run.samples, strict=True)
    ):
        if number == WANDB_TABLE_ROWS:
            log.warning("%s: the table has the first %d of %d samples", run.label, number,
                        len(run.samples))  # fmt: skip
            break
        pictures: dict[str, Any] = {"source_image": None, "output_image": None}
        if number < limit_images:
            pictures["source_image"] = wandb.Image(Image.open(io.BytesIO(source)))
            if sample.status == "ok":
                path = run.directory.image_path(sample.sample_id)
                pictures["output_image"] = wandb.Image(str(path))
        columns = [*pictures, *row]
        rows.append([*pictures.values(), *row.values()])
    logger.log_table("samples", columns, rows)
    sheet = contact_sheet(run)
    if sheet is not None:
        logger.log_image("contact-sheet", [sheet])


@contextmanager
def _environment(folder: Path, cache: Path, online: bool) -> Iterator[None]:
    """W&B's places and manners for one export; the process's environment is restored after it."""
    ours = {
        **_EXPORTING,
        "WANDB_MODE": "online" if online else "offline",
        "WANDB_DATA_DIR": str(folder),
        "WANDB_CACHE_DIR": str(cache),
    }
    if not online:
        ours["WANDB_ERROR_REPORTING"] = "false"
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
