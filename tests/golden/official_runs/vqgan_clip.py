"""``generate.py`` of VQGAN-CLIP on the mini VQGAN and CLIP.

The mini VQGAN normalises in groups of 8 channels where upstream fixes 32, so upstream's class is
told. The picture that the script writes at its first update stays.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from torch import nn

from baselines.vqgan_clip import VqganClip, VqganClipConfig
from tests.golden import make_vqgan_clip
from tests.golden.official_runs.setting import (
    PROMPT,
    SIZE,
    Job,
    OpenAiClip,
    Ready,
    Sentences,
    mini_zoo,
    one_sample,
    picture_pixels,
    ready_at_first_picture,
    through_interface,
)
from tests.golden.upstream import official as imported

CHECKOUTS = ("vqgan-clip", "taming", "packages", "kornia-0.5.4")
STEPS = 4
CUTS = 32
NOTE = f"the script, {STEPS} of 500 updates, {CUTS} cut-outs"


def _architecture(vqgan: Any) -> dict[str, Any]:
    known = vqgan.config.model_dump()
    names = (
        "ch", "ch_mult", "num_res_blocks", "attn_resolutions", "resolution", "in_channels",
        "out_ch", "z_channels", "double_z", "dropout",
    )  # fmt: skip
    return {name: known[name] for name in names}


def official(folders: dict[str, Path]) -> Job:
    zoo = mini_zoo()
    vqgan, clip = zoo.vqgan(), OpenAiClip(zoo.clip("guide"))
    config = vqgan.config
    text = (folders["vqgan_clip"] / "generate.py").read_text()
    with patch.multiple(
        make_vqgan_clip, ARCHITECTURE=_architecture(vqgan), CODES=config.n_embed,
        EMBED_DIM=config.embed_dim, _Perceptor=lambda watch: clip, _Sentences=_listed,
    ):  # fmt: skip
        modules = make_vqgan_clip._modules(lambda images: None)
        modules["CLIP"].clip.load = lambda *args, **kwargs: (clip, None)
        modules["CLIP"].clip.tokenize = Sentences
    layers = imported("taming.modules.diffusionmodules.model")
    layers.Normalize = lambda in_channels: nn.GroupNorm(config.norm_groups, in_channels, eps=1e-6)
    state = {"state_dict": vqgan.state_dict()}

    def job(steps: int, ready: Ready) -> None:
        with tempfile.TemporaryDirectory() as work:
            Image.fromarray(picture_pixels()).save(Path(work) / "source.png")
            torch.save(state, Path(work) / "model.ckpt")
            # the script makes one update more than it is told
            words = [
                "generate.py", "-p", PROMPT, "-ii", "source.png", "-i", str(steps - 1), "-s",
                str(SIZE), str(SIZE), "-cuts", str(CUTS), "-sd", "11", "-cd", "cpu", "-ckpt",
                "model.ckpt",
            ]  # fmt: skip
            with (
                patch.dict(sys.modules, modules),
                patch.object(sys, "argv", words),
                # kornia 0.5.4 calls what PyTorch has renamed since
                patch.object(
                    torch, "solve", lambda b, a: (torch.linalg.solve(a, b), a), create=True
                ),
                contextlib.chdir(work),
                warnings.catch_warnings(),
                ready_at_first_picture(ready),
            ):
                exec(compile(text, "generate.py", "exec"), {"__name__": "__main__"})

    return job


def _listed(texts: list[str]) -> Sentences:
    return Sentences(texts)


def ours() -> Job:
    return through_interface(
        lambda steps: VqganClip(VqganClipConfig(iterations=steps, n_cuts=CUTS)),
        mini_zoo(), one_sample(picture_pixels()),
    )  # fmt: skip
