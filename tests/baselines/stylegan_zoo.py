"""Tiny networks for the tests of StyleCLIP and StyleGAN-NADA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.interface import StyleBatch, StyleRequest
from benchmark.zoo.stylegan2 import StyleGan2, StyleGan2Config
from benchmark.zoo.stylegan2_encoder import EncoderConfig
from benchmark.zoo.vgg import VggFeatures
from tests.golden.official_format import (
    CLIP_MEAN,
    CLIP_STD,
    VGG_WIDTHS,
    TinyEncoder,
    filled_state,
    picture,
    shapes_of,
)
from tests.golden.stylegan2_case import TINY_SIDE, TinyFace, edit_state, text_embedding


class TinyClip(nn.Module):
    """The encoder of the golden numbers as a CLIP that reads ``side`` pixels."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.input_size = side
        self.encoder = TinyEncoder()
        visual = SimpleNamespace(image_mean=CLIP_MEAN, image_std=CLIP_STD)
        self.model = SimpleNamespace(visual=visual)

    def encode_image(self, images: Tensor) -> Tensor:
        assert images.shape[2:] == (self.input_size, self.input_size)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        x = F.adaptive_avg_pool2d(((images + 1) / 2 - mean) / std, TINY_SIDE)
        out: Tensor = self.encoder.encode_image(x)
        return out

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        return torch.cat([text_embedding(prompt) for prompt in prompts])


class StyleGanZoo:
    """What both methods ask for.

    Args:
        generator: of any size.
        side: what the CLIP reads.
    """

    def __init__(self, generator: StyleGan2, side: int) -> None:
        self._generator = generator
        self._clip = TinyClip(side)
        weights = filled_state(shapes_of(VggFeatures(VGG_WIDTHS)), "vgg")
        self._vgg = VggFeatures.from_state_dict(weights)
        self._face = TinyFace()

    def generator(self) -> StyleGan2:
        return self._generator

    def clip(self, role: str) -> Any:
        assert role == "guide", "the judge must not guide"
        return self._clip

    def vgg(self) -> VggFeatures:
        return self._vgg

    def face(self) -> Any:
        return self._face

    def verified_hashes(self, roles: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {role: {"sha256": f"hash of the {role}"} for role in roles}


def official_generator(architecture: dict[str, int]) -> StyleGan2:
    """The generator that the makers of golden numbers fill."""
    with torch.device("meta"):
        shapes = shapes_of(StyleGan2(StyleGan2Config(**architecture)))
    shapes.pop("latent_avg")
    state = edit_state(shapes)
    with torch.random.fork_rng(devices=[]):
        model = StyleGan2(StyleGan2Config(**architecture))
    kernels = {k: v for k, v in model.state_dict().items() if k.endswith("kernel")}
    return StyleGan2.from_state_dict(state | kernels, architecture)


def small_generator(encoder: bool = False) -> StyleGan2:
    """16 pixels, 8 channels: quick, and calm enough that its pictures stay in range."""
    config = StyleGan2Config(
        size=16, style_dim=16, n_mlp=1, channels=(8, 8, 8),
        encoder=EncoderConfig(channels=(4, 8, 8)) if encoder else None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = StyleGan2(config)
    return model.eval().requires_grad_(False)


def batch(count: int = 1, side: int = 16, domain: str = "faces") -> StyleBatch:
    requests = tuple(
        StyleRequest(f"i{k}__p", f"i{k}", domain, "p", "sketch", "photo") for k in range(count)
    )
    return StyleBatch(picture("stylegan", side, batch=count), requests)
