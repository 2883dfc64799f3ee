"""A zoo of tiny networks with fixed random weights, for the tests of methods."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.diffusion.unet import UNet, UNetConfig
from benchmark.zoo.denoiser import Denoiser
from benchmark.zoo.vgg import VggFeatures
from tests.golden.official_format import (
    CLIP_MEAN,
    CLIP_STD,
    EDITOR_CROP_SIZE,
    EDITOR_UNET,
    VGG_WIDTHS,
    TinyEncoder,
    filled_state,
    shapes_of,
)
from tests.golden.zecon_case import prompt_embedding


class TinyClip(nn.Module):
    """The encoder of the golden numbers behind the interface of a CLIP."""

    input_size = EDITOR_CROP_SIZE

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TinyEncoder()

    def encode_image(self, images: Tensor) -> Tensor:
        assert images.shape[2:] == (self.input_size, self.input_size)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        out: Tensor = self.encoder.encode_image(((images + 1) / 2 - mean) / std)
        return out

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        return torch.cat([prompt_embedding(prompt) for prompt in prompts])

    def resize(self, images: Tensor) -> Tensor:
        return F.interpolate(images, self.input_size, mode="bicubic", antialias=True)


class TinyZoo:
    """Denoiser (32x32, input blocks 0 to 11), guide and VGG with weights drawn from names.

    Args:
        classes: names of classes; the denoiser is unconditional without.
        calm: a factor of the denoiser's output. A random network otherwise amplifies rounding.
    """

    def __init__(self, classes: Sequence[str] | None = None, calm: float = 1.0) -> None:
        config = {**EDITOR_UNET, "num_classes": None if classes is None else len(classes)}
        unet = UNet(UNetConfig.model_validate(config))
        state = filled_state(shapes_of(unet), "editor")
        for name in state:
            if name.startswith("out.2."):
                state[name] *= calm
        unet.load_state_dict(state)
        self._denoiser = Denoiser(unet.eval().requires_grad_(False), classes)
        self._clip = TinyClip()
        weights = filled_state(shapes_of(VggFeatures(VGG_WIDTHS)), "vgg")
        self._vgg = VggFeatures.from_state_dict(weights)

    def denoiser(self) -> Denoiser:
        return self._denoiser

    def clip(self, role: str) -> Any:
        assert role == "guide", "the judge must not guide"
        return self._clip

    def vgg(self) -> VggFeatures:
        return self._vgg

    def verified_hashes(self, roles: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The weights are drawn from names, so a role's name is their hash."""
        return {role: {"sha256": hashlib.sha256(role.encode()).hexdigest()} for role in roles}
