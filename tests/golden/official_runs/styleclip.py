"""StyleCLIP's ``run_optimization.main`` from a given latent, beside ``StyleClip.edit``.

Upstream leaves the inversion to another project, so neither side inverts. Generator: the official
class at 64 pixels with drawn weights. CLIP: the mini one behind the 224 pixels that upstream fixes.
A small layer stands for ArcFace.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.styleclip import StyleClip, StyleClipConfig
from tests.baselines.stylegan_zoo import official_generator
from tests.golden.make_styleclip import on_cpu
from tests.golden.make_stylegan2 import filled
from tests.golden.official_runs.setting import (
    PROMPT,
    SIZE,
    Job,
    OpenAiClip,
    Ready,
    Sentences,
    mini_zoo,
)
from tests.golden.stylegan2_case import CLIP_SIDE, EDIT_DIM, TinyFace, edit_start

CHECKOUTS = ("styleclip",)
STEPS = 2
LAYERS, ROWS = 8, 10
NOTE = f"run_optimization.main without inversion, {STEPS} of 300 updates, official generator at 64"
IDENTITY, L2 = 0.005, 0.008


class LargeView(nn.Module):
    """The mini CLIP behind a view of 224 pixels."""

    input_size = CLIP_SIDE

    def __init__(self) -> None:
        super().__init__()
        self.encoder = mini_zoo().clip("guide")
        self.model = self.encoder.model

    def encode_image(self, images: Tensor) -> Tensor:
        return self.encoder.encode_image(F.adaptive_avg_pool2d(images, self.encoder.input_size))

    def encode_text(self, texts: list[str]) -> Tensor:
        return self.encoder.encode_text(texts)


def official(folders: dict[str, Path]) -> Job:
    clip = OpenAiClip(mini_zoo().clip("guide"))
    side = clip.clip.input_size

    def similarity(images: Tensor, texts: Tensor) -> tuple[Tensor, None]:
        seen = clip.encode_image(F.adaptive_avg_pool2d(images, side))
        return 100 * F.normalize(seen, dim=1) @ F.normalize(texts, dim=1).T, None

    module: Any = types.ModuleType("clip")
    module.tokenize = lambda text: clip.encode_text(Sentences(text))
    module.load = lambda name, device: (similarity, None)
    sys.modules["clip"] = module
    script = on_cpu()
    generator = filled(script.Generator(SIZE, EDIT_DIM, LAYERS), "edit")
    script.Generator = lambda size, dim, layers: generator
    load = torch.load

    def job(steps: int, ready: Ready) -> None:
        def loaded(path: str, **options: Any) -> Any:
            if path == "latent":
                ready()
                return edit_start(ROWS)
            if path == "ckpt":
                return {"g_ema": generator.state_dict()}
            return TinyFace().state_dict() if path == "face" else load(path, **options)

        with tempfile.TemporaryDirectory() as folder:
            arguments = SimpleNamespace(
                description=PROMPT, ckpt="ckpt", stylegan_size=SIZE, lr_rampup=0.05, lr=0.1,
                step=steps, mode="edit", l2_lambda=L2, id_lambda=IDENTITY, latent_path="latent",
                truncation=0.7, work_in_stylespace=False, save_intermediate_image_every=0,
                results_dir=folder, ir_se50_weights="face",
            )  # fmt: skip
            with (
                patch.object(torch, "load", loaded),
                patch.object(script, "ensure_checkpoint_exists", lambda path: None),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                script.main(arguments)

    return job


def ours() -> Job:
    generator = official_generator({"size": SIZE, "style_dim": EDIT_DIM, "n_mlp": LAYERS})
    clip = LargeView()
    zoo: Any = SimpleNamespace(
        generator=lambda: generator, clip=lambda role: clip, face=TinyFace,
        vgg=lambda: None,
    )  # fmt: skip

    def job(steps: int, ready: Ready) -> None:
        method = StyleClip(StyleClipConfig(steps=steps, identity=IDENTITY, l2=L2))
        method.prepare(zoo)
        with torch.no_grad():
            text = F.normalize(clip.encode_text([PROMPT]), dim=-1)
        start = edit_start(ROWS)
        ready()
        method.edit(start, text)

    return job
