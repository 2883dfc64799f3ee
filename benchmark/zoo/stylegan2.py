"""StyleGAN2's generator in the layout of rosinality/stylegan2-pytorch, at any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.loading import load_strictly
from benchmark.zoo.stylegan2_encoder import EncoderConfig, LatentEncoder
from benchmark.zoo.stylegan2_layers import (
    ConstantInput,
    EqualLinear,
    PixelNorm,
    StyledConv,
    ToRgb,
)

AVERAGED = 4096  # latents behind the mean, as in the official scripts
PREFIX = "g_ema."  # where a training checkpoint keeps the averaged generator


class StyleGan2Config(BaseModel):
    """Sizes of a generator; the defaults are those of the official checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=8, le=1024, description="side of the picture, a power of two")
    style_dim: int = Field(default=512, ge=1, description="length of z and w")
    n_mlp: int = Field(default=8, ge=1, description="layers of the mapping network")
    channel_multiplier: int = Field(
        default=2, ge=1, description="width from 64 pixels on; 2 is config-f of the paper"
    )
    channels: tuple[int, ...] | None = Field(
        default=None,
        description="channels at 4, 8, ... `size` pixels; None: the official table "
        "(512 up to 32 pixels, then 256 x multiplier, halved at each doubling)",
    )
    encoder: EncoderConfig | None = Field(
        default=None, description="sizes of an encoder in the same file (names `encoder.*`)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> StyleGan2Config:
        if self.size & (self.size - 1):
            raise ValueError(f"size {self.size} is not a power of two")
        if self.channels is not None and len(self.channels) != self.levels:
            raise ValueError(
                f"channels names {len(self.channels)} widths; {self.size} pixels have "
                f"{self.levels} levels (4, 8, ... {self.size})"
            )
        return self

    @property
    def levels(self) -> int:
        """Resolutions from 4 pixels to ``size``."""
        return self.size.bit_length() - 2

    @property
    def latents(self) -> int:
        """Style vectors of one picture: rows of W+."""
        return 2 * self.levels

    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        if self.channels is not None:
            return self.channels
        return tuple(
            512 if level < 4 else 256 * self.channel_multiplier // 2 ** (level - 4)
            for level in range(self.levels)
        )


class StyleGan2(nn.Module):
    """Mapping network and synthesis network with skip connections (Karras et al. 2020).

    Nothing here draws random numbers: the noise of each layer is passed in or is the constant
    that is stored with the weights.

    Args:
        config: sizes.
    """

    latent_avg: Tensor

    def __init__(self, config: StyleGan2Config) -> None:
        super().__init__()
        self.config = config
        dim, widths = config.style_dim, config.widths()
        mapping = [EqualLinear(dim, dim, rate=0.01, activate=True) for _ in range(config.n_mlp)]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = ConstantInput(widths[0])
        self.conv1 = StyledConv(widths[0], widths[0], dim)
        self.to_rgb1 = ToRgb(widths[0], dim, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for below, width in pairwise(widths):
            self.convs.append(StyledConv(below, width, dim, upsample=True))
            self.convs.append(StyledConv(width, width, dim))
            self.to_rgbs.append(ToRgb(width, dim))
        self.noises = nn.Module()
        for index, side in enumerate(self.noise_sides):
            self.noises.register_buffer(f"noise_{index}", torch.randn(1, 1, side, side))
        self.register_buffer("latent_avg", torch.zeros(dim))
        self.encoder = (
            None
            if config.encoder is None
            else LatentEncoder(config.encoder, config.size, config.latents, dim)
        )

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], architecture: Mapping[str, Any] | str | None
    ) -> StyleGan2:
        """A frozen generator with given weights.

        Args:
            state: the generator's tensors, or a whole checkpoint of rosinality's ``train.py`` or
                ``convert_weight.py`` with ``g_ema.`` before its names (``g``, ``d`` and the
                optimisers are ignored). ``latent_avg`` is used if it is there, otherwise the mean
                of 4,096 seeded latents is computed.
            architecture: keys of :class:`StyleGan2Config`.

        Raises:
            WeightsError: an architecture that is wrong, or that the weights do not fit.
        """
        try:
            config = StyleGan2Config.model_validate(architecture)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "architecture"
            raise WeightsError(
                f"the generator's architecture in its card is wrong: {where}: {first['msg']}"
            ) from error
        with torch.random.fork_rng(devices=[]):
            model = cls(config)
        found = dict(state)
        if any(name.startswith(PREFIX) for name in found):
            average = found.get("latent_avg")
            found = {
                name.removeprefix(PREFIX): value
                for name, value in found.items()
                if name.startswith(PREFIX)
            }
            if average is not None:
                found["latent_avg"] = average
        averaged = "latent_avg" in found
        found["latent_avg"] = found.get("latent_avg", model.latent_avg).reshape(-1)
        what = f"a StyleGAN2 generator of {config.size} pixels (rosinality's layout)"
        load_strictly(model, found, what)
        if not averaged:
            model.latent_avg.copy_(model.average_latent())
        return model.eval().requires_grad_(False)

    @property
    def noise_sides(self) -> tuple[int, ...]:
        """Side of each layer's noise map: 4, 8, 8, 16, 16, ..."""
        return tuple(2 ** ((index + 5) // 2) for index in range(2 * self.config.levels - 1))

    @torch.no_grad()
    def average_latent(self, seed: int = 0) -> Tensor:
        """Mean w [D] of 4,096 latents drawn from a generator of its own."""
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(AVERAGED, self.config.style_dim, generator=generator)
        latents: Tensor = self.style(z.to(self.latent_avg))
        return latents.mean(0)

    def map(self, z: Tensor) -> Tensor:
        """Latents w [N, D] of standard normal vectors z [N, D]."""
        w: Tensor = self.style(z)
        return w

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Latents moved towards the mean; psi 1 leaves them, 0 gives the mean."""
        return torch.lerp(self.latent_avg.expand_as(w), w, psi)

    def broadcast(self, latents: Tensor) -> Tensor:
        """W+ [N, L, D] of latents [N, D] (the same for each layer) or [N, L, D].

        Raises:
            UsageError: a shape that is neither.
        """
        rows, dim = self.config.latents, self.config.style_dim
        if latents.ndim == 2 and latents.shape[1] == dim:
            return latents[:, None].expand(-1, rows, -1)
        if latents.ndim == 3 and tuple(latents.shape[1:]) == (rows, dim):
            return latents
        raise UsageError(
            f"latents of shape {tuple(latents.shape)} do not fit the generator: it takes "
            f"[N, {dim}] or [N, {rows}, {dim}]"
        )

    def constant_noise(self) -> list[Tensor]:
        """The stored noise maps [1, 1, S, S]."""
        return [self.noises.get_buffer(f"noise_{i}") for i in range(len(self.noise_sides))]

    def random_noise(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """New noise maps [N, 1, S, S] from a CPU generator."""
        return [
            torch.randn(count, 1, side, side, generator=generator).to(self.latent_avg)
            for side in self.noise_sides
        ]

    def forward(self, latents: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Pictures of latents.

        Args:
            latents: w [N, D] or W+ [N, L, D].
            noise: a map [N or 1, 1, S, S] for each layer; None: the stored constants.

        Returns:
            [N, 3, size, size], about [-1, 1], not clamped.
        """
        rows = self.broadcast(latents)
        maps = self.constant_noise() if noise is None else noise
        x = self.conv1(self.input(len(rows)), rows[:, 0], maps[0])
        image: Tensor = self.to_rgb1(x, rows[:, 1])
        for level, to_rgb in enumerate(self.to_rgbs):
            first = 2 * level + 1
            x = self.convs[first - 1](x, rows[:, first], maps[first])
            x = self.convs[first](x, rows[:, first + 1], maps[first + 1])
            image = to_rgb(x, rows[:, first + 2], image)
        return image

    def encode(self, images: Tensor) -> Tensor:
        """W+ [N, L, D] of pictures [N, 3, size, size] in [-1, 1] by the encoder.

        Raises:
            UsageError: the checkpoint has no encoder.
        """
        if self.encoder is None:
            raise UsageError("this generator's checkpoint has no encoder")
        offsets: Tensor = self.encoder(images)
        return self.latent_avg + offsets
