"""The tiny editing jobs that the official ZeCon editor and ours both run.

Every random number has a name; the maker hands them to the official code in the order of its draws,
the test to ours by purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.golden.official_format import EDITOR_CROP_SIZE, EDITOR_CROPS, named_normal, picture

SIZE = 32
RESPACING = 10
T0 = 4
README_WEIGHTS = {
    "clip_global": 0.0, "clip_global_patch": 10000.0, "clip_dir": 0.0, "clip_dir_patch": 20000.0,
    "contrastive": 500.0, "mse": 5000.0, "vgg": 100.0, "range": 50.0,
}  # fmt: skip
# the tiny models answer to a gradient far more violently than trained ones do
DAMPING = 2e-3
# with undamped weights only the first guided step is compared: after it the images leave all bounds


@dataclass(frozen=True)
class Case:
    """One editing job: ``diffusion_type`` of the official command line, and the losses' weights."""

    name: str
    forward: str
    reverse: str
    eta: float
    weights: dict[str, float]

    def draws(self) -> list[str]:
        """Names of the Gaussian draws, in the order in which the official editor makes them."""
        names = ["forward"] if self.forward == "ddpm" else []
        losses = ("clip_dir", "clip_dir_patch", "contrastive", "mse", "vgg")
        for step in reversed(range(T0)):
            guidance = [f"source/{loss}/{step}" for loss in losses if self.weights[loss]]
            # a DDPM step draws its noise before the guidance, a DDIM step after it
            own = [f"reverse/{step}"]
            names += own + guidance if self.reverse == "ddpm" else guidance + own
        return names

    def gaussian(self, name: str) -> Tensor:
        return named_normal(f"{self.name}/{name}", (1, 3, SIZE, SIZE))

    def order(self, place: int, step: int, n: int) -> Tensor:
        """Random order of n feature positions, [n]."""
        return named_normal(f"{self.name}/order/{place}/{step}", (n,)).argsort()

    def windows(self, name: str) -> Tensor:
        """Top-left corners (x, y) of the crops of one loss at one step, [N, 2] int64."""
        draw = named_normal(f"{self.name}/windows/{name}", (EDITOR_CROPS, 2))
        return (draw * 1000).abs().long() % (SIZE - EDITOR_CROP_SIZE + 1)


def _damped(**changes: float) -> dict[str, float]:
    return {name: DAMPING * weight for name, weight in {**README_WEIGHTS, **changes}.items()}


CASES = (
    Case("full-weights", "ddim", "ddpm", 0.0, README_WEIGHTS),
    Case("readme", "ddim", "ddpm", 0.0, _damped()),
    Case("ddim-ddim", "ddim", "ddim", 0.3, _damped()),
    Case("ddpm-ddpm", "ddpm", "ddpm", 0.0, _damped()),
    Case("ddpm-ddim", "ddpm", "ddim", 0.0, _damped()),
    Case(
        "whole", "ddim", "ddpm", 0.0,
        _damped(clip_global=5000.0, clip_global_patch=0.0, clip_dir=9000.0, clip_dir_patch=0.0),
    ),
)  # fmt: skip


def source_pixels() -> np.ndarray:
    """[32, 32, 3] uint8: the editor reads files."""
    image = picture("zecon/source", SIZE)[0]
    return image.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def prompt_embedding(which: str) -> Tensor:
    """[1, 24] in the place of CLIP's text embedding of ``target`` or ``source``."""
    return named_normal(f"zecon/{which}", (1, 24))
