"""Train the mini StyleGAN2 of faces: ``python -m benchmark.zoo.mini.stylegan2 --corpus DIR ...``.

Two optimisers take turns, so it has a loop of its own (:mod:`.stylegan2_training`), with the
checkpoints, the curve and the export of the other models. Every five minutes it draws a sheet of
held-out faces, of what comes back of them, and of new pictures.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from benchmark.errors import BenchError, DataError, UsageError
from benchmark.zoo.stylegan2 import StyleGan2

from .export import WEIGHTS, export, hardware_class
from .stylegan2_training import StyleGan2Recipe, Training
from .trainer import Recipe, TrainState
from .unet import to_model_range

log = logging.getLogger(__name__)

STEPS = 2000  # of the shipped model


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
            _append(work_dir / "stylegan2.csv", row)
        if training.seconds - drawn_at > 300 or last:
            drawn_at = training.seconds
            sheet(training.ema, photos, work_dir / f"sheet-{training.step:05d}.png")
        if now - saved_at > 120 or last:
            training.save(work_dir / "stylegan2.ckpt")
            saved_at = now
        if over:
            break


def _append(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmark.zoo.mini.stylegan2",
        description="Train the mini StyleGAN2 of faces. A run that was stopped continues from its "
        "checkpoint when the same command is given again.",
    )
    p.add_argument("--corpus", type=Path, required=True, help="folder of the Parquet files")
    p.add_argument("--work-dir", type=Path, required=True, help="state goes to DIR/stylegan2")
    p.add_argument("--steps", type=int, default=STEPS)
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--threads", type=int, default=1, help="CPU threads")
    p.add_argument("--max-seconds", type=float, help="stop after this much training time in all")
    p.add_argument("--export", action="store_true", help="write weights and card afterwards")
    p.add_argument("--export-only", action="store_true", help="write them without a step")
    p.add_argument("--weights-dir", type=Path, default=WEIGHTS, help="where --export writes")
    return p


def run(arguments: argparse.Namespace) -> None:
    """What the command does.

    Raises:
        UsageError: a number that makes no sense, a device that is not there.
        DataError: the corpus is incomplete, or there is no checkpoint to export.
    """
    if arguments.steps < 1 or arguments.threads < 1:
        raise UsageError("--steps and --threads must be at least 1")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device; use --device cpu")
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    try:
        recipe = StyleGan2Recipe(arguments.corpus)
    except FileNotFoundError as error:
        raise DataError(f"{error}: give the folder of the Parquet files with --corpus") from error
    work_dir = arguments.work_dir / recipe.name
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = work_dir / f"{recipe.name}.ckpt"
    if arguments.export_only and not checkpoint.is_file():
        raise DataError(f"there is no checkpoint of {recipe.name} in {work_dir}: train first")
    training = Training(recipe, arguments.steps, device)
    if checkpoint.is_file():
        training.restore(checkpoint)
        log.info("%s: resumed at step %d", recipe.name, training.step)
    if not arguments.export_only:
        train(training, work_dir, arguments.max_seconds)
    if arguments.export or arguments.export_only:
        command = (
            f"python -m benchmark.zoo.mini.stylegan2 --corpus DIR --work-dir DIR "
            f"--steps {arguments.steps} --device {device.type} --export"
        )
        state = TrainState(
            training.model, training.ema, training.optimizer, training.step, training.seconds
        )
        export(
            cast(Recipe, recipe),  # it has all that is read of it
            state, arguments.corpus, command=command, hardware=hardware_class(device),
            folder=arguments.weights_dir,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        run(parser().parse_args(arguments))
    except BenchError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
