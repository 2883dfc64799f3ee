"""``clip_finetune`` and the inversions before it, on the mini denoiser and CLIP.

Both sides have this project's U-Net, since upstream carries two of its own; what is compared is the
process. Upstream samples every inverted photograph once more, to show it; that is left out here.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from baselines.diffusionclip import DiffusionClip, DiffusionClipConfig
from benchmark.diffusion.unet import UNet
from tests.golden import make_diffusionclip
from tests.golden.official_runs.setting import (
    PROMPT,
    SOURCE_PROMPT,
    Job,
    OpenAiClip,
    Ready,
    Sentences,
    mini_zoo,
    one_sample,
    picture_pixels,
    plain,
)
from tests.golden.upstream import official as imported

CHECKOUTS = ("diffusionclip",)
STEPS = 3  # photographs
T0, INVERSION_STEPS, TRAIN_STEPS = 500, 10, 6
NOTE = f"clip_finetune and inversions in {INVERSION_STEPS} steps, a round of {STEPS} photographs"


class _Labelled(nn.Module):
    """The mini denoiser with the class label that the official code has no argument for."""

    def __init__(self, unet: UNet, label: Tensor) -> None:
        super().__init__()
        self.unet, self.label = unet, label

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        out: Tensor = self.unet(x, timesteps, self.label)
        return out


def official(folders: dict[str, Path]) -> Job:
    zoo = mini_zoo()
    clip, denoiser = zoo.clip("guide"), zoo.denoiser()
    label = denoiser.labels(["dogs"], "cpu")
    assert label is not None
    unet = _Labelled(plain(denoiser.unet), label).requires_grad_(True)
    start = {name: value.clone() for name, value in unet.state_dict().items()}
    openai = OpenAiClip(clip)
    visual: Any = openai.clip.model.visual
    photo = one_sample(picture_pixels()).images

    def latent(module: Any, runner: Any) -> Tensor:
        steps = itertools.pairwise(int(s) for s in list(np.linspace(0, 1, INVERSION_STEPS) * T0))
        with torch.no_grad():
            return make_diffusionclip._chain(module, runner, unet, photo, steps)

    def job(steps: int, ready: Ready) -> None:
        unet.load_state_dict(start)
        with (
            patch.multiple(
                make_diffusionclip, PHOTOS=steps, ROUNDS=1, T0=T0, TRAIN_STEPS=TRAIN_STEPS,
                INVERSION_STEPS=INVERSION_STEPS, PROMPT=PROMPT, SOURCE_PROMPT=SOURCE_PROMPT,
                LEARNING_RATE=8e-6, EDITOR_CROP_SIZE=clip.input_size, tiny_unet=lambda: unet,
                TinyEncoder=lambda: openai, CLIP_MEAN=visual.image_mean, CLIP_STD=visual.image_std,
                prompt_embedding=lambda text: openai.encode_text(Sentences(text)),
            ),
            patch.dict(sys.modules, make_diffusionclip._stand_ins()),
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.chdir(folder),
        ):  # fmt: skip
            module = imported("diffusionclip")
            args, config = make_diffusionclip._arguments()
            runner = module.DiffusionCLIP(args, config, torch.device("cpu"))
            for name in ("precomputed", "checkpoint"):
                Path(name).mkdir()
            torch.save(start, "tiny")
            ready()
            pairs = [[photo, photo, latent(module, runner)] for _ in range(steps)]
            for mode in ("train", "test"):
                torch.save(pairs, f"precomputed/dog_{mode}_t{T0}_nim{steps}_"
                                  f"ninv{INVERSION_STEPS}_pairs.pth")  # fmt: skip
            runner.clip_finetune()

    return job


def ours() -> Job:
    zoo = mini_zoo()
    sample = one_sample(picture_pixels())

    def job(steps: int, ready: Ready) -> None:
        method = DiffusionClip(
            DiffusionClipConfig(
                t0=T0, inversion_steps=INVERSION_STEPS, train_steps=TRAIN_STEPS, rounds=1,
                training_count=steps,
            )
        )  # fmt: skip
        method.prepare(zoo)
        ready()
        method.fine_tune(sample.requests[0], sample.images.expand(steps, -1, -1, -1))

    return job
