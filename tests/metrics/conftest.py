"""Small encoders of known weights behind the zoo's interface, and photographs to score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data, transform
from torch import Tensor, nn

from benchmark.zoo.dino import DinoViT
from benchmark.zoo.face import FaceAligner, FaceEmbedder
from benchmark.zoo.vgg import VggFeatures

M = TypeVar("M", bound=nn.Module)


class TinyClip(nn.Module):
    """A CLIP whose weights are sines, so that its numbers are the same with every torch."""

    name = "tiny"
    input_size = 16

    def encode_image(self, images: Tensor) -> Tensor:
        if images.shape[1:] != (3, self.input_size, self.input_size):
            raise ValueError(f"expected {self.input_size} x {self.input_size} images")
        pooled = F.adaptive_avg_pool2d(images, 4).flatten(1)
        weight = torch.arange(48 * 12, dtype=torch.float64).mul(1.7).sin().view(48, 12)
        return (pooled @ weight.float()).tanh() + 0.1

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        rows = []
        for prompt in prompts:
            codes = torch.tensor([ord(character) for character in prompt], dtype=torch.float64)
            rows.append(torch.stack([(codes * (k + 1) * 0.37).sin().sum() for k in range(12)]))
        return torch.stack(rows).float()

    def resize(self, images: Tensor) -> Tensor:
        size = (self.input_size, self.input_size)
        return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def seeded(build: Callable[[], M]) -> M:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build().eval().requires_grad_(False)


class TinyZoo:
    """The zoo's roles, filled with small untrained networks."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self._clip = TinyClip()
        self._vgg = seeded(lambda: VggFeatures((4, 4, 8, 8, 8)))
        self._dino = seeded(lambda: DinoViT(patch=8, width=64, depth=2))
        self._face = seeded(lambda: FaceEmbedder((4, 4, 8, 8), dim=16))

    def clip(self, role: str) -> TinyClip:
        assert role == "judge", "only the judge may score"
        return self._clip

    def vgg(self) -> VggFeatures:
        return self._vgg

    def dino(self) -> DinoViT:
        return self._dino

    def face(self, role: str = "face") -> FaceEmbedder:
        return self._face


@pytest.fixture(scope="session")
def zoo() -> TinyZoo:
    return TinyZoo()


@pytest.fixture(scope="session")
def aligner() -> FaceAligner:
    return FaceAligner("cpu")


@pytest.fixture(scope="session")
def scaled_vgg() -> VggFeatures:
    """Untrained, with He's scale of the weights: with PyTorch's the deep maps are all but zero."""
    model = seeded(lambda: VggFeatures((4, 4, 8, 8, 8)))
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            layer.weight.mul_(6**0.5)
    return model


def _square(picture: np.ndarray, top: int, left: int, side: int) -> Tensor:
    window = picture[top : top + side, left : left + side, :3]
    small = transform.resize(window, (64, 64), anti_aliasing=True)
    return torch.from_numpy((small * 255).round().astype(np.uint8)).permute(2, 0, 1)


@pytest.fixture(scope="session")
def photos() -> Tensor:
    """Five photographs, uint8 [5, 3, 64, 64]; the first one shows a face."""
    return torch.stack(
        [
            _square(data.astronaut(), 20, 130, 190),
            _square(data.chelsea(), 0, 80, 300),
            _square(data.coffee(), 0, 100, 400),
            _square(data.rocket(), 0, 100, 420),
            _square(data.astronaut(), 250, 200, 250),
        ]
    )


@pytest.fixture(scope="session")
def noisy(photos: Tensor) -> Callable[[float], Tensor]:
    """The photographs under Gaussian noise of a given strength in grey levels."""
    noise = torch.randn(photos.shape, generator=torch.Generator().manual_seed(0))

    def add(strength: float) -> Tensor:
        return (photos + strength * noise).round().clamp(0, 255).to(torch.uint8)

    return add
