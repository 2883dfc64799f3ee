"""Writes styleclip.safetensors: losses and a whole latent optimisation of the official StyleCLIP.

``python -m tests.golden.make_styleclip --styleclip DIR`` with a checkout of
github.com/orpatashnik/StyleCLIP at f87a47f. Its ``main`` runs on the CPU (``.cuda()`` is made to do
nothing) with its own generator at 32 pixels, and tiny networks in the place of CLIP and ArcFace.
"""

from __future__ import annotations

import sys
import tempfile
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.golden.make_stylegan2 import filled
from tests.golden.official_format import TinyEncoder
from tests.golden.stylegan2_case import (
    CLIP_SIDE,
    CLIP_STEPS,
    EDIT_DIM,
    EDIT_LAYERS,
    EDIT_SIZE,
    ID_WEIGHT,
    L2_WEIGHT,
    TARGET,
    TINY_SIDE,
    TinyFace,
    edit_pictures,
    edit_start,
    text_embedding,
)
from tests.golden.upstream import HERE, checkouts, contiguous, official


def stand_in_clip() -> Any:
    """A module in the place of OpenAI's ``clip``."""
    encoder = TinyEncoder()

    def model(images: Tensor, text: Tensor) -> tuple[Tensor, None]:
        assert images.shape[2:] == (CLIP_SIDE, CLIP_SIDE)
        seen = encoder.encode_image(F.adaptive_avg_pool2d(images, TINY_SIDE))
        return 100 * F.cosine_similarity(seen, text_embedding(TARGET))[:, None], None

    module: Any = types.ModuleType("clip")
    module.tokenize = lambda text: torch.zeros(1, 77)
    module.load = lambda name, device: (model, None)
    return module


def on_cpu() -> Any:
    """``run_optimization``, whose tensors stay where they are, with a small layer for ArcFace."""
    kinds: tuple[Any, ...] = (Tensor, nn.Module)
    for kind in kinds:
        kind.cuda = lambda self, *args, **kwargs: self
    official("criteria.id_loss").Backbone = lambda **kwargs: TinyFace()
    return official("optimization.run_optimization")


def main() -> None:
    checkouts("styleclip")
    sys.modules["clip"] = stand_in_clip()
    script = on_cpu()
    generator = filled(script.Generator(EDIT_SIZE, EDIT_DIM, EDIT_LAYERS), "edit")
    script.Generator = lambda size, dim, layers: generator
    latents: list[Tensor] = []
    adam = script.optim.Adam
    script.optim = SimpleNamespace(Adam=lambda p, lr: (latents.extend(p), adam(p, lr=lr))[1])
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / name) for name in ("ckpt", "latent", "face")}
        torch.save({"g_ema": generator.state_dict()}, paths["ckpt"])
        torch.save(edit_start(), paths["latent"])
        torch.save(TinyFace().state_dict(), paths["face"])
        arguments = SimpleNamespace(
            description=TARGET, ckpt=paths["ckpt"], stylegan_size=EDIT_SIZE, lr_rampup=0.05, lr=0.1,
            step=CLIP_STEPS, mode="edit", l2_lambda=L2_WEIGHT, id_lambda=ID_WEIGHT,
            latent_path=paths["latent"], truncation=0.7, work_in_stylespace=False,
            save_intermediate_image_every=0, results_dir=folder, ir_se50_weights=paths["face"],
        )  # fmt: skip
        result = script.main(arguments)
        pictures = [edit_pictures(name) for name in ("a", "b")]
        out = {
            "pictures": result,
            "latent": latents[0],
            "clip": script.CLIPLoss(arguments)(pictures[0], None)[:, 0],
            "identity": script.IDLoss(arguments)(*pictures)[0],
            "rates": torch.tensor([script.get_lr(i / 20, 0.1) for i in range(20)]),
        }
    # how 64 pixels come to CLIP
    big = torch.cat([edit_pictures("a")] * 2, 3).repeat(1, 1, 2, 1) * torch.linspace(0, 1, 64)
    loss = script.CLIPLoss(SimpleNamespace(stylegan_size=64))
    out["view"] = loss.avg_pool(loss.upsample(big))[:, :, ::16, ::7]
    save_file(contiguous(out), HERE / "styleclip.safetensors")


if __name__ == "__main__":
    main()
