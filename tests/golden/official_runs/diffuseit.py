"""The official DiffuseIT editor, by prompt, on the mini denoiser and CLIP.

It reads the 12th block of its ViT, which the mini DINO does not have: both sides get one of the
mini's width with 12 blocks and drawn weights.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from baselines.diffuseit import DiffuseIT
from baselines.diffuseit_config import DiffuseITConfig
from baselines.official_zecon import labelled_unet
from benchmark.zoo.dino import DinoViT
from tests.golden import make_diffuseit
from tests.golden.official_runs.setting import (
    PROMPT,
    SIZE,
    SOURCE_PROMPT,
    Job,
    Ready,
    clip_module,
    mini_zoo,
    one_sample,
    picture_pixels,
    ready_at_first_picture,
    through_interface,
)

CHECKOUTS = ("diffuseit", "kornia", "color_matcher")
STEPS = 3
RESPACING, VIEWS, RESAMPLES = 10, 8, 10
NOTE = f"the editor, t0 = {STEPS} of {RESPACING} steps, {RESAMPLES} resamples, {VIEWS} views"
CASE = make_diffuseit.Case(
    "compared", PROMPT,
    {
        "divergence_above": 2, "noise_mix": True, "regularize_content": True,
        "progressive_contrast": False, "range_restart": False,
    },
    make_diffuseit.WEIGHTS, 0, (),
)  # fmt: skip

CASE_VALUES: dict[str, Any] = {
    name: value for name, value in CASE.values.items() if name != "range_restart"
} | {name: value for name, value in CASE.weights.items() if name not in ("style_class", "style_l2")}


def _vit_layout() -> DinoViT:
    return DinoViT(8, make_diffuseit.VIT_WIDTH, 12, (SIZE // 8) ** 2)


def official(folders: dict[str, Path]) -> Job:
    zoo = mini_zoo()
    clip = zoo.clip("guide")
    unet = labelled_unet(zoo.denoiser())
    unet.label = zoo.denoiser().labels(["dogs"], "cpu")
    state = unet.unet.state_dict()
    config = zoo.denoiser().unet.config.model_dump()
    make_diffuseit._stand_ins()
    package: Any = sys.modules["CLIP"]
    sys.modules["clip"] = package.clip = clip_module(clip)

    def job(steps: int, ready: Ready) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            patch.multiple(
                make_diffuseit, SIZE=SIZE, VIT_SIZE=SIZE, RESPACING=RESPACING, T0=steps,
                N_VIEWS=VIEWS, EDITOR_UNET=config, ROLES=("guide",), calm=lambda weights: state,
                pixels=lambda name: picture_pixels(),
            ),
        ):  # fmt: skip
            editor = make_diffuseit.editor_for(CASE, Path(folder))
            editor.args.source = SOURCE_PROMPT
            editor.model = unet
            with ready_at_first_picture(ready):
                editor.edit_image_by_prompt()

    return job


def ours() -> Job:
    zoo = mini_zoo()
    with torch.random.fork_rng(devices=[]):
        vit = DinoViT.from_state_dict(make_diffuseit.vit_weights(_vit_layout()))

    def make(steps: int) -> DiffuseIT:
        return DiffuseIT(
            DiffuseITConfig(
                respacing=RESPACING, t0=steps, n_views=VIEWS, resamples=RESAMPLES, vit_size=SIZE,
                clip_roles=("guide",), range_restart=False, **CASE_VALUES,
            )
        )  # fmt: skip

    any_zoo: Any = zoo
    any_zoo.dino = lambda: vit
    return through_interface(make, any_zoo, one_sample(picture_pixels()))
