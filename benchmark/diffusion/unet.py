"""The guided-diffusion U-Net (Dhariwal & Nichol 2021, arXiv 2105.05233), written anew.

Parameter names and shapes equal those of ``openai/guided-diffusion`` (commit 22e0df8), so its
checkpoints (``256x256_diffusion_uncond.pt`` and the FFHQ, AFHQ-dog, LSUN models) load with
``strict=True``. Differences that do not change the numbers beyond float rounding: attention runs
through ``scaled_dot_product_attention``, and :meth:`UNet.encode` stops at the deepest block asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from benchmark.diffusion.schedule import Schedule

Zeroed = TypeVar("Zeroed", bound=nn.Module)


class UNetConfig(BaseModel):
    """Architecture of a :class:`UNet`; the official names where they are clear.

    ``attention_resolutions`` are feature-map sides (16 means: attention where maps are 16x16), as
    on the official command line, not down-sampling rates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(gt=0, description="side of the square input in pixels")
    model_channels: int = Field(gt=0, description="channels of the first level")
    channel_mult: tuple[int, ...] = Field(description="channels of each level / model_channels")
    num_res_blocks: int = Field(gt=0)
    attention_resolutions: tuple[int, ...]
    num_heads: int = Field(default=4, description="used where num_head_channels is None")
    num_head_channels: int | None = Field(default=64)
    num_classes: int | None = Field(default=None, description="labels of a class-conditional model")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    learn_sigma: bool = Field(default=True, description="6 output channels: eps and a variance")
    resblock_updown: bool = True
    use_scale_shift_norm: bool = True
    use_new_attention_order: bool = False
    norm_groups: int = Field(
        default=32, gt=0, description="fixed in the official code; all channel counts are multiples"
    )
    predicts: Literal["noise", "velocity"] = Field(
        default="noise",
        description="what the last layer computes; the model returns noise in either case. In the "
        "official code it is the noise",
    )

    @property
    def out_channels(self) -> int:
        return 6 if self.learn_sigma else 3

    @property
    def num_input_blocks(self) -> int:
        """Blocks of the encoder half; valid block indices are ``range(num_input_blocks)``."""
        levels = len(self.channel_mult)
        return 1 + levels * self.num_res_blocks + (levels - 1)


def timestep_embedding(timesteps: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding, cosines first (as the official code).

    Args:
        timesteps: [B], integer or float, on the 0..999 scale of the training schedule.
        dim: even width of the embedding.

    Returns:
        [B, dim] float32.
    """
    half = dim // 2
    frequencies = torch.exp(
        -math.log(max_period)
        * torch.arange(half, dtype=torch.float32, device=timesteps.device)
        / half
    )
    angles = timesteps[:, None].float() * frequencies[None]
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


def _norm(channels: int, config: UNetConfig) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_groups, channels)


def _zero(module: Zeroed) -> Zeroed:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class Upsample(nn.Module):
    """Nearest-neighbour 2x, then a 3x3 convolution if ``use_conv``."""

    def __init__(self, channels: int, use_conv: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if use_conv else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return x if self.conv is None else self.conv(x)


class Downsample(nn.Module):
    """Strided 3x3 convolution if ``use_conv``, else 2x2 average pooling."""

    def __init__(self, channels: int, use_conv: bool) -> None:
        super().__init__()
        self.op: nn.Module = (
            nn.Conv2d(channels, channels, 3, stride=2, padding=1) if use_conv else nn.AvgPool2d(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class ResBlock(nn.Module):
    """Residual block conditioned on the time embedding, optionally resampling by 2."""

    def __init__(
        self, channels: int, out_channels: int, emb_channels: int, config: UNetConfig, *,
        up: bool = False, down: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.use_scale_shift_norm = config.use_scale_shift_norm
        self.resample: nn.Module | None = None
        if up:
            self.resample = Upsample(channels, use_conv=False)
        elif down:
            self.resample = Downsample(channels, use_conv=False)
        self.in_layers = nn.Sequential(
            _norm(channels, config), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        emb_width = 2 * out_channels if config.use_scale_shift_norm else out_channels
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, emb_width))
        self.out_layers = nn.Sequential(
            _norm(out_channels, config),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            _zero(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection: nn.Module = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers[1](self.in_layers[0](x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.in_layers[2](h)
        emb_out = self.emb_layers(emb).to(h.dtype)[..., None, None]
        if self.use_scale_shift_norm:
            scale, shift = emb_out.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
            h = self.out_layers[1:](h)
        else:
            h = self.out_layers(h + emb_out)
        out: Tensor = self.skip_connection(x) + h
        return out


class AttentionBlock(nn.Module):
    """Self-attention over positions. ``qkv`` and ``proj_out`` are 1x1 Conv1d, as upstream."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        if config.num_head_channels is None:
            self.num_heads = config.num_heads
        else:
            if channels % config.num_head_channels:
                raise ValueError(
                    f"attention over {channels} channels cannot be split into heads of "
                    f"{config.num_head_channels} channels (UNetConfig.num_head_channels)"
                )
            self.num_heads = channels // config.num_head_channels
        self.new_order = config.use_new_attention_order
        self.norm = _norm(channels, config)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # 1x1 convolutions as matrix products over [B, L, C], which channels-last already is: the
        # heads' last dimension is then contiguous, and attention takes its fused kernel
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        qkv = _pointwise(self.qkv, tokens)
        if self.new_order:  # channels are (3, heads, width)
            qkv = qkv.view(batch, -1, 3, self.num_heads, channels // self.num_heads)
            qkv = qkv.permute(2, 0, 3, 1, 4)
        else:  # legacy order: (heads, 3, width)
            qkv = qkv.view(batch, -1, self.num_heads, 3, channels // self.num_heads)
            qkv = qkv.permute(3, 0, 2, 1, 4)
        query, key, value = qkv.unbind(0)
        h = F.scaled_dot_product_attention(query, key, value)  # [B, heads, L, width]
        h = _pointwise(self.proj_out, h.transpose(1, 2).flatten(2))
        out: Tensor = x + h.transpose(1, 2).reshape(batch, channels, height, width)
        return out


def _pointwise(conv: nn.Conv1d, tokens: Tensor) -> Tensor:
    """A 1x1 convolution of [B, L, C]."""
    return F.linear(tokens, conv.weight[..., 0], conv.bias)


class NoiseOfVelocity(nn.Module):
    """Noise from a velocity v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans & Ho 2022).

    eps = sqrt(abar) v + sqrt(1 - abar) x_t. Near pure noise eps is x_t but for a thousandth, and
    that thousandth is all that a network can know of x_0: it is exact here without the network
    having to repeat x_t. The training schedule is the linear one of 1,000 steps.
    """

    def __init__(self) -> None:
        super().__init__()
        table = torch.from_numpy(Schedule.linear().alphas_cumprod).float()
        self.alphas_cumprod: Tensor
        self.register_buffer("alphas_cumprod", table, persistent=False)

    def forward(self, output: Tensor, xt: Tensor, timesteps: Tensor) -> Tensor:
        """[B, 3 or 6, H, W] in float32, the velocity in its first three channels replaced."""
        low = timesteps.floor().long() if timesteps.is_floating_point() else timesteps
        table = self.alphas_cumprod
        between = (timesteps - low).to(table.dtype)
        abar = table[low].lerp(table[(low + 1).clamp_max(len(table) - 1)], between)
        abar = abar[:, None, None, None]
        output = output.float()
        noise = abar.sqrt() * output[:, :3] + (1 - abar).sqrt() * xt.float()
        return torch.cat([noise, output[:, 3:]], dim=1)


class BlockSequence(nn.Sequential):
    """Children in order; residual blocks also receive the time embedding."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNet(nn.Module):
    """Predicts the noise (and the variance interpolation) of a noised image.

    Args:
        config: the architecture.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.model_channels
        emb_channels = 4 * width
        self.time_embed = nn.Sequential(
            nn.Linear(width, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels)
        )
        if config.num_classes is not None:
            self.label_emb = nn.Embedding(config.num_classes, emb_channels)

        def attends(resolution: int) -> bool:
            return resolution in config.attention_resolutions

        channels = config.channel_mult[0] * width
        first_channels = channels
        resolution = config.image_size
        skips = [channels]
        self.input_blocks = nn.ModuleList([BlockSequence(nn.Conv2d(3, channels, 3, padding=1))])
        last_level = len(config.channel_mult) - 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                layers: list[nn.Module] = [ResBlock(channels, mult * width, emb_channels, config)]
                channels = mult * width
                if attends(resolution):
                    layers.append(AttentionBlock(channels, config))
                self.input_blocks.append(BlockSequence(*layers))
                skips.append(channels)
            if level != last_level:
                down: nn.Module = (
                    ResBlock(channels, channels, emb_channels, config, down=True)
                    if config.resblock_updown
                    else Downsample(channels, use_conv=True)
                )
                self.input_blocks.append(BlockSequence(down))
                skips.append(channels)
                resolution //= 2

        self.middle_block = BlockSequence(
            ResBlock(channels, channels, emb_channels, config),
            AttentionBlock(channels, config),
            ResBlock(channels, channels, emb_channels, config),
        )

        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            for index in range(config.num_res_blocks + 1):
                layers = [ResBlock(channels + skips.pop(), mult * width, emb_channels, config)]
                channels = mult * width
                if attends(resolution):
                    layers.append(AttentionBlock(channels, config))
                if level and index == config.num_res_blocks:
                    layers.append(
                        ResBlock(channels, channels, emb_channels, config, up=True)
                        if config.resblock_updown
                        else Upsample(channels, use_conv=True)
                    )
                    resolution *= 2
                self.output_blocks.append(BlockSequence(*layers))

        self.out = nn.Sequential(
            _norm(channels, config),
            nn.SiLU(),
            _zero(nn.Conv2d(first_channels, config.out_channels, 3, padding=1)),
        )
        self.noise_of = NoiseOfVelocity() if config.predicts == "velocity" else None

    def _embed(self, timesteps: Tensor, labels: Tensor | None) -> Tensor:
        if (labels is not None) != (self.config.num_classes is not None):
            needs = "needs" if self.config.num_classes is not None else "does not take"
            raise ValueError(
                f"this U-Net {needs} class labels (num_classes={self.config.num_classes})"
            )
        emb: Tensor = self.time_embed(timestep_embedding(timesteps, self.config.model_channels))
        if labels is not None:
            emb = emb + self.label_emb(labels)
        return emb

    def forward(self, x: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Predict.

        Args:
            x: [B, 3, S, S] noised images on the [-1, 1] scale of x_0.
            timesteps: [B] on the 0..999 scale (fractions allowed).
            labels: [B] int64, if and only if the model is class-conditional.

        Returns:
            [B, 6, S, S] (noise, then variance interpolation) or [B, 3, S, S], in x's dtype.
        """
        emb = self._embed(timesteps, labels)
        h = x
        skips: list[Tensor] = []
        for block in self.input_blocks:
            h = block(h, emb)
            skips.append(h)
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        out: Tensor = self.out(h)
        if self.noise_of is not None:
            out = self.noise_of(out, x, timesteps)
        return out.to(x.dtype)

    def encode(
        self, x: Tensor, timesteps: Tensor, blocks: Sequence[int], labels: Tensor | None = None
    ) -> list[Tensor]:
        """Features of chosen encoder blocks; the pass stops at the deepest one.

        Args:
            x: [B, 3, S, S].
            timesteps: [B]; ZeCon evaluates features at 0.
            blocks: indices of input blocks, increasing (official: 0, 2, 5, 8, 11).
            labels: as in :meth:`forward`.

        Returns:
            One [B, C_i, H_i, W_i] feature map for each entry of ``blocks``.

        Raises:
            ValueError: if a block does not exist or the list is not increasing.
        """
        if (
            not blocks
            or list(blocks) != sorted(set(blocks))
            or not (blocks[0] >= 0 and blocks[-1] < len(self.input_blocks))
        ):
            raise ValueError(
                f"encoder blocks must be increasing indices below {len(self.input_blocks)}, "
                f"got {list(blocks)}"
            )
        emb = self._embed(timesteps, labels)
        features: list[Tensor] = []
        h = x
        for index, block in enumerate(self.input_blocks):
            h = block(h, emb)
            if index in blocks:
                features.append(h)
            if index == blocks[-1]:
                break
        return features
