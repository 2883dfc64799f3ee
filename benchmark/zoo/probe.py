"""One forward pass of a model, as methods and metrics call it, on a random image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.zoo.models import ModelZoo
from benchmark.zoo.registry import Kind, ModelCard

Probe = Callable[[Any, int, torch.device], str]


@torch.no_grad()
def forward_once(zoo: ModelZoo, role: str, card: ModelCard, resolution: int) -> tuple[str, int]:
    """Load a role's model if need be and run it once.

    Args:
        resolution: of the run's images in pixels; models with an input size of their own get that.

    Returns:
        the input in words, and the number of the model's parameters.
    """
    model = _load(zoo, role, card.kind)
    shown = _PROBES[card.kind](model, resolution, zoo.device)
    return shown, sum(parameter.numel() for parameter in model.parameters())


def _load(zoo: ModelZoo, role: str, kind: Kind) -> nn.Module:
    if kind == "clip":
        return zoo.clip(role)
    if kind in ("face", "facenet", "arcface"):
        return zoo.face(role)
    if role == "adain-encoder":
        return zoo.adain_encoder()
    load: Callable[[], nn.Module] = {
        "unet": zoo.denoiser, "vgg": zoo.vgg, "dino": zoo.dino, "vqgan": zoo.vqgan,
        "stylegan2": zoo.generator, "adain": zoo.adain_decoder,
    }[kind]  # fmt: skip
    return load()


def _images(side: int, device: torch.device, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    return (2 * torch.rand(1, channels, side, side, generator=generator) - 1).to(device)


def _square(side: int) -> str:
    return f"{side}x{side}"


def _unet(model: Any, resolution: int, device: torch.device) -> str:
    side = model.unet.config.image_size
    labels = None if model.classes is None else torch.zeros(1, dtype=torch.int64, device=device)
    model(_images(side, device), torch.ones(1, device=device), labels)
    return _square(side)


def _clip(model: Any, resolution: int, device: torch.device) -> str:
    model.encode_image(_images(model.input_size, device))
    model.encode_text(["Photo"])
    return f"{_square(model.input_size)}, {model.context_length} tokens"


def _vgg(model: Any, resolution: int, device: torch.device) -> str:
    model(_images(resolution, device), ["conv5_4"])
    return _square(resolution)


def _normalised_vgg(model: Any, resolution: int, device: torch.device) -> str:
    model(_images(resolution, device), ["conv4_1"])
    return _square(resolution)


def _dino(model: Any, resolution: int, device: torch.device) -> str:
    model.keys(_images(resolution, device))
    return _square(resolution)


def _face(model: Any, resolution: int, device: torch.device) -> str:
    model.embed(_images(model.input_size, device))
    return _square(model.input_size)


def _vqgan(model: Any, resolution: int, device: torch.device) -> str:
    model(_images(resolution, device))
    return _square(resolution)


def _stylegan2(model: Any, resolution: int, device: torch.device) -> str:
    model(model.latent_avg[None])
    return f"{model.config.style_dim} numbers, draws {_square(model.config.size)}"


def _adain(model: Any, resolution: int, device: torch.device) -> str:
    side = resolution // model.reduction
    model(_images(side, device, model.width))
    return f"{model.width}x{_square(side)}, draws {_square(resolution)}"


_PROBES: dict[Kind, Probe] = {
    "unet": _unet,
    "clip": _clip,
    "vgg": _vgg,
    "dino": _dino,
    "face": _face,
    "facenet": _face,
    "arcface": _face,
    "vqgan": _vqgan,
    "stylegan2": _stylegan2,
    "adain": _adain,
    "vgg-normalised": _normalised_vgg,
}
