"""Styles drawn by the procedures of the mini zoo: the upper reference of the mini protocol."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.interface import (
    Guidance,
    MethodCard,
    StyleBatch,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.zoo.mini.styles import STYLES, stylize

STYLE_SIDE = 128  # the procedures are drawn for this many pixels, then averaged down


class Procedural(StyleTransferMethod):
    """Filters and textures, made for each style by hand; no network is involved.

    The mini CLIPs learnt the styles from pictures drawn in this way, so on the mini protocol its
    style scores are about the highest that a method can be expected to reach. It knows the prompts
    of the mini zoo only.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Procedural styles of the mini zoo", paper="reference point", upstream=None, roles=()
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})

    @torch.no_grad()
    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class.

        Raises:
            UsageError: a prompt that no procedure draws.
        """
        known = {style.prompt: name for name, style in STYLES.items()}
        large = F.interpolate(
            batch.images.float().cpu(),
            size=(STYLE_SIDE, STYLE_SIDE),
            mode="bicubic",
            align_corners=False,
            antialias=True,
        )
        seeds = (noise.uniform("procedure", (2,)) * 2**24).long().cpu()
        outputs = []
        for image, request, seed in zip(large, batch.requests, seeds, strict=True):
            if request.prompt not in known:
                raise UsageError(
                    f"procedural draws no {request.prompt!r}; it knows: {', '.join(known)}"
                )
            rng = np.random.default_rng(seed.tolist())
            pixels = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()
            drawn = stylize(np.ascontiguousarray(pixels), known[request.prompt], rng)
            outputs.append(torch.from_numpy(np.ascontiguousarray(drawn)).permute(2, 0, 1))
        small = F.interpolate(
            torch.stack(outputs) * 2 - 1, size=batch.images.shape[2:], mode="area"
        )
        return small.to(batch.images)
