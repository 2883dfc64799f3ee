"""Models of the registry's architectures with random weights: no checkpoint is read or fetched.

For smoke runs, which show that shapes, wiring and memory are right before gigabytes are fetched.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from benchmark.diffusion.unet import UNet, UNetConfig
from benchmark.errors import WeightsError
from benchmark.zoo.models import ModelZoo, assemble, require_loader
from benchmark.zoo.registry import Kind, ModelCard

RANDOM = "random weights"


def random_state(card: ModelCard) -> dict[str, Tensor]:
    """A state dict as the card's checkpoint has it, by name and shape, float32 on the CPU.

    The same card gives the same values; the global random state is left as it was. Weights that a
    constructor sets to zero are drawn as well, so that no branch of the network is idle.

    Raises:
        UsageError: there is no loader for models of its kind.
        WeightsError: the card does not say the architecture.
    """
    require_loader(card)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(card))
        try:
            model = _CONSTRUCTORS[card.kind](card)
        except (ValidationError, TypeError, KeyError) as error:
            raise WeightsError(
                f"the architecture of {card.id!r} in the registry is incomplete: {error}"
            ) from error
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                nn.init.normal_(parameter, std=1 / math.sqrt(parameter[0].numel()))
    return {name: value.detach() for name, value in model.state_dict().items()}


def _seed(card: ModelCard) -> int:
    return int.from_bytes(hashlib.sha256(card.id.encode()).digest()[:8], "big") >> 1


class RandomZoo(ModelZoo):
    """A zoo whose models have random weights; everything else is as in :class:`ModelZoo`."""

    def verified_hashes(self, roles: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """As in :class:`ModelZoo`, with a hash that no file has and ``random_weights`` set."""
        return {
            role: {**facts, "file": None, "pinned": False, "random_weights": True}
            for role, facts in super().verified_hashes(roles).items()
        }

    def _verify(self, card: ModelCard) -> str:
        return hashlib.sha256(f"{RANDOM} {card.id} {_seed(card)}".encode()).hexdigest()

    def _load(self, card: ModelCard) -> nn.Module:
        return assemble(card, random_state(card))


def _options(card: ModelCard) -> dict[str, Any]:
    return dict(card.architecture) if isinstance(card.architecture, dict) else {}


def _unet(card: ModelCard) -> nn.Module:
    return UNet(UNetConfig.model_validate(card.architecture))


def _clip(card: ModelCard) -> nn.Module:
    from benchmark.zoo.clip import build_clip

    return build_clip(str(card.architecture), _seed(card) % 2**32)


def _vgg(card: ModelCard) -> nn.Module:
    from benchmark.zoo.vgg import VggFeatures

    return VggFeatures(**_options(card))


def _dino(card: ModelCard) -> nn.Module:
    from benchmark.zoo.dino import DinoViT

    return DinoViT(**_options(card))


def _face(card: ModelCard) -> nn.Module:
    from benchmark.zoo.face import FaceEmbedder

    return FaceEmbedder(**_options(card))


def _facenet(card: ModelCard) -> nn.Module:
    from facenet_pytorch import InceptionResnetV1

    network: nn.Module = InceptionResnetV1(pretrained=None, classify=False)
    return network


def _arcface(card: ModelCard) -> nn.Module:
    from benchmark.zoo.face_official import ArcFaceIrSe50

    return ArcFaceIrSe50()


def _vqgan(card: ModelCard) -> nn.Module:
    from benchmark.zoo.vqgan import VqGan, VqGanConfig

    return VqGan(VqGanConfig.model_validate(card.architecture))


def _stylegan2(card: ModelCard) -> nn.Module:
    from benchmark.zoo.stylegan2 import StyleGan2, StyleGan2Config

    return StyleGan2(StyleGan2Config.model_validate(card.architecture))


def _adain(card: ModelCard) -> nn.Module:
    from benchmark.zoo.adain import AdaInDecoder

    return AdaInDecoder(**_options(card))


def _normalised_vgg(card: ModelCard) -> nn.Module:
    from benchmark.zoo.adain import NormalisedVgg

    # its file holds the bare sequence
    return NormalisedVgg(**_options(card)).layers


def _inception(card: ModelCard) -> nn.Module:
    from benchmark.metrics.inception import FidInception

    return FidInception()


_CONSTRUCTORS: dict[Kind, Callable[[ModelCard], nn.Module]] = {
    "unet": _unet,
    "clip": _clip,
    "vgg": _vgg,
    "dino": _dino,
    "face": _face,
    "facenet": _facenet,
    "arcface": _arcface,
    "vqgan": _vqgan,
    "stylegan2": _stylegan2,
    "adain": _adain,
    "vgg-normalised": _normalised_vgg,
    "inception": _inception,
}
