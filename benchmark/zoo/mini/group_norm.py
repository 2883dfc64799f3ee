"""Group normalisation with a cheap backward pass, for training on a CPU in bfloat16.

PyTorch's own CPU kernel spends half of a bf16 training step of the mini U-Net in
``native_group_norm_backward``. The backward pass here is an affine map of the input and of the
incoming gradient, whose coefficients come from two per-channel sums. Only the training scripts use
it: inference keeps ``nn.GroupNorm``, so the shipped models do not depend on this file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        batch, channels, height, width = x.shape
        y: Tensor
        y, mean, rstd = torch.native_group_norm(
            x, weight.to(x.dtype), bias.to(x.dtype), batch, channels, height * width, groups, eps
        )
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (dy,) = grads
        x, weight, mean, rstd = ctx.saved_tensors
        batch, channels, height, width = x.shape
        groups = ctx.groups
        mean_c = mean.float().repeat_interleave(channels // groups, 1)
        rstd_c = rstd.float().repeat_interleave(channels // groups, 1)
        count = height * width * channels // groups
        dy_sum = dy.sum((2, 3)).float()
        dyx_sum = (dy * x).sum((2, 3)).float()
        # sum over positions of dy times the normalised x, per channel
        dy_xhat: Tensor = (dyx_sum - mean_c * dy_sum) * rstd_c
        d_weight, d_bias = dy_xhat.sum(0), dy_sum.sum(0)

        def group_mean(value: Tensor) -> Tensor:
            mean: Tensor = (value * weight.float()).view(batch, groups, -1).sum(2) / count
            return mean.repeat_interleave(channels // groups, 1)

        slope = -rstd_c * rstd_c * group_mean(dy_xhat)  # times (x - mean)
        offset = -rstd_c * group_mean(dy_sum) - slope * mean_c
        gain = rstd_c * weight.float()
        dtype = x.dtype
        dx = torch.addcmul(offset.to(dtype)[..., None, None], x, slope.to(dtype)[..., None, None])
        dx = torch.addcmul(dx, dy, gain.to(dtype)[..., None, None])
        return dx, d_weight.to(weight.dtype), d_bias.to(weight.dtype), None, None


class FastGroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` for [B, C, H, W] (or [B, C, L]) inputs with the cheap backward pass."""

    def forward(self, input: Tensor) -> Tensor:
        x = input if input.dim() == 4 else input.unsqueeze(-1)
        out: Tensor = _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return out if input.dim() == 4 else out.squeeze(-1)


def use_fast_group_norm(model: nn.Module) -> None:
    """Switch every ``nn.GroupNorm`` of ``model`` to the fast one, in place; parameters are kept."""
    for module in model.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = FastGroupNorm
