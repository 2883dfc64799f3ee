"""CLIP encoders through open_clip: the shipped mini models and any other open_clip model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import UsageError

CONFIGS = Path(__file__).parent / "mini" / "configs"


def build_clip(architecture: str, seed: int = 0) -> nn.Module:
    """An untrained open_clip model.

    Args:
        architecture: a configuration of the mini zoo (``clip-guide``, ``clip-score``) or any name
            that open_clip knows.
        seed: of the initial weights; the global random state is left as it was.
    """
    if architecture not in open_clip.list_models():
        open_clip.add_model_config(CONFIGS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = open_clip.create_model(architecture, precision="fp32", device="cpu")
    return model


def normalise(model: nn.Module, images: Tensor) -> Tensor:
    """[-1, 1] images in the model's own mean and standard deviation."""
    visual: Any = model.visual
    mean = images.new_tensor(visual.image_mean).view(3, 1, 1)
    std = images.new_tensor(visual.image_std).view(3, 1, 1)
    return ((images + 1) / 2 - mean) / std


def tokenise(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Token ids [N, context] of prompts.

    Raises:
        UsageError: if there is no prompt, or one is empty or longer than the context.
    """
    if not prompts:
        raise UsageError("no prompt was given: name at least one style in words")
    room = tokenizer.context_length - 2  # start and end token
    for prompt in prompts:
        if not prompt.strip():
            raise UsageError(f"the prompt {prompt!r} is empty: describe the style in words")
        length = len(tokenizer.encode(prompt))
        if length > room:
            raise UsageError(
                f"the prompt {prompt!r} has {length} tokens, but the text encoder reads at most "
                f"{room}: shorten it"
            )
    tokens: Tensor = tokenizer(list(prompts))
    return tokens
