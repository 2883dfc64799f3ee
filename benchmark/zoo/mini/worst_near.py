"""Pictures moved a little, to where a network errs most."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def worst_near(
    images: Tensor, radius: float, loss: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Tensor:
    """Images moved by one step to where their loss is high (Wong et al. 2020, arXiv 2001.03994).

    A network that withstands this has gradients that change what a picture shows, where others
    have gradients that merely deceive them (Santurkar et al. 2019, arXiv 1906.09453).

    Args:
        images: [B, C, S, S] in [-1, 1].
        radius: longest move (L2 over all of an image's values); each image's own is drawn below it.
        loss: of all images, a scalar.

    Returns:
        [B, C, S, S] in [-1, 1], without a graph.
    """

    def length(move: Tensor) -> Tensor:
        found: Tensor = torch.linalg.vector_norm(move, dim=(1, 2, 3), keepdim=True)
        return found

    def unit(direction: Tensor) -> Tensor:
        return direction / length(direction).clamp(min=1e-12)

    radii = radius * torch.rand(len(images), 1, 1, 1, generator=generator)
    # a step from the image itself teaches a network to be flat there and nowhere else
    start = 0.5 * radii * unit(torch.randn(images.shape, generator=generator))
    moved = (images + start).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(moved), moved)
    step = start + radii * unit(gradient)
    step = torch.where(length(step) > radii, radii * unit(step), step)
    return (images + step).clamp(-1, 1).detach()
