"""The weighted sum of guidance losses and its gradient, taken branch by branch."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

log = logging.getLogger(__name__)


class LossGradient:
    """Adds up d(sum of weighted losses) / d(image).

    Branches of the loss (CLIP, encoder features, pixels) meet only at the image, so each is
    differentiated on its own as soon as it is computed: its graph is freed before the next one is
    built, which needs less memory and gives the same sum.

    Attributes:
        image: [B, 3, H, W], the leaf that losses are computed from.
        total: [B, 3, H, W], gradient so far.
        values: weighted losses by name, each [B], for logging.
    """

    def __init__(self, image: Tensor) -> None:
        self.image = image.detach().requires_grad_()
        self.total = torch.zeros_like(self.image, requires_grad=False)
        self.values: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> None:
        """Differentiate one branch.

        Args:
            losses: [B] per-sample losses by name. They are summed over the batch, so a sample's
                gradient does not depend on its neighbours.
            weights: factor of each loss; names without a loss are ignored.
        """
        weighted = {name: weights[name] * loss for name, loss in losses.items()}
        if not weighted:
            return
        (gradient,) = torch.autograd.grad(torch.stack(list(weighted.values())).sum(), self.image)
        self.total += gradient
        self.values.update({name: loss.detach() for name, loss in weighted.items()})

    def report(self, step: int) -> None:
        """Log the batch's mean of each weighted loss at debug level."""
        if log.isEnabledFor(logging.DEBUG):
            parts = (f"{name} {value.mean().item():.4g}" for name, value in self.values.items())
            log.debug("step %d: %s", step, "  ".join(parts))
