"""A critic that sees pictures through a network trained on ImageNet (Projected GANs).

Sauer et al. 2021 (arXiv 2111.01007): the discriminators stand behind the frozen features of an
EfficientNet at four scales, mixed by convolutions that stay as they were drawn. Such a critic knows
from the first step what an edge or an eye is, and a generator learns in a fraction of the pictures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmark.zoo.stylegan2_encoder import SLOPE

from .imagenet_teacher import PYRAMID_CHANNELS

WIDTH = 64  # channels to which each scale is mixed


class ScaleCritic(nn.Module):
    """Logits of patches from one scale's maps [N, C, h, w], brought down to 4 x 4 positions.

    Args:
        side: h = w, a power of two, 4 or more.
        width: of the hidden layers.
    """

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = WIDTH
        while side > 4:
            layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
            inputs, side = width, side // 2
        layers += [spectral_norm(nn.Conv2d(inputs, width, 3, 1, 1)), nn.LeakyReLU(SLOPE)]
        layers += [spectral_norm(nn.Conv2d(width, 1, 3, 1, 1))]
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        """[N, C, h, w] -> logits [N, 4, 4]."""
        logits: Tensor = self.layers(maps)[:, 0]
        return logits


class ProjectedCritic(nn.Module):
    """Four discriminators behind frozen features.

    Args:
        seed: of the mixing convolutions, which are drawn and never trained.
        width: of the discriminators' hidden layers.
    """

    def __init__(self, seed: int, width: int = 96) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.channels = nn.ModuleList(nn.Conv2d(c, WIDTH, 1, bias=False) for c in PYRAMID_CHANNELS)
        self.scales = nn.ModuleList(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False) for _ in PYRAMID_CHANNELS
        )
        for mixing in [*self.channels, *self.scales]:
            assert isinstance(mixing, nn.Conv2d)
            nn.init.kaiming_normal_(mixing.weight, nonlinearity="linear", generator=generator)
            mixing.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.critics = nn.ModuleList(
                ScaleCritic(32 >> k, width) for k in range(len(self.scales))
            )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Logits [N, 4 scales, 16 places] of the teacher's maps: higher for a photo."""
        mixed: list[Tensor] = []
        above: Tensor | None = None
        for maps_of_scale, channels, scale in reversed(
            list(zip(maps, self.channels, self.scales, strict=True))
        ):
            here = channels(maps_of_scale)
            if above is not None:
                here = here + F.interpolate(above, scale_factor=2, mode="bilinear")
            above = scale(here)
            mixed.insert(0, above)
        parts = [critic(x).flatten(1) for critic, x in zip(self.critics, mixed, strict=True)]
        return torch.stack(parts, 1).float()
