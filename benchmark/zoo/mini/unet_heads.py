"""Training recipe of the mini U-Net's second stage: dogs, from close-ups of their heads.

At 16x16 and 32x32, where drawing decides what a picture shows, "dogs" are heads alone. At 64x64,
where photographs of whole dogs are restyled too, they are both.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from benchmark.diffusion.unet import UNet
from benchmark.zoo.loading import load_strictly

from . import corpus
from .dog_heads import heads
from .trainer import Schedule, trained_before
from .unet import (
    CLASSES,
    MARGIN,
    SIDES,
    UNCONDITIONAL_SHARE,
    UNetRecipe,
    class_index,
    random_windows,
    windows_of,
)

START = "unet-base"
# of each side for one of 64: eyes and noses are drawn at 32
PICTURES = {64: 1, 32: 4, 16: 12}
# share of a side's unstylised pictures that are heads
HEADS_SHARE = {64: 0.4, 32: 0.6, 16: 0.6}
# lest "no label" come to mean a dog, which is what guidance towards dogs leads away from
HEADS_UNCONDITIONAL_SHARE = 0.04


class UNetHeadsRecipe(UNetRecipe):
    """The first stage's loss on more heads of dogs than anything else."""

    name = "unet"
    seed = 1
    pictures = PICTURES

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 10, copies: int = 2
    ) -> None:
        super().__init__(folder, cache, steps=steps, batch_size=batch_size, copies=copies)
        self.schedule = Schedule(
            steps=steps,
            learning_rate=4e-4,
            warmup=50,
            ema_decay=0.995,
            shares=2,
            hold=0.3,
            adamw_only=self.schedule.adamw_only,
        )
        self._work_dir = cache.parent
        self._heads = windows_of(heads(folder, "train", corpus.SIZE + MARGIN, cache))
        whole_dog = self._photo_labels == CLASSES.index("dogs")
        self._others = (~whole_dog).nonzero().flatten()

    def build(self) -> UNet:
        model = super().build()
        trained = trained_before(self._work_dir, START)
        load_strictly(model, trained, f"the {START} that training starts from")
        return model

    def _plain(
        self, side: int, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        pixels, labels, unlabelled = super()._plain(side, count, generator)
        if side != SIDES[0]:  # no whole dogs
            pick = torch.randint(len(self._others), (count,), generator=generator)
            chosen = self._others[pick]
            pixels = random_windows(self._photos, chosen, generator)
            labels = self._photo_labels[chosen]
        head = torch.rand(count, generator=generator) < HEADS_SHARE[side]
        chosen = torch.randint(len(self._heads), (count,), generator=generator)
        close = random_windows(self._heads, chosen, generator)
        pixels = torch.where(head[:, None, None, None], close, pixels)
        labels = torch.where(head, class_index("dogs"), labels)
        unlabelled = torch.where(head, HEADS_UNCONDITIONAL_SHARE, UNCONDITIONAL_SHARE)
        return pixels, labels, unlabelled
