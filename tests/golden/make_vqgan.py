"""Writes vqgan.safetensors and vqgan_shapes.json with the official VQModel.

``python -m tests.golden.make_vqgan --taming DIR --packages DIR`` with a checkout of
github.com/CompVis/taming-transformers at 3ba01b2 and a folder with einops 0.8.2, which it imports.
The losses, which need LPIPS weights, are replaced by nothing.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from tests.golden.official_format import shapes_of
from tests.golden.upstream import HERE, checkouts, contiguous, official
from tests.golden.vqgan_case import (
    ARCHITECTURE,
    CODES,
    EMBED_DIM,
    PUBLISHED,
    digest,
    images,
    vqgan_state,
)


def official_vqgan_module() -> Any:
    """``taming.models.vqgan`` without the training script that it imports for its losses."""
    main_script: Any = types.ModuleType("main")
    main_script.instantiate_from_config = lambda config: nn.Identity()
    sys.modules["main"] = main_script
    return official("taming.models.vqgan")


def official_vqgan(ddconfig: Mapping[str, Any], n_embed: int, embed_dim: int) -> Any:
    """The official class for an architecture."""
    model = official_vqgan_module().VQModel(
        dict(ddconfig), None, n_embed=n_embed, embed_dim=embed_dim
    )
    return model.eval().requires_grad_(False)


def main() -> None:
    checkouts("taming", "packages")
    model = official_vqgan(ARCHITECTURE, CODES, EMBED_DIM)
    model.load_state_dict(vqgan_state(shapes_of(model)))
    z = model.quant_conv(model.encoder(images()))
    quantised, _, (_, _, indices) = model.encode(images())
    chosen = int(indices.unique().numel())
    if chosen < CODES // 4:
        raise RuntimeError(f"only {chosen} codes are used: the test would say little")
    out = {"z": z, "quantised": quantised, "indices": indices, "decoded": model.decode(quantised)}
    save_file(contiguous(out), HERE / "vqgan.safetensors")
    facts = {}
    for name, architecture in PUBLISHED.items():
        with torch.device("meta"):
            shapes = shapes_of(official_vqgan(**architecture))
        facts[name] = {"tensors": len(shapes), "sha256": digest(shapes)}
    (HERE / "vqgan_shapes.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
