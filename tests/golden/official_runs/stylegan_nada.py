"""StyleGAN-NADA's ``ZSSGAN`` and the loop of ``train.py``, beside ``StyleGanNada.tune``.

Generator: the official class at 32 pixels with drawn weights; CLIP: the mini one. The official pair
of generators is loaded beforehand; the maker's loop copies one to compare with, as ours copies the
one that it tunes, so both hold one copy above what was loaded.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from baselines.stylegan_nada import StyleGanNada, StyleGanNadaConfig
from tests.baselines.stylegan_zoo import official_generator
from tests.golden import make_stylegan_nada
from tests.golden.make_stylegan2 import official_model
from tests.golden.official_runs.setting import (
    PROMPT,
    SOURCE_PROMPT,
    Job,
    OpenAiClip,
    Ready,
    Sentences,
    mini_zoo,
)
from tests.golden.stylegan2_case import EDIT_DIM, EDIT_LAYERS, EDIT_SIZE
from tests.golden.upstream import official as imported

CHECKOUTS = ("nada",)
STEPS = 3
BATCH, CHOICE, LAYERS = 2, 8, 8  # as at 1,024 pixels, where the default of 18 is all
NOTE = f"the loop of train.py, {STEPS} of 301 updates, official generator at {EDIT_SIZE}"


class _Clip(OpenAiClip):
    def forward(self, images: Tensor, texts: Sentences) -> tuple[Tensor, None]:
        seen, said = self.encode_image(images), self.encode_text(texts)
        unit = torch.nn.functional.normalize
        return 100 * unit(seen, dim=1) @ unit(said, dim=1).T, None


def official(folders: dict[str, Path]) -> Job:
    sys.path.insert(0, str(folders["nada"] / "ZSSGAN"))
    module: Any = types.ModuleType("clip")
    module.tokenize = Sentences
    sys.modules["clip"] = module
    sys.modules["ZSSGAN.legacy"] = types.ModuleType("ZSSGAN.legacy")
    clip = _Clip(mini_zoo().clip("guide"))
    kind: Any = Tensor
    kind.cpu = lambda self: self.clone()  # see the maker
    zssgan = official_model("ZSSGAN.model.ZSSGAN")
    criteria = imported("ZSSGAN.criteria.clip_loss")
    mixing_noise = imported("ZSSGAN.utils.training_utils").mixing_noise

    def job(steps: int, ready: Ready) -> None:
        with patch.multiple(
            make_stylegan_nada, SIZE=EDIT_SIZE, NADA_STEPS=steps, NADA_BATCH=BATCH,
            NADA_CHOICE=CHOICE, SOURCE=SOURCE_PROMPT, TARGET=PROMPT,
            TINY_SIDE=clip.clip.input_size, StandInClip=lambda: clip,
            edit_start=lambda rows: torch.zeros(1, 8, EDIT_DIM),
        ):  # fmt: skip
            net = make_stylegan_nada.network(zssgan, criteria, LAYERS, 1)
            ready()
            make_stylegan_nada.tuned(net, mixing_noise)

    return job


def ours() -> Job:
    architecture = {"size": EDIT_SIZE, "style_dim": EDIT_DIM, "n_mlp": EDIT_LAYERS}
    generator = official_generator(architecture)
    clip = mini_zoo().clip("guide")
    zoo: Any = SimpleNamespace(
        generator=lambda: generator, clip=lambda role: clip, vgg=lambda: None,
        verified_hashes=lambda roles: {role: {"sha256": role} for role in roles},
    )  # fmt: skip

    def job(steps: int, ready: Ready) -> None:
        method = StyleGanNada(
            StyleGanNadaConfig(
                iterations=steps, batch=BATCH, auto_layer_batch=CHOICE, auto_layer_k=LAYERS
            )
        )
        method.prepare(zoo)
        ready()
        direction = method.text_direction(SOURCE_PROMPT, PROMPT)
        method.tune(direction, method.unit_text(PROMPT))

    return job
