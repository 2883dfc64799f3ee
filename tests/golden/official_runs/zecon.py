"""The official ZeCon editor with its README's weights, on the mini models.

What it hard-codes for 256 pixels (crops of 128, CLIP's 224) is given the mini models' 64. Its
pictures of intermediate steps are not drawn.
"""

from __future__ import annotations

from pathlib import Path

from baselines.official_zecon import OfficialZeCon
from baselines.zecon import ZeCon, ZeConConfig
from tests.golden.official_runs.setting import (
    Job,
    mini_zoo,
    one_sample,
    picture_pixels,
    through_interface,
)

CHECKOUTS = ("zecon", "kornia")
STEPS = 4  # of 25
NOTE = f"the editor, t0 = {STEPS} of {2 * STEPS} steps, 32 crops"
CROPS = 32


def config(steps: int) -> ZeConConfig:
    return ZeConConfig(respacing=2 * steps, t0=steps, n_patches=CROPS)


def official(folders: dict[str, Path]) -> Job:
    return through_interface(
        lambda steps: OfficialZeCon(folders["zecon"], config(steps)), mini_zoo(),
        one_sample(picture_pixels()),
    )  # fmt: skip


def ours() -> Job:
    return through_interface(
        lambda steps: ZeCon(config(steps)), mini_zoo(), one_sample(picture_pixels())
    )
