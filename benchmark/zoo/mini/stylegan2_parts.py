"""What the training of the mini StyleGAN2 needs besides its networks: losses, damage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.zoo.stylegan2_encoder import SLOPE
from benchmark.zoo.vgg import VggFeatures

FEATURES = ("conv1_2", "conv2_2", "conv3_2", "conv4_2")


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


def relative_distance(maps: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Mean over layers of mean |difference| / mean |truth|."""
    parts = [
        (a.float() - b.float()).abs().mean() / b.float().abs().mean()
        for a, b in zip(maps, truth, strict=True)
    ]
    return torch.stack(parts).mean()


def feature_distance(vgg: VggFeatures, images: Tensor, truth: Tensor) -> Tensor:
    """:func:`relative_distance` of features of VGG."""
    ours, theirs = vgg(images, FEATURES), vgg(truth, FEATURES)
    return relative_distance([ours[k] for k in FEATURES], [theirs[k] for k in FEATURES])
