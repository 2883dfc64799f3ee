"""Train a mini StyleGAN2: ``python -m benchmark.zoo.mini.stylegan2 --corpus DIR ...``.

Two optimisers take turns, so the loop is another than the other models' (:mod:`.adversarial_loop`);
their export is shared.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import cast

from . import command
from .adversarial_loop import train
from .export import export, hardware_class
from .stylegan2_recipes import RECIPES
from .stylegan2_training import Training
from .trainer import Recipe, TrainState

log = logging.getLogger(__name__)


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
