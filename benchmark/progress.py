"""What a person sees while a run goes on: chunk, images a second, time left. On stderr."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from benchmark.predict import Prediction, PredictModule


class RunProgress(Callback):
    """Progress bar of the first rank.

    Args:
        title: method and dataset.
        total_samples: samples of the whole run.
        done_samples: samples of chunks finished by earlier attempts.
    """

    def __init__(self, title: str, total_samples: int, done_samples: int) -> None:
        self._total = total_samples
        self._done = done_samples
        self._fresh = 0
        self._seconds = 0.0
        self._world_size = 1
        self._title = title
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images  chunk {task.fields[chunk]}  {task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(
            self._title, total=self._total, completed=self._done, chunk="-", rate="starting"
        )
        self._progress.start()
        self._world_size = trainer.world_size
        if isinstance(pl_module, PredictModule):
            pl_module.on_sample = self._within_chunk

    def on_predict_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if self._progress is not None:
            index, _ = batch
            self._progress.update(self._task, chunk=str(index))

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if self._progress is None or not isinstance(outputs, Prediction):
            return
        # other ranks work at the same pace: their share is estimated, not asked for
        count = len(outputs.requests) * trainer.world_size
        self._fresh += len(outputs.requests)
        self._seconds += outputs.seconds
        self._done = min(self._total, self._done + count)
        rate = self._fresh / self._seconds * trainer.world_size if self._seconds else 0.0
        self._progress.update(self._task, completed=self._done, rate=f"{rate:.2f} images/s")

    def _within_chunk(self, count: int, seconds: float) -> None:
        """Samples of a chunk that is not stored yet: shown, but not counted as done."""
        if self._progress is None:
            return
        world = self._world_size
        rate = (self._fresh + count) / (self._seconds + seconds) * world
        self._progress.update(
            self._task, completed=min(self._total, self._done + count * world),
            rate=f"{rate:.2f} images/s",
        )  # fmt: skip

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
