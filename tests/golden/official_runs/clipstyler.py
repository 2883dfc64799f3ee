"""``train_CLIPstyler.py`` on the mini CLIP and VGG, crops at random places handed to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from baselines.clipstyler import ClipStyler, ClipStylerConfig
from tests.golden import make_clipstyler
from tests.golden.official_runs.setting import (
    PROMPT,
    SIZE,
    Job,
    Ready,
    clip_module,
    mini_zoo,
    one_sample,
    picture_pixels,
    plain,
    ready_at_first_picture,
    through_interface,
)

CHECKOUTS = ("clipstyler",)
STEPS = 5
CROPS, CROP, CHANNELS = 64, 16, 16
NOTE = f"the script, {STEPS} of 200 updates, {CROPS} crops"


def given_windows(updates: int) -> tuple[Iterator[Any], Iterator[Any]]:
    """Places and moved corners of every crop, drawn beforehand."""
    draws = np.random.default_rng(0)
    last = CROP - 1
    places, warps = [], []
    for _ in range(updates * CROPS):
        y, x = draws.integers(0, SIZE - CROP + 1, 2).tolist()
        places.append((y, x, CROP, CROP))
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = draws.integers(0, CROP // 4 + 1, (4, 2)).tolist()
        start = [[0, 0], [last, 0], [last, last], [0, last]]
        end = [[ax, ay], [last - bx, by], [last - cx, last - cy], [dx, last - dy]]
        warps.append((start, end))
    return iter(places), iter(warps)


def official(folders: dict[str, Path]) -> Job:
    zoo = mini_zoo()
    clip = zoo.clip("guide")
    vgg = plain(zoo.vgg().features)

    def job(steps: int, ready: Ready) -> None:
        with (
            patch.multiple(
                make_clipstyler, SIZE=SIZE, CROP=CROP, CROPS=CROPS, CHANNELS=CHANNELS,
                PROMPT=PROMPT, THRESHOLD=0.7, EDITOR_CROP_SIZE=clip.input_size,
                source_pixels=picture_pixels, stand_in_clip=lambda: clip_module(clip),
                official_vgg=lambda: vgg, _given_windows=lambda last: given_windows(last + 1),
            ),
            ready_at_first_picture(ready),
        ):  # fmt: skip
            # the script makes one update more than it is told
            make_clipstyler.run(folders["clipstyler"], steps - 1)

    return job


def ours() -> Job:
    def make(steps: int) -> ClipStyler:
        return ClipStyler(
            ClipStylerConfig(
                steps=steps, n_patches=CROPS, patch_side=CROP / SIZE, channels=CHANNELS
            )
        )

    return through_interface(make, mini_zoo(), one_sample(picture_pixels()))
