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
    """Logits of patches from one scale's maps [N, C, h, w], brought down to 4 x 4 or fewer.

    Args:
        side: h = w.
        width: of the hidden layers.
        classes: of which each has a last layer of its own beside the common one, as in the
            projection discriminator (Miyato & Koyama 2018, arXiv 1802.05637).
    """

    def __init__(self, side: int, width: int, classes: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = WIDTH
        while side > 4:
            layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
            inputs, side = width, side // 2
        layers += [spectral_norm(nn.Conv2d(inputs, width, 3, 1, 1)), nn.LeakyReLU(SLOPE)]
        layers += [spectral_norm(nn.Conv2d(width, 1 + classes, 3, 1, 1))]
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, C, h, w], and the pictures' classes [N] where it knows any -> logits [N, h', w']."""
        outputs: Tensor = self.layers(maps)
        if labels is None:
            return outputs[:, 0]
        return outputs[:, 0] + outputs[torch.arange(len(maps), device=maps.device), 1 + labels]


class ProjectedCritic(nn.Module):
    """Four discriminators behind frozen features.

    Args:
        seed: of the mixing convolutions, which are drawn and never trained.
        width: of the discriminators' hidden layers.
        classes: whose pictures it tells from photos of the same class; 0 if there are none.
        side: in pixels at which the teacher looks, a multiple of its stride of 32.
    """

    def __init__(self, seed: int, width: int = 96, classes: int = 0, side: int = 128) -> None:
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
                ScaleCritic((side // 4) >> k, width, classes) for k in range(len(self.scales))
            )

    def forward(self, maps: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Logits [N, places of all scales] of the teacher's maps: higher for a photo.

        Args:
            maps: of the teacher's pyramid.
            labels: [N], if it knows classes.
        """
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
        parts = [
            critic(x, labels).flatten(1) for critic, x in zip(self.critics, mixed, strict=True)
        ]
        return torch.cat(parts, 1).float()
