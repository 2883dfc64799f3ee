"""What the training of the mini StyleGAN2 needs besides the generator: critic, losses, damage."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.zoo.stylegan2_encoder import SLOPE, DownBlock
from benchmark.zoo.vgg import VggFeatures

GROUP = 4  # pictures whose spread the critic sees
FEATURES = ("conv1_2", "conv2_2", "conv3_2", "conv4_2")


class Critic(nn.Module):
    """Residual discriminator with the spread of the batch as a feature (Karras et al. 2018).

    Args:
        widths: channels from 64 down to 4 pixels.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(DownBlock(a, b) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.hidden = nn.Linear(widths[-1] * 16, widths[-1])
        self.score = nn.Linear(widths[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N] of images [N, 3, 64, 64]: above 0 for a photo."""
        x = F.leaky_relu(self.stem(images), SLOPE)
        for block in self.blocks:
            x = block(x)
        groups = x.reshape(min(GROUP, len(x)), -1, *x.shape[1:]).float()
        spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        spread = spread.repeat(len(groups))[:, None, None, None].expand(-1, 1, *x.shape[2:])
        x = F.leaky_relu(self.last(torch.cat([x, spread.to(x.dtype)], 1)), SLOPE)
        x = F.leaky_relu(self.hidden(x.flatten(1)), SLOPE)
        logits: Tensor = self.score(x)[:, 0]
        return logits.float()


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """He-initialise the plain convolutions and linear layers, with biases of zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=SLOPE, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """DiffAugment (Zhao et al. 2020), mildly: half of its colour changes, shifts by an eighth.

    A critic that sees each photo five times does not learn them by heart, which the stronger
    changes and the cut-outs would guard against.

    Args:
        images: [N, 3, S, S] about [-1, 1].
    """
    count, _, side, _ = images.shape

    def draw(low: float, high: float) -> Tensor:
        values = low + (high - low) * torch.rand(count, generator=generator)
        return values.to(images)[:, None, None, None]

    x = images + draw(-0.25, 0.25)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * draw(0.5, 1.5)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * draw(0.75, 1.25)

    reach = side // 8
    places = torch.arange(side, device=images.device)
    shifts = torch.randint(-reach, reach + 1, (2, count, 1), generator=generator).to(places.device)
    rows = (places + shifts[0] + reach).clamp(0, side + 2 * reach - 1)
    columns = (places + shifts[1] + reach).clamp(0, side + 2 * reach - 1)
    padded = F.pad(x, (reach,) * 4)
    index = torch.arange(count, device=images.device)[:, None, None]
    x = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    return x.permute(0, 3, 1, 2)


def sliced_wasserstein(
    a: Tensor, b: Tensor, generator: torch.Generator, slices: int = 256
) -> Tensor:
    """Squared sliced Wasserstein-2 distance of two samples [N, D] of one size."""
    directions = torch.randn(a.shape[1], slices, generator=generator).to(a)
    directions = directions / directions.norm(dim=0)
    return (torch.sort(a @ directions, 0)[0] - torch.sort(b @ directions, 0)[0]).square().mean()


def feature_distance(vgg: VggFeatures, images: Tensor, truth: Tensor) -> Tensor:
    """Mean over layers of mean |difference| / mean |truth's features|."""
    ours, theirs = vgg(images, FEATURES), vgg(truth, FEATURES)
    parts = [(ours[k] - theirs[k]).abs().mean() / theirs[k].abs().mean() for k in FEATURES]
    return torch.stack(parts).mean()
