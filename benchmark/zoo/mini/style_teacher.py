"""A second opinion on styles: EfficientNet-Lite0's features and a small network that reads them.

It judges the pictures to which a guide itself leads (:mod:`.led_pictures`). A network of another
kind, which ImageNet has taught what pictures look like, does not share the guide's errors. It is
for training alone; nothing of it ships, and it is not the judge of the benchmark.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import corpus
from .augment import Crops, random_crops
from .bank import PHOTO, STYLE_IDS, Bank
from .imagenet_teacher import PYRAMID_CHANNELS, ImageNetTeacher
from .style_path import StylePath
from .trainer import Schedule, trained_before
from .unet import to_model_range

NAME = "style-teacher"
SIDE = 128  # pixels at which it looks
WIDTH = 256
CROPS = Crops(min_area=0.08, whole=0.5)
HALF_STYLED, RECOLOURED = 32, 24
_PART = 64


class StyleTeacher(nn.Module):
    """Logits of the styles and "Photo" from means and deviations of the features' channels."""

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        self._eyes = ImageNetTeacher(device)  # not a module: its weights are not saved with these
        self.scale = nn.BatchNorm1d(2 * sum(PYRAMID_CHANNELS), affine=False)
        self.read = nn.Sequential(
            nn.Linear(2 * sum(PYRAMID_CHANNELS), WIDTH), nn.GELU(),
            nn.Linear(WIDTH, len(STYLE_IDS) + 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, styles + 1] float32 of images [N, 3, 64, 64] in [-1, 1]."""
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
            maps = [found.float() for found in self._eyes.pyramid(images, SIDE)]
        seen = torch.cat([torch.cat([m.mean((2, 3)), m.std((2, 3))], 1) for m in maps], 1)
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.read(self.scale(seen))
        return logits


class StyleTeacherRecipe:
    """Cross-entropy on photographs and stylised copies, and on the way between them."""

    name = NAME
    kind = "style-teacher"
    seed = 67
    batch_size = 96
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(self, folder: Path, cache: Path, *, steps: int, copies: int = 2) -> None:
        self.schedule = Schedule(
            steps=steps, learning_rate=2e-3, warmup=50, weight_decay=0.01, ema_decay=0.99
        )
        self.bank = Bank(folder, "train", cache, copies)
        self.held_out = Bank(folder, "test", cache, 1)
        self.style_path = StylePath(self.bank, HALF_STYLED, RECOLOURED, CROPS)

    def build(self) -> StyleTeacher:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return StyleTeacher()

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        bank, third = self.bank, self.batch_size // 3
        photos = bank.photos[torch.randint(len(bank.photos), (third,), generator=generator)]
        styled = torch.randint(len(bank.styled), (2 * third,), generator=generator)
        pixels = torch.cat([bank.pixels[photos], bank.styled[styled]])
        truth = torch.cat([torch.full_like(photos, PHOTO), bank.styled_facts.style[styled]])
        pictures = random_crops(to_model_range(pixels), CROPS, generator)
        more, between = self.style_path.draw(generator)
        logits = model(torch.cat([pictures, more]))
        known, on_path = logits[: len(truth)], logits[len(truth) :]
        style = F.cross_entropy(known, truth)
        path, parts = between.loss(on_path)
        hits = (known.detach().argmax(1) == truth).float().mean()
        return style + path, parts | {"style": float(style.detach()), "style_top1": float(hits)}

    def finish(self, model: nn.Module) -> nn.Module:
        return model

    def architecture(self) -> dict[str, Any]:
        return {"width": WIDTH, "side": SIDE}

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """Shares of held-out pictures told right."""
        shipped.eval()
        bank = self.held_out
        return {
            "style_top1": _share(shipped, bank.styled, bank.styled_facts.style),
            "photo_top1": _share(
                shipped, bank.pixels[bank.photos], torch.full_like(bank.photos, PHOTO)
            ),
        }


def _share(model: nn.Module, pixels: Tensor, truth: Tensor) -> float:
    said = [model(to_model_range(part)).argmax(1) for part in torch.split(pixels, _PART)]
    return float(torch.cat(said).eq(truth).float().mean())


def trained_style_teacher(work_dir: Path) -> StyleTeacher:
    """The one that was trained in a work folder, frozen.

    Raises:
        DataError: there is none, or EfficientNet's packages are not installed.
    """
    teacher = StyleTeacher()
    teacher.load_state_dict(trained_before(work_dir, NAME))
    return teacher.eval().requires_grad_(False)
