"""Train a mini StyleGAN2: ``python -m benchmark.zoo.mini.stylegan2 --corpus DIR ...``.

Two optimisers take turns, so it has a loop of its own (:mod:`.stylegan2_training`), with the
checkpoints, the curve and the export of the other models. Every five minutes it draws a sheet of
held-out pictures, of what comes back of them, and of new pictures.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from benchmark.zoo.stylegan2 import StyleGan2

from . import command
from .export import export, hardware_class
from .stylegan2_recipes import RECIPES
from .stylegan2_training import Training
from .trainer import Recipe, TrainState, append_row
from .unet import to_model_range

log = logging.getLogger(__name__)


@torch.no_grad()
def sheet(model: StyleGan2, photos: Tensor, path: Path, samples: int = 32) -> None:
    """Write a PNG: photos, what the encoder's latents give (w, then W+), and new pictures."""
    from PIL import Image

    assert model.encoder is not None
    shared, offsets = model.encoder.parts(photos)
    z = torch.randn(samples, model.config.style_dim, generator=torch.Generator().manual_seed(0))
    base = model.latent_avg
    rows = [
        photos,
        model(base + shared),
        model(base + shared[:, None] + offsets),
        *torch.split(model(model.map(z.to(photos))), len(photos)),
    ]
    grid = torch.cat([torch.cat(list(row), 2) for row in rows if len(row) == len(photos)], 1)
    values = ((grid.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    Image.fromarray(values.permute(1, 2, 0).cpu().numpy()).save(path)


def train(training: Training, work_dir: Path, max_seconds: float | None) -> None:
    """Train to the number of steps or the time limit, with checkpoints and sample sheets."""
    clock = saved_at = time.monotonic()
    drawn_at = 0.0
    averages: dict[str, float] = {}
    photos = to_model_range(training.recipe.held_out[:16]).to(training.device)
    while training.step < training.steps:
        for key, value in training.advance().items():
            averages[key] = 0.98 * averages.get(key, value) + 0.02 * value
        now = time.monotonic()
        training.seconds += now - clock
        clock = now
        over = max_seconds is not None and training.seconds > max_seconds
        last = over or training.step == training.steps
        if training.step % 50 == 0 or last:
            row = {"step": float(training.step), "seconds": training.seconds, **averages}
            log.info("%s", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
            append_row(work_dir / f"{training.recipe.name}.csv", row)
        if training.seconds - drawn_at > 300 or last:
            drawn_at = training.seconds
            sheet(training.ema, photos, work_dir / f"sheet-{training.step:05d}.png")
        if now - saved_at > 120 or last:
            training.save(work_dir / f"{training.recipe.name}.ckpt")
            saved_at = now
        if over:
            break


def parser() -> argparse.ArgumentParser:
    p = command.parser(
        "benchmark.zoo.mini.stylegan2", "a mini StyleGAN2", "WORK_DIR/stylegan2[-dogs]"
    )
    p.add_argument(
        "--subject", choices=tuple(RECIPES), default="faces",
        help="what it draws (default: faces); dogs begin as the shipped faces",
    )  # fmt: skip
    return p


def run(arguments: argparse.Namespace) -> None:
    """What the command does.

    Raises:
        UsageError: a number that makes no sense, a device that is not there.
        DataError: the corpus is incomplete, or there is no checkpoint to export.
    """
    kind = RECIPES[arguments.subject]
    steps = kind.steps if arguments.steps is None else arguments.steps
    device = command.prepare_device(arguments, steps)
    with command.naming_the_corpus():
        recipe = kind(arguments.corpus, arguments.work_dir / "cache")
    work_dir = arguments.work_dir / recipe.name
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = work_dir / f"{recipe.name}.ckpt"
    if arguments.export_only:
        command.require_checkpoint(checkpoint, recipe.name)
    training = Training(recipe, steps, device)
    if checkpoint.is_file():
        training.restore(checkpoint)
        log.info("%s: resumed at step %d", recipe.name, training.step)
    if not arguments.export_only:
        train(training, work_dir, arguments.max_seconds)
    if arguments.export or arguments.export_only:
        line = (
            f"python -m benchmark.zoo.mini.stylegan2 --subject {arguments.subject} "
            f"--corpus DIR --work-dir DIR --steps {steps} --device {device.type} --export"
        )
        state = TrainState(
            training.model, training.ema, [training.optimizer], training.step, training.seconds
        )
        export(
            cast(Recipe, recipe),  # it has all that is read of it
            state, arguments.corpus, command=line, hardware=hardware_class(device),
            folder=arguments.weights_dir,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    return command.main(run, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
