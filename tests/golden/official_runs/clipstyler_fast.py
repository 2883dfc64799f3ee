"""``train_fast.py`` on the mini CLIP, with an encoder and a decoder of the official widths."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from baselines.clipstyler import embed_prompt
from baselines.clipstyler_fast import ClipStylerFast, ClipStylerFastConfig
from baselines.clipstyler_photos import own_crops
from benchmark.guidance.style import StyleTarget
from benchmark.noise import NoiseSource
from benchmark.zoo.adain import AdaInDecoder, NormalisedVgg
from tests.golden import make_clipstyler_fast
from tests.golden.official_runs.adain import drawn_networks, drawn_states
from tests.golden.official_runs.setting import (
    PROMPT,
    SOURCE_PROMPT,
    Job,
    Ready,
    clip_module,
    mini_zoo,
    picture_pixels,
    ready_at_first_picture,
)

CHECKOUTS = ("clipstyler",)
STEPS = 3
PHOTO, BATCH = 96, 4
NOTE = f"train_fast.py, {STEPS} of 200 updates, official widths with drawn weights, crops of 64"


def official(folders: dict[str, Path]) -> Job:
    clip = mini_zoo().clip("guide")
    states = drawn_states()

    def job(steps: int, ready: Ready) -> None:
        with (
            patch.multiple(
                make_clipstyler_fast, CROP=clip.input_size, PHOTO=PHOTO, SIZE=clip.input_size,
                BATCH=BATCH, PROMPT=PROMPT, THRESHOLD=0.7, RATE=1e-4, DECAY=5e-5,
                stand_in_clip=lambda: clip_module(clip),
                narrow_networks=lambda module: drawn_networks(module, states),
                photo_pixels=lambda number: picture_pixels(PHOTO),
            ),
            ready_at_first_picture(ready),
        ):  # fmt: skip
            make_clipstyler_fast.run(folders["clipstyler"], steps)

    return job


def ours() -> Job:
    clip = mini_zoo().clip("guide")
    states = drawn_states()
    encoder = NormalisedVgg.from_state_dict(states["vgg"])
    decoder = AdaInDecoder.from_state_dict(states["decoder"])
    zoo: Any = SimpleNamespace(
        clip=lambda role: clip, adain_encoder=lambda: encoder, adain_decoder=lambda: decoder
    )
    photo: Tensor = torch.tensor(picture_pixels(PHOTO)).permute(2, 0, 1)[None] / 255
    noise = NoiseSource(0, ["0"])

    def job(steps: int, ready: Ready) -> None:
        config = ClipStylerFastConfig(steps=steps, batch_size=BATCH, crop_size=clip.input_size)
        method = ClipStylerFast(config)
        method.prepare(zoo)
        cut = partial(own_crops, photo, noise, count=BATCH, side=clip.input_size)
        ready()
        style = StyleTarget(*(embed_prompt(clip, p, True) for p in (PROMPT, SOURCE_PROMPT)))
        method.fine_tune(cut, style, noise)

    return job
