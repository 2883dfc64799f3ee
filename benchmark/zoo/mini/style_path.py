"""Pictures on the way from a photograph to its stylised copy, for a CLIP that is to guide there.

A sampler begins at a photograph and follows the guide's gradient. A guide that has only seen
photographs and stylised pictures says little of what lies between, and nothing of wrong colours:
bricks turned green on green scenes, since their courses were enough. Two kinds of pictures teach it
the way:

- half styled: brightness and colour are each a part of the way from the photograph to its copy, and
  the style's probability is to be the mean of both parts;
- recoloured: a style that has colours of its own (red bricks, ice) in other hues, which is not it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .augment import Crops, random_crops
from .bank import PHOTO, STYLE_IDS, Bank
from .unet import to_model_range

COLOURED = (
    "pencil-sketch", "charcoal", "engraving", "blueprint", "golden", "silver", "wooden",
    "red-bricks", "stone-wall", "clay", "marble", "ice", "autumn-leaves", "zombie", "fire",
    "sepia-photo", "ukiyo-e", "crayon-sketch", "comic",
)  # fmt: skip
HALF_STYLED_WEIGHT = 0.6
LEAST_TURN = 1.0  # radians that hues are turned by, at least
GREY = 0.08  # mean distance from grey below which a picture has no hue to turn, and gets a tint
TINT = 0.6


@dataclass(frozen=True)
class OnThePath:
    """What is known of the pictures: the half styled come first.

    Attributes:
        half_styled: [H] style of each. share: [H] how far it is on its way, in [0, 1].
        recoloured: [R] the style that each is not.
    """

    half_styled: Tensor
    share: Tensor
    recoloured: Tensor

    def loss(self, logits: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of logits [H + R, styles and "Photo"], and its parts."""
        log_p = F.log_softmax(logits.float(), 1)
        styled, recoloured = log_p[: len(self.share)], log_p[len(self.share) :]
        share = self.share.to(logits.device)
        reached = styled.gather(1, self.half_styled.to(logits.device)[:, None])[:, 0]
        path = -(share * reached + (1 - share) * styled[:, PHOTO]).mean()
        taken_for = recoloured.gather(1, self.recoloured.to(logits.device)[:, None])[:, 0].exp()
        hue = -torch.log1p(-taken_for.clamp(max=0.999)).mean()
        return HALF_STYLED_WEIGHT * path + hue, {
            "half_styled": float(path.detach()), "recoloured": float(hue.detach()),
        }  # fmt: skip


class StylePath:
    """Draws the pictures from a bank.

    Args:
        half_styled, recoloured: how many of each.
        crops: how they are shown.
    """

    def __init__(self, bank: Bank, half_styled: int, recoloured: int, crops: Crops) -> None:
        self.bank, self.counts, self.crops = bank, (half_styled, recoloured), crops
        coloured = torch.tensor([STYLE_IDS.index(style) for style in COLOURED])
        self._coloured = torch.isin(bank.styled_facts.style, coloured).nonzero().flatten()

    def draw(self, generator: torch.Generator) -> tuple[Tensor, OnThePath]:
        """Pictures [N, 3, 64, 64], the half styled first, and what is known of them."""
        bank, (half_styled, recoloured) = self.bank, self.counts
        chosen = torch.randint(len(bank.styled), (half_styled,), generator=generator)
        photos = to_model_range(bank.pixels[bank.styled_source[chosen]])
        between, share = part_of_the_way(photos, to_model_range(bank.styled[chosen]), generator)
        places = torch.randint(len(self._coloured), (recoloured,), generator=generator)
        others = self._coloured[places]
        wrong = recolour(to_model_range(bank.styled[others]), generator)
        pictures = random_crops(torch.cat([between, wrong]), self.crops, generator)
        styles = bank.styled_facts.style
        return pictures, OnThePath(styles[chosen], share, styles[others])


def luma(images: Tensor) -> Tensor:
    """Brightness [N, 1, H, W] of [N, 3, H, W] (BT.601)."""
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def part_of_the_way(
    photos: Tensor, styled: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pictures between photographs and their stylised copies, and how far they are.

    Brightness and colour each go a way of their own; in a third of the pictures the same.

    Args:
        photos, styled: [N, 3, H, W] in [-1, 1].

    Returns:
        [N, 3, H, W] in [-1, 1] and the mean of both parts, [N] in [0, 1].
    """
    bright, colour = torch.rand(2, len(photos), 1, 1, 1, generator=generator)
    same = torch.rand(bright.shape, generator=generator) < 1 / 3
    bright = torch.where(same, colour, bright)
    before, after = luma(photos), luma(styled)
    brightness = torch.lerp(before, after, bright)
    hue = torch.lerp(photos - before, styled - after, colour)
    return (brightness + hue).clamp(-1, 1), ((bright + colour) / 2).flatten()


def recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [N, 3, H, W] in [-1, 1] with other hues and the same brightness; grey ones tinted."""
    count = len(images)
    turns = LEAST_TURN + 2 * (math.pi - LEAST_TURN) * torch.rand(count, generator=generator)
    bright = luma(images)
    colour = images - bright
    turned = torch.einsum("nij,njhw->nihw", _turns_about_grey(turns), colour)
    tint = TINT * torch.randn(count, 3, 1, 1, generator=generator)
    grey = colour.abs().mean((1, 2, 3), keepdim=True) < GREY
    turned = turned + torch.where(grey, tint, torch.zeros_like(tint))
    return (bright + turned - luma(turned)).clamp(-1, 1)


def _turns_about_grey(angles: Tensor) -> Tensor:
    """Rotations [N, 3, 3] of colours about the axis of greys, by Rodrigues's formula."""
    side = 1 / math.sqrt(3)
    cross = torch.tensor([[0.0, -side, side], [side, 0.0, -side], [-side, side, 0.0]])
    sine, cosine = angles.sin()[:, None, None], angles.cos()[:, None, None]
    return torch.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
