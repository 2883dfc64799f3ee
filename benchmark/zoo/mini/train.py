"""Train a model of the mini zoo: ``python -m benchmark.zoo.mini.train MODEL --corpus DIR ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import command
from .export import export, hardware_class
from .trainer import Recipe, resume, train

Make = Callable[[Path, Path, int], Recipe]


def _unet_base(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .unet import UNetRecipe

    return UNetRecipe(corpus, cache, steps=steps)


def _unet(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .unet_heads import UNetHeadsRecipe

    return UNetHeadsRecipe(corpus, cache, steps=steps)


def _clip(name: str) -> Make:
    def make(corpus: Path, cache: Path, steps: int) -> Recipe:
        from .clip import ClipRecipe

        return ClipRecipe(name, corpus, cache, steps=steps)

    return make


def _style_teacher(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .style_teacher import StyleTeacherRecipe

    return StyleTeacherRecipe(corpus, cache, steps=steps)


def _vgg(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .vgg import VggRecipe

    return VggRecipe(corpus, cache, steps=steps)


def _dino_base(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .dino import DinoRecipe

    return DinoRecipe(corpus, cache, steps=steps)


def _dino(corpus: Path, cache: Path, steps: int) -> Recipe:
    from .dino_keys import DinoKeysRecipe

    return DinoKeysRecipe(corpus, cache, steps=steps)


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
    "unet-base": (_unet_base, 4000),  # what unet starts from
    "unet": (_unet, 1200),
    "clip-guide-base": (_clip("clip-guide-base"), 4000),  # what clip-guide starts from
    "clip-guide-moved": (_clip("clip-guide-moved"), 240),  # and then
    "clip-guide-path": (_clip("clip-guide-path"), 600),  # and then
    "style-teacher": (_style_teacher, 600),  # who says where the next stage has led a picture
    "clip-guide": (_clip("clip-guide"), 800),
    "clip-score": (_clip("clip-score"), 3600),
    "sigmoid-guide": (_clip("sigmoid-guide"), 600),
    "vgg": (_vgg, 1200),
    "dino-base": (_dino_base, 3000),  # what dino starts from
    "dino": (_dino, 1500),
    "face": (_face, 1500),
    "adain-decoder": (_adain, 2000),
    "vqgan": (_vqgan, 2600),
}


def parser() -> argparse.ArgumentParser:
    p = command.parser(
        "benchmark.zoo.mini.train", "a model of the mini zoo",
        "WORK_DIR/MODEL, stylised copies to WORK_DIR/bank",
    )  # fmt: skip
    p.add_argument("model", choices=list(MODELS))
    return p


def run(arguments: argparse.Namespace) -> None:
    """What the command does.

    Raises:
        UsageError: a number that makes no sense, a device that is not there.
        DataError: the corpus is incomplete, or there is no checkpoint to export.
    """
    make, default_steps = MODELS[arguments.model]
    steps = default_steps if arguments.steps is None else arguments.steps
    device = command.prepare_device(arguments, steps)
    with command.naming_the_corpus():
        recipe = make(arguments.corpus, arguments.work_dir / "bank", steps)
    work_dir = arguments.work_dir / arguments.model
    if arguments.export_only:
        command.require_checkpoint(work_dir / f"{recipe.name}.ckpt", recipe.name)
        state = resume(recipe, work_dir, device)
    else:
        state = train(
            recipe, work_dir, seed=recipe.seed, device=device, max_seconds=arguments.max_seconds
        )
    if arguments.export or arguments.export_only:
        line = (
            f"python -m benchmark.zoo.mini.train {recipe.name} --corpus DIR --work-dir DIR "
            f"--steps {steps} --device {device.type} --export"
        )
        export(
            recipe, state, arguments.corpus, command=line, hardware=hardware_class(device),
            folder=arguments.weights_dir,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    return command.main(run, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
