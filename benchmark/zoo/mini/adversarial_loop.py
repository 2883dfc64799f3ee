"""The loop of models that learn against a critic: checkpoints, a curve, and sheets to look at."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Protocol

from .trainer import append_row

log = logging.getLogger(__name__)

SECONDS_OF_CHECKPOINT, SECONDS_OF_SHEET = 120, 300
ROW = 50  # steps of a row of the curve
SMOOTHING = 0.98  # of the losses in it


class AdversarialTraining(Protocol):
    """A model, its critics and their optimisers.

    Attributes:
        name: of the model and its files.
        step, steps: done, and to do.
        seconds: of training so far.
    """

    name: str
    step: int
    steps: int
    seconds: float

    def advance(self) -> dict[str, float]:
        """One step of the model and one of its critics; the losses."""

    def save(self, path: Path) -> None:
        """Write all that a resumed run needs."""

    def sheet(self, path: Path) -> None:
        """Write a PNG of what the averaged model makes."""


def rate_at(step: int, steps: int) -> float:
    """Factor of the learning rates: a short warm-up, then a cosine over the last third."""
    start = steps * 2 // 3
    late = max(0.0, (step - start) / max(1, steps - start))
    return min(1.0, (step + 1) / 100) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * late)))


def train(training: AdversarialTraining, work_dir: Path, max_seconds: float | None) -> None:
    """Train to the number of steps or the time limit."""
    clock = saved_at = time.monotonic()
    drawn_at = 0.0
    averages: dict[str, float] = {}
    while training.step < training.steps:
        for key, value in training.advance().items():
            averages[key] = SMOOTHING * averages.get(key, value) + (1 - SMOOTHING) * value
        now = time.monotonic()
        training.seconds += now - clock
        clock = now
        over = max_seconds is not None and training.seconds > max_seconds
        last = over or training.step == training.steps
        if training.step % ROW == 0 or last:
            row = {"step": float(training.step), "seconds": training.seconds, **averages}
            log.info("%s", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
            append_row(work_dir / f"{training.name}.csv", row)
        if training.seconds - drawn_at > SECONDS_OF_SHEET or last:
            drawn_at = training.seconds
            training.sheet(work_dir / f"sheet-{training.step:05d}.png")
        if now - saved_at > SECONDS_OF_CHECKPOINT or last:
            training.save(work_dir / f"{training.name}.ckpt")
            saved_at = now
        if over:
            break
