"""The vector-quantising autoencoder of taming-transformers, in its checkpoints' layout.

Names and shapes of the tensors are those of ``taming.models.vqgan.VQModel`` (Esser, Rombach and
Ommer 2021, arXiv 2012.09841; ``CompVis/taming-transformers`` at commit 3ba01b2), so its checkpoints
load strictly. Left out is what images do not need: the timestep embedding, other channel counts
than three, dropout and the losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.loading import load_strictly
from benchmark.zoo.vqgan_layers import Decoder, Encoder


class VqGanConfig(BaseModel):
    """Width, depth and codebook; the keys are those of taming-transformers' YAML files.

    ``norm_groups`` is a constant there: 32 groups in every normalisation. A narrow model needs
    fewer, since a group of one channel takes the picture's mean colour away.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ch: int = Field(default=128, gt=0)
    ch_mult: tuple[int, ...] = Field(default=(1, 1, 2, 2, 4), min_length=1)
    num_res_blocks: int = Field(default=2, gt=0)
    attn_resolutions: tuple[int, ...] = (16,)
    resolution: int = Field(default=256, gt=0, description="pixels; places attn_resolutions")
    in_channels: Literal[3] = 3
    out_ch: Literal[3] = 3
    z_channels: int = Field(default=256, gt=0)
    double_z: Literal[False] = False
    dropout: Literal[0] = 0
    embed_dim: int = Field(default=256, gt=0)
    n_embed: int = Field(default=16384, gt=1)
    norm_groups: int = Field(default=32, gt=0)

    @model_validator(mode="after")
    def _channels_fit_groups(self) -> Self:
        for multiple in self.ch_mult:
            if self.ch * multiple % self.norm_groups:
                raise ValueError(
                    f"{self.ch * multiple} channels do not fall into {self.norm_groups} groups"
                )
        return self

    @property
    def downsampling(self) -> int:
        """Pixels along one side of a code."""
        return int(2 ** (len(self.ch_mult) - 1))


class VqGan(nn.Module):
    """Encoder, codebook and decoder. Images are [B, 3, H, W], about [-1, 1]."""

    def __init__(self, config: VqGanConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = Codebook(config.n_embed, config.embed_dim)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], architecture: object) -> VqGan:
        """Frozen model with given weights.

        Args:
            state: of a ``VQModel``. What begins with ``loss.`` (its discriminator and LPIPS
                network) is ignored; half precision is widened.
            architecture: keys of :class:`VqGanConfig`.

        Raises:
            WeightsError: the architecture is wrong, or the weights do not fit it.
        """
        try:
            config = VqGanConfig.model_validate(architecture)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "its keys"
            raise WeightsError(
                f"the architecture in its card is wrong: {where}: {first['msg']}"
            ) from error
        # no weights are drawn: the global random state stays as it is
        with torch.device("meta"):
            model = cls(config)
        model = model.to_empty(device="cpu")
        own = {key: value for key, value in state.items() if not key.startswith("loss.")}
        load_strictly(model, own, "the VQGAN architecture in its card")
        return model.eval().requires_grad_(False)

    def encode(self, images: Tensor) -> Tensor:
        """Latents before quantisation, [B, embed_dim, H / f, W / f].

        Raises:
            UsageError: a side that is no multiple of the downsampling f.
        """
        factor = self.config.downsampling
        height, width = images.shape[-2:]
        if height % factor or width % factor:
            raise UsageError(
                f"a picture of {width}x{height} pixels cannot be encoded: the VQGAN's codes are "
                f"{factor} pixels wide, so both sides must be multiples of {factor}"
            )
        z: Tensor = self.quant_conv(self.encoder(images))
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Images of (quantised) latents [B, embed_dim, h, w]: [B, 3, f h, f w], not clipped."""
        images: Tensor = self.decoder(self.post_quant_conv(z))
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions through the codebook."""
        return self.decode(self.quantize(self.encode(images)))


class Codebook(nn.Module):
    """``n_embed`` vectors; a latent is replaced by the nearest one."""

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)

    def indices(self, z: Tensor) -> Tensor:
        """Number of the nearest code (Euclidean) at each place: [B, D, h, w] to int64 [B, h, w]."""
        codes = self.embedding.weight
        flat = z.detach().movedim(1, -1)
        # |z|^2 is the same for every code
        distances = codes.square().sum(1) - 2 * flat @ codes.t()
        return distances.argmin(-1)

    def forward(self, z: Tensor) -> Tensor:
        """The nearest codes, [B, D, h, w]; the gradient goes to ``z`` unchanged."""
        nearest = self.embedding(self.indices(z)).movedim(-1, 1).detach()
        # NaN is nearest to some code as well: a broken sample must not pass for a picture
        nearest = torch.where(z.detach().isnan(), z.detach(), nearest)
        return ReplaceGradient.call(nearest, z) if z.requires_grad else nearest


class ReplaceGradient(torch.autograd.Function):
    """The value of the first argument with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, carrier: Tensor) -> Tensor:
        ctx.shape = carrier.shape
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0].sum_to_size(ctx.shape)

    @classmethod
    def call(cls, value: Tensor, carrier: Tensor) -> Tensor:
        """``value`` as if it had been computed from ``carrier`` by the identity."""
        out: Tensor = cls.apply(value, carrier)
        return out
