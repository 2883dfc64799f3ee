"""What the makers of vqgan.safetensors and vqgan_clip.safetensors share with the tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tests.golden.official_format import filled_state, named_normal, picture

# two levels, attention in the coarse one, 2x2 pixels a code
ARCHITECTURE: dict[str, Any] = {
    "ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (8,), "resolution": 16,
    "in_channels": 3, "out_ch": 3, "z_channels": 6, "double_z": False, "dropout": 0.0,
}  # fmt: skip
EMBED_DIM, CODES = 4, 32
# the published checkpoints: their YAML files differ in the number of codes alone
PUBLISHED: dict[str, dict[str, Any]] = {
    f"vqgan_imagenet_f16_{codes}": {
        "ddconfig": {
            "ch": 128, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 2, "attn_resolutions": (16,),
            "resolution": 256, "in_channels": 3, "out_ch": 3, "z_channels": 256,
            "double_z": False, "dropout": 0.0,
        },
        "n_embed": codes, "embed_dim": 256,
    }
    for codes in (1024, 16384)
}  # fmt: skip

SIDE = 32  # of the pictures that VQGAN-CLIP changes; the tiny CLIP reads 16
CUTS = 6
RUN = 3
PROMPT = "golden"


def vqgan_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Weights whose latents spread over many codes."""
    state = filled_state(shapes, "vqgan")
    state["quantize.embedding.weight"] = named_normal("vqgan/codes", (CODES, EMBED_DIM))
    return state


def images() -> Tensor:
    """[2, 3, 24, 16] in [-1, 1]: not square, so that rows and columns cannot be mixed up."""
    return torch.cat([picture(f"vqgan/{k}", 24)[..., 4:20] for k in range(2)])


def digest(shapes: Mapping[str, Sequence[int]]) -> str:
    """SHA-256 of the sorted names and shapes."""
    lines = sorted((name, list(shape)) for name, shape in shapes.items())
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()
