"""Tune the mini U-Net to draw the stand-ins: ``python -m benchmark.zoo.mini.unet_drawer ...``.

Fifty steps of diffusion and six million parameters do not get to a dog's face. Tuned against
critics that know ImageNet (:mod:`.projected_critic`), one for each side, the same network draws
better faces, dogs and rooms in seven steps (adversarial diffusion distillation, Sauer et al. 2023,
arXiv 2311.17042, without the teacher's share of the loss). What style transfer uses is the U-Net as
it was; the drawer does not ship, only its pictures do (``data/draw_stand_ins.py``).
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from benchmark.diffusion.unet import UNet
from benchmark.errors import DataError
from benchmark.zoo.models import ModelZoo

from . import command, corpus
from .adversarial_loop import rate_at, train
from .dog_heads import heads
from .few_step_drawing import CHAIN, arriving, draw, step
from .group_norm import use_fast_group_norm
from .imagenet_teacher import ImageNetTeacher
from .projected_critic import ProjectedCritic
from .stylegan2_parts import augment
from .unet import CONFIG, MARGIN, SIDES, random_windows, to_model_range, windows_of

log = logging.getLogger(__name__)

NAME = "unet-drawer"
STEPS = 1800
SEED = 61
# objects and paintings, which are of many kinds, came out alike: a network of this size then draws
# the few kinds that please its critic
DRAWN = ("faces", "dogs", "bedrooms")
PICTURES = {16: 8, 32: 5, 64: 4}  # of each place of the chain
RATE, CRITIC_RATE = 2e-4, 1e-3
BETAS = (0.0, 0.99)
EMA = 0.995
TEACHER_SIDES = {16: 64, 32: 96, 64: 128}  # pixels at which the critics' teacher looks
SHOWN = 12  # pictures of each class on a sheet


class Photos:
    """What the critics are shown: windows of the corpus's pictures, by class.

    Dogs are heads alone, as AFHQ's are, and bedrooms have no other interiors among them.

    Raises:
        FileNotFoundError: the corpus lacks a domain's pictures.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self._windows: list[Tensor] = []
        for domain in DRAWN:
            if domain == "dogs":
                pixels = heads(folder, "train", corpus.SIZE + MARGIN, cache)
            else:
                pixels = corpus.load(folder, "train", (domain,), corpus.SIZE + MARGIN).pixels
            self._windows.append(windows_of(pixels))

    def of(self, classes: Tensor, side: int, generator: torch.Generator) -> Tensor:
        """One [3, side, side] in [-1, 1] for each of the classes [N], half of them mirrored."""
        pixels = torch.empty(len(classes), corpus.SIZE, corpus.SIZE, 3, dtype=torch.uint8)
        for number, windows in enumerate(self._windows):
            wanted = classes == number
            chosen = torch.randint(len(windows), (int(wanted.sum()),), generator=generator)
            if len(chosen):
                pixels[wanted] = random_windows(windows, chosen, generator)
        mirrored = torch.rand(len(classes), generator=generator) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(2), pixels)
        return F.avg_pool2d(to_model_range(pixels), corpus.SIZE // side)


@dataclass(frozen=True)
class Side:
    """What one side gives to a step of the training.

    Attributes:
        gradients: of the U-Net's parameters, None where it does not depend on one.
        drawn: for each place of the side, pictures and their classes.
        parts: mean logits of photos and pictures.
    """

    gradients: Sequence[Tensor | None]
    drawn: list[tuple[Tensor, Tensor]]
    parts: dict[str, float]


class Training:
    """The U-Net, a critic of each side, their optimisers, and one step of all of them.

    Pictures are underway along the chain: what a place has drawn in one step of the training is
    what the next place starts from in the next, so that each learns on what it will be given.

    Raises:
        DataError: the packages of the critics' teacher are not installed.
    """

    name = NAME

    def __init__(self, photos: Photos, steps: int, device: torch.device) -> None:
        self.photos, self.steps, self.device = photos, steps, device
        self.model = tunable_unet().to(device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.teacher = ImageNetTeacher(device)
        self.critics = nn.ModuleDict(
            {
                str(side): ProjectedCritic(
                    SEED + side, classes=len(DRAWN), side=TEACHER_SIDES[side]
                )
                for side in SIDES
            }
        ).to(device)
        trained = [p for p in self.critics.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE, betas=BETAS)
        self.critic_optimizer = torch.optim.Adam(trained, lr=CRITIC_RATE, betas=BETAS)
        generator = torch.Generator().manual_seed(SEED)
        self.underway: list[tuple[Tensor, Tensor]] = []
        for place in CHAIN:  # until the first pictures have come so far
            classes = _classes(PICTURES[place.side], generator)
            self.underway.append((photos.of(classes, place.side, generator), classes))
        # on a CPU the largest side beside the others; new threads in every step would lose the
        # convolutions that oneDNN has made ready
        workers = 2 if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(workers, "side", torch.set_num_threads, (1,))
        self.step, self.seconds = 0, 0.0

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model, "ema": self.ema, "critics": self.critics,
            "optimizer": self.optimizer, "critic_optimizer": self.critic_optimizer,
        }  # fmt: skip

    def save(self, path: Path) -> None:
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"underway": self.underway, "step": self.step, "seconds": self.seconds}
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        saved = torch.load(path, map_location=self.device, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.underway = [(x.cpu(), classes.cpu()) for x, classes in saved["underway"]]
        self.step, self.seconds = saved["step"], saved["seconds"]

    def sheet(self, path: Path) -> None:
        """A row of pictures of each class."""
        draws = torch.Generator().manual_seed(0)
        drawer = _finished(self.ema).cpu()
        rows = [torch.cat(list(draw(drawer, name, SHOWN, draws)), 2) for name in DRAWN]
        values = ((torch.cat(rows, 1) + 1) * 127.5).round().to(torch.uint8)
        Image.fromarray(values.permute(1, 2, 0).numpy()).save(path)

    def advance(self) -> dict[str, float]:
        """One step of the U-Net and one of the critics; the losses of each side."""
        for optimizer, peak in ((self.optimizer, RATE), (self.critic_optimizer, CRITIC_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate_at(self.step, self.steps)
        self.critic_optimizer.zero_grad(set_to_none=True)
        sides = sorted(SIDES, reverse=True)
        found = list(self._pool.map(self._of_side, sides))
        for parameter, *gradients in zip(
            self.model.parameters(), *(side.gradients for side in found), strict=True
        ):
            given = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = torch.stack(given).sum(0) if given else None
        drawn = [pictures for side in reversed(found) for pictures in side.drawn]
        parts = {name: value for side in found for name, value in side.parts.items()}
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.critic_optimizer.step()
        self._move_on(drawn)
        weight = 1.0 - min(EMA, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.parameters()), [p.detach() for p in self.model.parameters()], weight
            )
        self.step += 1
        return parts

    def _of_side(self, side: int) -> Side:
        """What a side's places draw; gradients of the hinge losses; its critic's in place."""
        generator = torch.Generator().manual_seed((side * 10_007 + SEED) * 1_000_003 + self.step)
        critic = self.critics[str(side)]
        assert isinstance(critic, ProjectedCritic)
        xt, timesteps, labels = self._inputs(side, generator)
        # the cache of rounded weights is one for all threads
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            pictures = step(self.model, xt, timesteps, labels)
            photos = self.photos.of(labels.cpu(), side, generator).to(self.device)
            with torch.no_grad():
                real = self.teacher.pyramid(augment(photos, generator), TEACHER_SIDES[side])
            fake = self.teacher.pyramid(augment(pictures, generator), TEACHER_SIDES[side])
            critic.critics.requires_grad_(False)
            adversarial = -critic(fake, labels).mean()
            critic.critics.requires_grad_(True)
            gradients = torch.autograd.grad(
                adversarial, list(self.model.parameters()), allow_unused=True
            )
            of_photos = critic(real, labels)
            of_pictures = critic([maps.detach() for maps in fake], labels)
        loss = F.relu(1 - of_photos).mean() + F.relu(1 + of_pictures).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        count = PICTURES[side]
        drawn = list(
            zip(
                torch.split(pictures.detach().cpu(), count),
                torch.split(labels.cpu(), count),
                strict=True,
            )
        )
        parts = {
            f"real_{side}": float(of_photos.detach().mean()),
            f"fake_{side}": float(of_pictures.detach().mean()),
        }
        return Side(gradients, drawn, parts)

    def _inputs(self, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """x_t of all places of a side [B, 3, side, side], timesteps [B] and classes [B]."""
        xt, timesteps, classes = [], [], []
        for place, (pictures, labels) in zip(CHAIN, self.underway, strict=True):
            if place.side == side:
                noise = torch.randn(len(labels), 3, side, side, generator=generator)
                xt.append(arriving(pictures, place, noise))
                timesteps.append(torch.full((len(labels),), place.timestep))
                classes.append(labels)
        x = torch.cat(xt).to(self.device, memory_format=torch.channels_last)
        return x, torch.cat(timesteps).to(self.device), torch.cat(classes).to(self.device)

    def _move_on(self, drawn: list[tuple[Tensor, Tensor]]) -> None:
        """Pictures of each place to the next, as many as it takes; new ones to the first."""
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + self.step)
        first = PICTURES[CHAIN[0].side]
        nothing = torch.zeros(first, 3, CHAIN[0].side, CHAIN[0].side)
        self.underway = [(nothing, _classes(first, generator))]
        for place, (pictures, classes) in zip(CHAIN[1:], drawn[:-1], strict=True):
            count = PICTURES[place.side]
            self.underway.append((pictures[:count], classes[:count]))


def _classes(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(len(DRAWN), (count,), generator=generator)


def tunable_unet() -> UNet:
    """The shipped U-Net, with gradients."""
    shipped = ModelZoo({"denoiser": "mini-unet"}, None).denoiser().unet
    model = UNet(CONFIG)
    model.load_state_dict(shipped.state_dict())
    use_fast_group_norm(model)
    return model.to(memory_format=torch.channels_last)


def _finished(model: nn.Module) -> UNet:
    """The same weights with PyTorch's own group normalisation, without gradients."""
    drawer = UNet(CONFIG)
    drawer.load_state_dict(model.state_dict())
    return drawer.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def trained_drawer(work_dir: Path) -> UNet:
    """The averaged weights of the drawer that was trained in a work folder.

    Raises:
        DataError: there is none.
    """
    checkpoint = work_dir / NAME / f"{NAME}.ckpt"
    if not checkpoint.is_file():
        raise DataError(
            f"there is no {checkpoint}: train it first with "
            f"python -m benchmark.zoo.mini.unet_drawer and the same --work-dir"
        )
    drawer = UNet(CONFIG)
    drawer.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"])
    return drawer.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def parser() -> argparse.ArgumentParser:
    return command.parser(
        "benchmark.zoo.mini.unet_drawer", "the U-Net that draws the stand-ins",
        f"WORK_DIR/{NAME}", ships=False,
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """What the command does.

    Raises:
        UsageError: a number that makes no sense, a device that is not there.
        DataError: the corpus is incomplete, or the teacher is not installed.
    """
    steps = STEPS if arguments.steps is None else arguments.steps
    device = command.prepare_device(arguments, steps)
    with command.naming_the_corpus():
        photos = Photos(arguments.corpus, arguments.work_dir / "cache")
    work_dir = arguments.work_dir / NAME
    work_dir.mkdir(parents=True, exist_ok=True)
    training = Training(photos, steps, device)
    checkpoint = work_dir / f"{NAME}.ckpt"
    if checkpoint.is_file():
        training.restore(checkpoint)
        log.info("%s: resumed at step %d", NAME, training.step)
    train(training, work_dir, arguments.max_seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    return command.main(run, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
