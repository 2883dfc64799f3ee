"""How a U-Net that was tuned for it draws pictures in a few steps.

Every step gives a finished picture: noised to the next timestep, and enlarged where the next side
begins, it is what the next step starts from (as in consistency models' multistep sampling, Song et
al. 2023, arXiv 2303.01469, algorithm 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.diffusion.schedule import Schedule

from .unet import CLASSES, class_index, first_label

PART = 32


class Place(NamedTuple):
    """A step of the chain: pictures of ``side`` x ``side`` pixels, noised to ``timestep``."""

    side: int
    timestep: int


# what a picture shows is decided at 16; at 32 and 64 there is noise enough to draw new detail
CHAIN = (
    Place(16, 999), Place(16, 700), Place(16, 400),
    Place(32, 400), Place(32, 200),
    Place(64, 350), Place(64, 150),
)  # fmt: skip
_ALPHAS_CUMPROD = torch.from_numpy(Schedule.linear().alphas_cumprod).float()


def arriving(pictures: Tensor, place: Place, noise: Tensor) -> Tensor:
    """x_t of a place: the pictures of the place before it, enlarged and noised.

    Args:
        pictures: [B, 3, S, S] about [-1, 1]; S at most the place's side.
        noise: [B, 3, side, side], standard normal.
    """
    if pictures.shape[-1] != place.side:
        pictures = F.interpolate(pictures, size=place.side, mode="bicubic")
    abar = _ALPHAS_CUMPROD[place.timestep].to(pictures)
    return abar.sqrt() * pictures.clamp(-1, 1) + (1 - abar).sqrt() * noise


def step(unet: nn.Module, xt: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
    """x0_hat [B, 3, S, S], not clipped, of pictures of one side.

    Args:
        xt: [B, 3, S, S].
        timesteps: [B] on the 0..999 scale.
        classes: [B], places in ``CLASSES``.
    """
    abar = _ALPHAS_CUMPROD.to(xt)[timesteps][:, None, None, None]
    eps = unet(xt, timesteps, classes + first_label(xt.shape[-1]))[:, :3].float()
    x0_hat: Tensor = (xt - (1 - abar).sqrt() * eps) / abar.sqrt()
    return x0_hat


@torch.no_grad()
def draw(unet: nn.Module, domain: str, count: int, draws: torch.Generator) -> Tensor:
    """Pictures [N, 3, 64, 64] in [-1, 1] of a domain of the corpus."""
    parts = [
        _draw_part(unet, domain, min(PART, count - start), draws) for start in range(0, count, PART)
    ]
    return torch.cat(parts)


def _draw_part(unet: nn.Module, domain: str, count: int, draws: torch.Generator) -> Tensor:
    pictures = torch.zeros(count, 3, CHAIN[0].side, CHAIN[0].side)  # of which noise leaves nothing
    for place in CHAIN:
        pictures = redraw(unet, pictures, domain, place, draws)
    return pictures


@torch.no_grad()
def redraw(
    unet: nn.Module, pictures: Tensor, domain: str, place: Place, draws: torch.Generator
) -> Tensor:
    """What one step makes of pictures [N, 3, S, S]: [N, 3, side, side] in [-1, 1]."""
    count = len(pictures)
    classes = torch.full((count,), class_index(domain) % len(CLASSES))
    noise = torch.randn(count, 3, place.side, place.side, generator=draws)
    xt = arriving(pictures, place, noise)
    return step(unet, xt, torch.full((count,), place.timestep), classes).clamp(-1, 1)
