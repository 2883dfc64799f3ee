"""ZeCon: zero-shot contrastive loss for text-guided diffusion style transfer, as its code does it.

Yang, Hwang and Ye, ICCV 2023 (arXiv 2303.08622); ``YSerin/ZeCon`` at commit 51e679e. Where the code
departs from the paper the code is followed: losses are taken on a mixture of x0_hat and x_t, each
against a freshly noised source; the source enters the directional loss whole; an inverted latent
serves as the *noise* of a new ``q_sample``; what is shown is the last x0_hat, not the last sample.
One thing differs: crops are cut from the image by one resampling instead of three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from benchmark.diffusion.process import DiffusionProcess
from benchmark.diffusion.schedule import Schedule
from benchmark.guidance.content import ContrastiveReference
from benchmark.guidance.crops import cut, draw_crops
from benchmark.guidance.losses import mean_squared, range_penalty
from benchmark.guidance.query_attention import select
from benchmark.guidance.style import StyleTarget, directional_loss, global_loss
from benchmark.interface import (
    Guidance, MethodCard, MethodConfig, StyleBatch, StyleTransferMethod,
)  # fmt: skip
from benchmark.noise import NoiseSource
from benchmark.profiling import phase

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

# the code compares the respaced index with these, so with T' = 50 both losses are always on
_MSE_BELOW = 700
_VGG_BELOW = 800


class ZeConConfig(MethodConfig):
    """Defaults are the command of the official README (flags' names in the descriptions)."""

    respacing: int = Field(default=50, ge=2, le=1000, description="timestep_respacing")
    t0: int = Field(default=25, ge=1, description="respacing - skip_timesteps")
    forward_process: Literal["ddim", "ddpm"] = Field(
        default="ddim", description="first half of diffusion_type"
    )
    reverse_process: Literal["ddpm", "ddim"] = Field(
        default="ddpm", description="second half of diffusion_type"
    )
    eta: float = Field(default=0.0, ge=0.0, le=1.0, description="eta of the DDIM reverse process")
    clip_global: float = Field(default=0.0, ge=0.0, description="l_clip_global")
    clip_global_patch: float = Field(default=10000.0, ge=0.0, description="l_clip_global_patch")
    clip_dir: float = Field(default=0.0, ge=0.0, description="l_clip_dir")
    clip_dir_patch: float = Field(default=20000.0, ge=0.0, description="l_clip_dir_patch")
    contrastive: float = Field(default=500.0, ge=0.0, description="l_zecon")
    mse: float = Field(default=5000.0, ge=0.0, description="l_mse")
    vgg: float = Field(default=100.0, ge=0.0, description="l_vgg")
    range: float = Field(default=50.0, ge=0.0, description="range_lambda")
    n_patches: int = Field(default=32, ge=1, description="n_patch")
    patch_min: float = Field(default=0.01, gt=0, le=1, description="patch_min, share of the area")
    patch_max: float = Field(default=0.3, gt=0, le=1, description="patch_max, share of the area")
    augment: bool = Field(default=True, description="aug_prob 1 or 0")
    anchors: int = Field(default=256, ge=2, description="locations a layer (fixed upstream)")
    encoder_blocks: tuple[int, ...] = Field(
        default=(0, 2, 5, 8, 11), min_length=1, description="nce_layers (fixed upstream)"
    )
    temperature: float = Field(default=0.07, gt=0, description="nce_T (fixed upstream)")
    vgg_layers: tuple[str, ...] = Field(
        default=("conv1_1", "conv2_1"), min_length=1, description="fixed upstream"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ZeConConfig:
        limit = self.respacing - (self.forward_process == "ddpm" and self.reverse_process == "ddim")
        if self.t0 > limit:
            raise ValueError(f"t0 ({self.t0}) cannot exceed {limit} with these processes")
        if self.patch_min > self.patch_max:
            raise ValueError("patch_min cannot exceed patch_max")
        return self


class ZeCon(StyleTransferMethod):
    """The official editor behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = ZeConConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="ZeCon",
        paper="arXiv 2303.08622",
        upstream="github.com/YSerin/ZeCon@51e679e",
        roles=("denoiser", "guide", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: ZeConConfig

    def __init__(self, config: ZeConConfig) -> None:
        super().__init__(config)
        self.config = config
        self.process = DiffusionProcess(Schedule.linear(config.respacing))

    def prepare(self, zoo: ModelZoo) -> None:
        self.denoiser = zoo.denoiser()
        self.clip = zoo.clip("guide")
        self.vgg = zoo.vgg()

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class."""
        labels = self.denoiser.labels([r.domain for r in batch.requests], batch.images.device)
        with torch.no_grad(), phase("clip"):
            target = self.clip.encode_text([str(r.prompt) for r in batch.requests])
            source = self.clip.encode_text([r.source_prompt for r in batch.requests])
        x = self._start(batch, labels, noise)
        x0_hat = x
        for step in reversed(range(self.config.t0)):
            x, x0_hat = self._step(x, step, batch, target, source, labels, noise)
        return x0_hat.detach()

    @torch.no_grad()
    def _start(self, batch: StyleBatch, labels: Tensor | None, noise: NoiseSource) -> Tensor:
        config, images = self.config, batch.images
        if config.forward_process == "ddim":
            with phase("inversion"):
                latent = self.process.invert(
                    lambda x, t: self.denoiser(x, t, labels), images, config.t0
                )
        else:
            latent = noise.normal("forward", images.shape[1:])
            if config.reverse_process == "ddim":
                # one step noisier than where the reverse process begins, as upstream
                return self.process.q_sample(images, config.t0, latent)
        if config.reverse_process == "ddim":
            return latent
        return self.process.q_sample(images, config.t0 - 1, latent)

    def _unscaled(self, step: int) -> int:
        """The step that the guidance believes to be at.

        Upstream multiplies the training timestep by T' / 1000 and cuts the fraction, which does not
        return the step for every T'.
        """
        ratio = np.float32(len(self.process) / 1000)
        return int(np.float32(self.process.schedule.timestep_map[step]) * ratio)

    def _step(
        self, x: Tensor, step: int, batch: StyleBatch, target: Tensor, source: Tensor,
        labels: Tensor | None, noise: NoiseSource,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """One guided step.

        Returns:
            x_{t-1} and what upstream shows as the picture of this step.
        """

        def denoise(xt: Tensor, t: Tensor) -> Tensor:
            return self.denoiser(xt, t, labels)

        xt = x.detach().requires_grad_()
        believed = self._unscaled(step)
        with phase("denoiser"):
            prediction = self.process.predict(denoise, xt, believed)
        loss = self._loss(
            prediction.x0_hat, xt, believed, step, batch, target, source, labels, noise
        )
        with phase("backward"):
            (gradient,) = torch.autograd.grad(loss.sum(), xt)
        with torch.no_grad():
            if believed == step:
                unguided = prediction.x0_hat.detach()
                log_variance = prediction.log_variance
            else:
                with phase("denoiser"):
                    again = self.process.predict(denoise, x, step)
                unguided, log_variance = again.x0_hat, again.log_variance
            draw = noise.normal(f"reverse/{step}", x.shape[1:])
            if self.config.reverse_process == "ddim":
                return self.process.conditioned_ddim_step(
                    x, unguided, step, gradient, self.config.eta, draw
                )
            fixed = float(self.process.schedule.posterior_log_variance_clipped[step])
            width = fixed if log_variance is None else log_variance.detach()
            moved = self.process.conditioned_ddpm_step(x, unguided, step, gradient, width, draw)
            return moved, unguided

    def _crops(
        self, images: Tensor, purpose: str, scale: tuple[float, float] | None, noise: NoiseSource
    ) -> Tensor:
        """N augmented crops of each image at CLIP's size, [B * N, 3, S, S]."""
        maps = draw_crops(
            noise, purpose, self.config.n_patches, scale=scale, augment=self.config.augment
        )
        return cut(images, maps, self.clip.input_size)

    def _embed(self, crops: Tensor, batch: StyleBatch) -> Tensor:
        return self.clip.encode_image(crops).unflatten(0, (len(batch.images), -1))

    def _loss(
        self, x0_hat: Tensor, xt: Tensor, believed: int, step: int, batch: StyleBatch,
        target: Tensor, source: Tensor, labels: Tensor | None, noise: NoiseSource,
    ) -> Tensor:  # fmt: skip
        """Weighted loss of each sample -> [B]."""
        config = self.config
        fac = float(np.sqrt(1.0 - self.process.schedule.alphas_cumprod[believed]))
        x_in = x0_hat * fac + xt * (1 - fac)
        patch = (config.patch_min, config.patch_max)

        def noised_source(purpose: str) -> Tensor:
            draw = noise.normal(f"{purpose}/{step}", batch.images.shape[1:])
            return batch.images * fac + self.process.q_sample(
                batch.images, believed, draw
            ) * (1 - fac)

        total = config.range * range_penalty(x0_hat)
        style = StyleTarget(target, source, source)  # the image part is set where it is used
        with phase("clip"):
            for kind, weight, scale in (
                ("whole", config.clip_global, None),
                ("patch", config.clip_global_patch, patch),
            ):
                if weight:
                    crops = self._crops(x_in, f"global/{kind}/{step}", scale, noise)
                    total = total + weight * global_loss(self._embed(crops, batch), style)
            if config.clip_dir:
                crops = self._crops(x_in, f"dir/whole/{step}", None, noise)
                with torch.no_grad():
                    theirs = self._crops(
                        noised_source("source/dir/whole"), f"dir/source/{step}", None, noise
                    )
                    paired = self._embed(theirs, batch)
                # upstream pairs the i-th augmented output with the i-th augmented source
                moved = self._embed(crops, batch).flatten(0, 1)
                count = config.n_patches
                each = StyleTarget(
                    target.repeat_interleave(count, 0), source.repeat_interleave(count, 0),
                    paired.flatten(0, 1),
                )  # fmt: skip
                losses = directional_loss(moved[:, None], each)
                total = total + config.clip_dir * losses.unflatten(0, (-1, count)).mean(1)
            if config.clip_dir_patch:
                crops = self._crops(x_in, f"dir/patch/{step}", patch, noise)
                with torch.no_grad():
                    whole = self.clip.encode_image(
                        self.clip.resize(noised_source("source/dir/patch"))
                    )
                directed = StyleTarget(target, source, whole)
                loss = directional_loss(self._embed(crops, batch), directed)
                total = total + config.clip_dir_patch * loss
        if config.contrastive:
            total = total + config.contrastive * self._contrastive(
                x_in, noised_source("source/contrastive"), step, labels, noise
            )
        with phase("content"):
            if config.mse and believed < _MSE_BELOW:
                total = total + config.mse * mean_squared(x_in, noised_source("source/mse"))
            if config.vgg and believed < _VGG_BELOW:
                with torch.no_grad():
                    wanted = self.vgg(noised_source("source/vgg"), config.vgg_layers)
                for name, layer in self.vgg(x_in, config.vgg_layers).items():
                    total = total + config.vgg * mean_squared(layer, wanted[name])
        return total

    def _contrastive(
        self, x_in: Tensor, source: Tensor, step: int, labels: Tensor | None, noise: NoiseSource
    ) -> Tensor:
        """Patch-wise InfoNCE on encoder features at timestep 0, at fresh random places -> [B]."""
        config = self.config
        zero = torch.zeros(len(x_in), device=x_in.device)
        with torch.no_grad(), phase("encoder"):
            theirs = self.denoiser.encode(source, zero, config.encoder_blocks, labels)
        routings = [
            select(
                layer, "none", config.anchors,
                permutation=noise.permutation(f"anchors/{place}/{step}", layer[0, 0].numel()),
            )
            for place, layer in enumerate(theirs)
        ]  # fmt: skip
        with phase("encoder"):
            mine = self.denoiser.encode(x_in, zero, config.encoder_blocks, labels)
        with phase("content"):
            return ContrastiveReference.of(theirs, routings).loss(mine, config.temperature)
