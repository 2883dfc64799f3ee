"""Weights and inputs of the full-size encoders' golden outputs, drawn from names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.golden.official_format import CLIP_MEAN, CLIP_STD, picture

# open_clip's names of OpenAI's architectures, with the arguments of the official class
CLIPS: dict[str, dict[str, object]] = {
    "ViT-B-32-quickgelu": {"embed_dim": 512, "vision_layers": 12, "vision_width": 768,
                           "vision_patch_size": 32},
    "ViT-B-16-quickgelu": {"embed_dim": 512, "vision_layers": 12, "vision_width": 768,
                           "vision_patch_size": 16},
    "RN50-quickgelu": {"embed_dim": 1024, "vision_layers": (3, 4, 6, 3), "vision_width": 64,
                       "vision_patch_size": None},
}  # fmt: skip
PROMPTS = ("A sketch with crayon", "Photo")
# ids of the prompts by the official tokenizer, between those of start and end of text
TOKENS = ((49406, 320, 5269, 593, 41801, 49407), (49406, 1125, 49407))
SIGLIP = "ViT-B-16-SigLIP"
SIGLIP_TOKENS = ((262, 266, 1304, 5, 1), (17, 1))  # any ids; 1 ends and pads
# (height, width) in pixels; DINO interpolates its positions for them
DINO_SIZES = ((64, 64), (96, 64))
DINO_WIDTHS = {"dino-vit-b-8": 768, "dino-vit-s-8": 384}
DINO_PLACES = slice(None, None, 16)  # of the patches whose keys are stored


def clip_pixels(size: int = 224) -> Tensor:
    """[1, 3, size, size] as OpenAI's preprocessing gives them to the encoder."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return ((image(size) + 1) / 2 - mean) / std


def image(height: int = 224, width: int | None = None) -> Tensor:
    """[1, 3, height, width] in [-1, 1]."""
    side = max(height, width or height)
    return picture("full-size", side)[:, :, :height, : width or height]


def padded(tokens: Sequence[Sequence[int]], context: int, pad: int) -> Tensor:
    """Token ids [N, context]."""
    rows = [[*row, *[pad] * (context - len(row))] for row in tokens]
    return torch.tensor(rows)
