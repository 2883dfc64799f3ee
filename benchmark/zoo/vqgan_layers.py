"""Encoder and decoder of taming-transformers' VQModel, with the names of its checkpoints."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from benchmark.zoo.vqgan import VqGanConfig


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels, groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels, groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self.widens = in_channels != out_channels

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = (self.nin_shortcut(x) if self.widens else x) + h
        return out


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        weights = F.softmax(q @ k.transpose(1, 2) * q.shape[-1] ** -0.5, dim=-1)
        attended = (weights @ v).transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.proj_out(attended)
        return out


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        # padded on the right and below alone, as in the official model
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Level(nn.Module):
    """Blocks at one resolution, then the way to the next one (``downsample`` or ``upsample``)."""

    def __init__(
        self, channels: list[int], config: VqGanConfig, resolution: int, way: nn.Module | None,
        name: str,
    ) -> None:  # fmt: skip
        super().__init__()
        groups, attends = config.norm_groups, resolution in config.attn_resolutions
        pairs = list(itertools.pairwise(channels))
        self.block = nn.ModuleList(ResnetBlock(a, b, groups) for a, b in pairs)
        self.attn = nn.ModuleList(AttnBlock(b, groups) for _, b in pairs if attends)
        self.way = name if way is not None else None
        if way is not None:
            self.add_module(name, way)

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[index](x)
        if self.way is not None:
            x = self.get_submodule(self.way)(x)
        return x


class Encoder(nn.Module):
    def __init__(self, config: VqGanConfig) -> None:
        super().__init__()
        widths = [config.ch * multiple for multiple in config.ch_mult]
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        width, resolution = config.ch, config.resolution
        for level, out in enumerate(widths):
            last = level == len(widths) - 1
            channels = [width] + [out] * config.num_res_blocks
            way = None if last else Downsample(out)
            self.down.append(Level(channels, config, resolution, way, "downsample"))
            width, resolution = out, resolution // 2
        self.mid = Middle(width, config.norm_groups)
        self.norm_out = _norm(width, config.norm_groups)
        self.conv_out = nn.Conv2d(width, config.z_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        h = self.conv_in(images)
        for level in self.down:
            h = level(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return out


class Decoder(nn.Module):
    def __init__(self, config: VqGanConfig) -> None:
        super().__init__()
        widths = [config.ch * multiple for multiple in config.ch_mult]
        width = widths[-1]
        resolution = config.resolution // config.downsampling
        self.conv_in = nn.Conv2d(config.z_channels, width, 3, padding=1)
        self.mid = Middle(width, config.norm_groups)
        levels: list[nn.Module] = []
        for level in reversed(range(len(widths))):
            channels = [width] + [widths[level]] * (config.num_res_blocks + 1)
            width = widths[level]
            way = Upsample(width) if level else None
            levels.insert(0, Level(channels, config, resolution, way, "upsample"))
            resolution *= 2
        self.up = nn.ModuleList(levels)  # numbered from the finest level on, as in the checkpoints
        self.norm_out = _norm(width, config.norm_groups)
        self.conv_out = nn.Conv2d(width, config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(list(self.up)):
            h = level(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)
