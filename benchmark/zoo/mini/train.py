"""Train a model of the mini zoo: ``python -m benchmark.zoo.mini.train MODEL --corpus DIR ...``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmark.errors import BenchError, DataError, UsageError

from .export import WEIGHTS, export, hardware_class
from .trainer import Recipe, resume, train

log = logging.getLogger(__name__)

Make = Callable[[Path, Path, int], Recipe]


def _unet(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .unet import UNetRecipe

    return UNetRecipe(corpus, cache, steps=steps)


def _clip(name: str) -> Make:
    def make(corpus: Path, cache: Path, steps: int) -> Recipe:
        from .clip import ClipRecipe

        return ClipRecipe(name, corpus, cache, steps=steps)

    return make


def _vgg(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .vgg import VggRecipe

    return VggRecipe(corpus, cache, steps=steps)


def _dino(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .dino import DinoRecipe

    return DinoRecipe(corpus, cache, steps=steps)


def _adain(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .adain import AdaInRecipe

    return AdaInRecipe(corpus, cache, steps=steps)


def _face(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .face import FaceRecipe

    return FaceRecipe(corpus, cache, steps=steps)


def _vqgan(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .vqgan import VqGanRecipe

    return VqGanRecipe(corpus, cache, steps=steps)


# the steps of the shipped models
MODELS: dict[str, tuple[Make, int]] = {
    "unet": (_unet, 2400),
    "clip-guide": (_clip("clip-guide"), 4000),
    "clip-score": (_clip("clip-score"), 3600),
    "sigmoid-guide": (_clip("sigmoid-guide"), 600),
    "vgg": (_vgg, 1200),
    "dino": (_dino, 3000),
    "face": (_face, 3000),
    "adain-decoder": (_adain, 2000),
    "vqgan": (_vqgan, 2600),
}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m benchmark.zoo.mini.train",
        description="Train a model of the mini zoo. A run that was stopped continues from its "
        "checkpoint when the same command is given again.",
    )
    p.add_argument("model", choices=list(MODELS))
    p.add_argument(
        "--corpus", type=Path, required=True, help="folder of <domain>-<split>.parquet files"
    )
    p.add_argument(
        "--work-dir", type=Path, required=True,
        help="checkpoints go to WORK_DIR/MODEL, stylised copies to WORK_DIR/bank",
    )  # fmt: skip
    p.add_argument(
        "--steps", type=int, help="length of the run (default: that of the shipped model)"
    )
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--threads", type=int, default=1, help="CPU threads")
    p.add_argument("--max-seconds", type=float, help="stop after this much training time in all")
    group = p.add_mutually_exclusive_group()
    group.add_argument("--export", action="store_true", help="write weights and card afterwards")
    group.add_argument(
        "--export-only", action="store_true", help="write them from the checkpoint, without a step"
    )
    p.add_argument("--weights-dir", type=Path, default=WEIGHTS, help="where --export writes")
    return p


def run(arguments: argparse.Namespace) -> None:
    """What the command does.

    Raises:
        UsageError: a number that makes no sense, a device that is not there.
        DataError: the corpus is incomplete, or there is no checkpoint to export.
    """
    make, default_steps = MODELS[arguments.model]
    steps = default_steps if arguments.steps is None else arguments.steps
    if steps < 1 or arguments.threads < 1:
        raise UsageError("--steps and --threads must be at least 1")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device; use --device cpu")
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    try:
        recipe = make(arguments.corpus, arguments.work_dir / "bank", steps)
    except FileNotFoundError as error:
        raise DataError(f"{error}: give the folder of the Parquet files with --corpus") from error
    work_dir = arguments.work_dir / arguments.model
    if arguments.export_only:
        if not (work_dir / f"{recipe.name}.ckpt").is_file():
            raise DataError(f"there is no checkpoint of {recipe.name} in {work_dir}: train first")
        state = resume(recipe, work_dir, device)
    else:
        state = train(
            recipe, work_dir, seed=recipe.seed, device=device, max_seconds=arguments.max_seconds
        )
    if arguments.export or arguments.export_only:
        command = (
            f"python -m benchmark.zoo.mini.train {recipe.name} --corpus DIR --work-dir DIR "
            f"--steps {steps} --device {device.type} --export"
        )
        export(
            recipe, state, arguments.corpus, command=command, hardware=hardware_class(device),
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
