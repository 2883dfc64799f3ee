"""Pictures to which a guide's own gradient leads, and what another network says they show.

Whatever a guide takes for a style and is not, a sampler finds: sepia that is green, bricks without
red. Here the guide leads photographs and half styled pictures a few steps towards a style, roughly
as a sampler would, and stylised ones back towards a photograph; then it learns the opinion of
:class:`.style_teacher.StyleTeacher` on where they have arrived, which is adversarial training with
moves as far as a sampler's. Without the way back it would learn to say "Photo" too often.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.zoo.clip import normalise

from .augment import Crops, crop_matrices, random_crops, warp
from .bank import PHOTO, STYLE_IDS, Bank
from .style_path import part_of_the_way
from .style_teacher import StyleTeacher
from .unet import to_model_range

STEPS = 6
STRIDE = 0.12  # longest mean square root of one step's move, on the [-1, 1] scale
NOISE = 0.4  # on what the guide sees: twice the `crop_noise` that `ours` ended with
AWAY = 0.5  # weight of the cosine with what is to be left
FROM_PHOTO, BACK = 0.5, 0.25  # shares that begin at photographs, and at stylised copies
SEEN = Crops(min_area=0.08, whole=0.3, damaged=0.0, gain=0.0)
_SCALES = (1, 4, 16)  # pixels over which a move is smoothed: a denoiser takes up no lone pixels

Embed = Callable[[Tensor], Tensor]


class LedPictures:
    """Draws photographs, and has them led.

    Args:
        count: of pictures.
        crops: how they are shown afterwards.
    """

    def __init__(self, bank: Bank, teacher: StyleTeacher, count: int, crops: Crops) -> None:
        self.bank, self.teacher, self.count, self.crops = bank, teacher, count, crops

    def draw(
        self, guide: nn.Module, style_tokens: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pictures [N, 3, 64, 64] and the teacher's log-probabilities [N, styles + 1].

        Args:
            guide: an open_clip model, which leads them as it is in use (and is in training
                afterwards).
            style_tokens: of the styles' prompts and "Photo", [styles + 1, L].
        """
        clip: Any = guide.eval()  # the batch norms are not to learn these pictures' means

        def embed(images: Tensor) -> Tensor:
            return F.normalize(clip.encode_image(normalise(guide, images)).float(), dim=1)

        with torch.no_grad():
            texts = F.normalize(clip.encode_text(style_tokens).float(), dim=1)
        arrived = self._led(embed, texts, generator)
        guide.train()
        with torch.no_grad():
            opinion = F.log_softmax(self.teacher(arrived), 1)
        return random_crops(arrived, self.crops, generator), opinion

    def _led(self, embed: Embed, texts: Tensor, generator: torch.Generator) -> Tensor:
        bank = self.bank
        chosen = torch.randint(len(bank.styled), (self.count,), generator=generator)
        photos = to_model_range(bank.pixels[bank.styled_source[chosen]])
        copies = to_model_range(bank.styled[chosen])
        between, _ = part_of_the_way(photos, copies, generator)
        kind = torch.rand(self.count, generator=generator)
        plain, back = kind < FROM_PHOTO, kind >= 1 - BACK
        start = torch.where(_wide(plain), photos, torch.where(_wide(back), copies, between))
        any_style = torch.randint(len(STYLE_IDS), (self.count,), generator=generator)
        style = texts[torch.where(plain, any_style, bank.styled_facts.style[chosen])]
        photo = texts[PHOTO].expand_as(style)
        to_photo = back[:, None]
        wanted = torch.where(to_photo, photo, style)
        left = torch.where(to_photo, style, photo)
        return led(embed, start, wanted - AWAY * left, generator)


def led(embed: Embed, images: Tensor, towards: Tensor, generator: torch.Generator) -> Tensor:
    """Images after :data:`STEPS` steps along the guide's gradient, each as far as chance says.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        towards: what embeddings are to have the largest product with, [N, D].

    Returns:
        [N, 3, H, W] in [-1, 1], without a graph.
    """
    stride = STRIDE * torch.rand(len(images), 1, 1, 1, generator=generator)
    for _ in range(STEPS):
        images = images.detach().requires_grad_()
        crops = warp(images, crop_matrices(len(images), SEEN, generator), images.shape[-1])
        seen = torch.cat([images, crops])
        seen = seen + NOISE * torch.randn(seen.shape, generator=generator)
        aim = (embed(seen) * towards.repeat(2, 1)).sum()
        (gradient,) = torch.autograd.grad(aim, images)
        images = (images + stride * _even(gradient)).clamp(-1, 1)
    return images.detach()


def _wide(which: Tensor) -> Tensor:
    return which[:, None, None, None]


def _even(gradient: Tensor) -> Tensor:
    """The gradient's parts at several scales, each as strong as the others; mean square 1."""
    parts = [_unit(_smooth(gradient, scale)) for scale in _SCALES]
    return _unit(torch.stack(parts).sum(0))


def _smooth(images: Tensor, side: int) -> Tensor:
    if side == 1:
        return images
    small = F.avg_pool2d(images, side)
    return F.interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False)


def _unit(images: Tensor) -> Tensor:
    return images / images.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
