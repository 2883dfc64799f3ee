"""Muon: momentum whose every matrix is orthogonalised.

Jordan et al. 2024, kellerjordan.github.io/posts/muon.

The mini U-Net comes as far in half the steps of AdamW (docs/mini-zoo.md), each a tenth longer.
``torch.optim.Muon`` takes matrices alone, and convolutions are what a U-Net is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

# quintic iteration of Newton and Schulz: singular values end between 0.7 and 1.2
_ITERATIONS, _A, _B, _C = 5, 3.4445, -4.7750, 2.0315
# root mean square of an update's entries over the learning rate. 0.2 is that of AdamW (Liu et al.
# 2025, arXiv 2502.16982, section 2.2); the U-Net takes more.
RMS = 0.5


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix [M, N] with its singular values moved to about 1, in float32."""
    wide = matrix.float() if matrix.shape[0] <= matrix.shape[1] else matrix.float().T
    x = wide / wide.norm().clamp_min(1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    result: Tensor = x if matrix.shape[0] <= matrix.shape[1] else x.T
    return result


class Muon(torch.optim.Optimizer):
    """For weights of linear layers [M, N] and of convolutions [M, C, H, W], read as [M, CHW].

    Args:
        parameters: of two dimensions or more.
        lr: root mean square of an update's entries, over ``RMS``.
        momentum: of Nesterov's kind.
        threads: matrices that are computed at once.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95,
        threads: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.threads = threads

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise ValueError("Muon takes no closure")
        work = [(group, p) for group in self.param_groups for p in group["params"]]
        with ThreadPoolExecutor(self.threads, "muon", torch.set_num_threads, (1,)) as pool:
            list(pool.map(self._move, work))

    def _move(self, item: tuple[dict[str, Any], nn.Parameter]) -> None:
        group, parameter = item
        gradient = parameter.grad
        if gradient is None:
            return
        with torch.no_grad():  # belongs to a thread
            state = self.state[parameter]
            if not state:
                state["average"] = torch.zeros_like(parameter)
            average: Tensor = state["average"].lerp_(gradient, 1 - group["momentum"])
            update = gradient.lerp(average, group["momentum"]).flatten(1)
            # an orthogonal [M, N] has entries of 1 / sqrt(max(M, N)) in the mean square
            scale = RMS * max(update.shape) ** 0.5
            step = orthogonalised(update).reshape(parameter.shape)
            parameter.add_(step.to(parameter.dtype), alpha=-group["lr"] * scale)
