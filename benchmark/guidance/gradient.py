"""The weighted sum of guidance losses and its gradient, taken branch by branch."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

log = logging.getLogger(__name__)


def unit_gradient(gradient: Tensor) -> Tensor:
    """Each sample's gradient [B, ...] divided by its root mean square; zero stays zero.

    What is left of a loss is where it wants to go, and not how loudly it asks: a weight then says
    how far a picture is moved, whatever the scale of the loss, the network or the prompt.
    """
    rms = gradient.square().flatten(1).mean(1).sqrt()
    # below the bound a gradient is rounding, which is not to be blown up
    return gradient / rms.clamp_min(1e-12).view(-1, *[1] * (gradient.ndim - 1))


class LossGradient:
    """Adds up d(sum of weighted losses) / d(image).

    Branches of the loss (CLIP, encoder features, pixels) meet only at the image, so each is
    differentiated on its own as soon as it is computed: its graph is freed before the next one is
    built, which needs less memory and gives the same sum.

    Attributes:
        image: [B, 3, H, W], the leaf that losses are computed from.
        total: [B, 3, H, W], gradient so far.
        values: weighted losses by name, each [B], for logging.

    Args:
        image: what the losses are computed from.
        unit: names of losses whose gradients are scaled to :func:`unit_gradient` before they are
            weighted. Each of them costs a backward pass of its own.
    """

    def __init__(self, image: Tensor, unit: Collection[str] = ()) -> None:
        self.image = image.detach().requires_grad_()
        self.total = torch.zeros_like(self.image, requires_grad=False)
        self.values: dict[str, Tensor] = {}
        self._unit = frozenset(unit)

    def add(self, losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> None:
        """Differentiate one branch.

        Args:
            losses: [B] per-sample losses by name. They are summed over the batch, so a sample's
                gradient does not depend on its neighbours.
            weights: factor of each loss; names without a loss are ignored.
        """
        weighted = {name: weights[name] * loss for name, loss in losses.items()}
        together = [loss for name, loss in weighted.items() if name not in self._unit]
        alone = [name for name in weighted if name in self._unit]
        for place, name in enumerate(alone):
            last = not together and place == len(alone) - 1
            gradient = self._differentiate(losses[name], keep_graph=not last)
            self.total += weights[name] * unit_gradient(gradient)
        if together:
            self.total += self._differentiate(torch.stack(together).sum(0))
        self.values.update({name: loss.detach() for name, loss in weighted.items()})

    def _differentiate(self, losses: Tensor, *, keep_graph: bool = False) -> Tensor:
        (gradient,) = torch.autograd.grad(losses.sum(), self.image, retain_graph=keep_graph)
        return gradient

    def report(self, step: int) -> None:
        """Log the batch's mean of each weighted loss at debug level."""
        if log.isEnabledFor(logging.DEBUG):
            parts = (f"{name} {value.mean().item():.4g}" for name, value in self.values.items())
            log.debug("step %d: %s", step, "  ".join(parts))
