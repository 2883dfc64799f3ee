"""An encoder from pictures to a generator's W+, for the start of an inversion."""

from __future__ import annotations

import math
from itertools import pairwise

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

SLOPE = 0.2


class EncoderConfig(BaseModel):
    """Sizes of a :class:`LatentEncoder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = Field(
        min_length=1, description="channels at `size`, `size` / 2, ... down to 4 pixels"
    )


class DownBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection; halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, K, H / 2, W / 2]."""
        inner = F.leaky_relu(self.conv1(x), SLOPE)
        # averaging before the second convolution is the cheaper order
        inner = F.leaky_relu(self.conv2(F.avg_pool2d(inner, 2)), SLOPE)
        skip: Tensor = self.skip(F.avg_pool2d(x, 2))
        return (skip + inner) / math.sqrt(2.0)


class LatentEncoder(nn.Module):
    """A residual network whose head gives one style vector and an offset for each layer.

    Args:
        config: widths.
        size: side of the pictures.
        rows: style vectors of W+.
        dim: length of each.
    """

    def __init__(self, config: EncoderConfig, size: int, rows: int, dim: int) -> None:
        super().__init__()
        widths = config.channels
        if size >> (len(widths) - 1) != 4:
            raise ValueError(f"{len(widths)} widths do not lead from {size} to 4 pixels")
        self.rows, self.dim = rows, dim
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(DownBlock(a, b) for a, b in pairwise(widths))
        self.hidden = nn.Linear(widths[-1] * 16, 2 * dim)
        self.shared = nn.Linear(2 * dim, dim)
        self.offsets = nn.Linear(2 * dim, rows * dim)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of images [N, 3, S, S] in [-1, 1]: the vector [N, dim] and the offsets [N, rows, dim]."""
        x = F.leaky_relu(self.stem(images), SLOPE)
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(self.hidden(x.flatten(1)), SLOPE)
        return self.shared(x), self.offsets(x).view(-1, self.rows, self.dim)

    def forward(self, images: Tensor) -> Tensor:
        """W+ [N, rows, dim] relative to the mean latent, of images [N, 3, S, S] in [-1, 1]."""
        shared, offsets = self.parts(images)
        return shared[:, None] + offsets
