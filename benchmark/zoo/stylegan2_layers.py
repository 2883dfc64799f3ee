"""Layers of StyleGAN2 (Karras et al. 2020) in plain PyTorch operations.

Parameter names and shapes are those of rosinality/stylegan2-pytorch (bef283a). Its grouped
convolutions with one kernel per sample are written as "scale the input, convolve, scale the
output", which is the same function (equations 1 to 3 of the paper) and several times quicker on a
CPU; its CUDA extensions (upfirdn2d, fused bias and activation) are plain convolutions here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLUR_KERNEL = (1.0, 3.0, 3.0, 1.0)
SLOPE = 0.2
EPSILON = 1e-8


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with the gain that keeps the variance of a normal input about 1."""
    return F.leaky_relu(x, SLOPE) * math.sqrt(2.0)


class PixelNorm(nn.Module):
    """Scale each vector [N, D] to a mean square of 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


class EqualLinear(nn.Module):
    """A linear layer whose weights are scaled at run time (equalised learning rate).

    Args:
        inputs: features read.
        outputs: features written.
        bias: initial value of the biases.
        rate: learning-rate multiplier; 0.01 in the mapping network.
        activate: follow with :func:`leaky`.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0,
        activate: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.rate = rate
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        scale = self.rate / math.sqrt(self.weight.shape[1])
        x = F.linear(x, self.weight * scale, self.bias * self.rate)
        return leaky(x) if self.activate else x


class Resample(nn.Module):
    """Holds a normalised binomial kernel [4, 4] under the official name.

    Args:
        gain: 4 after an upsampling by two, which spreads each value over four places.
    """

    kernel: Tensor

    def __init__(self, gain: float) -> None:
        super().__init__()
        row = torch.tensor(BLUR_KERNEL)
        kernel = row[None] * row[:, None]
        self.register_buffer("kernel", kernel / kernel.sum() * gain)

    def _per_channel(self, x: Tensor) -> Tensor:
        return self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class Blur(Resample):
    """[N, C, 2H + 1, 2W + 1] -> [N, C, 2H, 2W], after a transposed convolution."""

    def forward(self, x: Tensor) -> Tensor:
        kernel = self._per_channel(x).flip(2, 3)  # PyTorch correlates
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


class Upsample(Resample):
    """[N, C, H, W] -> [N, C, 2H, 2W]."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self._per_channel(x), stride=2, padding=1, groups=x.shape[1])


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style, then normalised by it.

    Args:
        inputs: channels read.
        outputs: channels written.
        size: side of the kernel.
        style: length of the style vector.
        upsample: double the resolution.
        demodulate: divide by the expected standard deviation of the output.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, style: int, *, upsample: bool = False,
        demodulate: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, size, size))
        self.modulation = EqualLinear(style, inputs, bias=1.0)
        self.upsample = upsample
        self.demodulate = demodulate
        self.scale = 1.0 / math.sqrt(inputs * size**2)
        if upsample:
            self.blur = Blur(gain=4.0)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Args: x [N, C, H, W]; style [N, D]. Returns [N, K, H, W] or twice the size."""
        weight = self.weight[0] * self.scale
        scales = self.modulation(style)
        x = x * scales[:, :, None, None]
        if self.upsample:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = F.linear(scales.square(), weight.square().sum((2, 3)))
            x = x * torch.rsqrt(power + EPSILON)[:, :, None, None]
        return x


class Noise(nn.Module):
    """The learned strength of one layer's noise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.weight * noise


class BiasedLeaky(nn.Module):
    """Add a bias for each channel, then :func:`leaky`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return leaky(x + self.bias[:, None, None])


class ConstantInput(nn.Module):
    """The learned [1, C, 4, 4] that every picture starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, count: int) -> Tensor:
        return self.input.expand(count, -1, -1, -1)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and activation."""

    def __init__(self, inputs: int, outputs: int, style: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, style, upsample=upsample)
        self.noise = Noise()
        self.activate = BiasedLeaky(outputs)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x = self.activate(self.noise(self.conv(x, style), noise))
        assert isinstance(x, Tensor)
        return x


class ToRgb(nn.Module):
    """Colours of one resolution, added to the upsampled picture of the one below."""

    def __init__(self, inputs: int, style: int, *, upsample: bool = True) -> None:
        super().__init__()
        if upsample:
            self.upsample = Upsample(gain=4.0)
        self.conv = ModulatedConv(inputs, 3, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None = None) -> Tensor:
        colours: Tensor = self.conv(x, style) + self.bias
        return colours if below is None else colours + self.upsample(below)
