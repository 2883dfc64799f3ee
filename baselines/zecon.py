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
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from benchmark.diffusion.process import DiffusionProcess
from benchmark.diffusion.schedule import Schedule
from benchmark.guidance.content import ContrastiveReference
from benchmark.guidance.crops import cut, draw_crops
from benchmark.guidance.gradient import LossGradient
from benchmark.guidance.losses import mean_squared, range_penalty
from benchmark.guidance.style import StyleTarget, directional_loss, global_loss
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleTransferMethod,
)
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
            raise ValueError(
                f"patch_min ({self.patch_min}) cannot exceed patch_max ({self.patch_max})"
            )
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
    samples_side_by_side = True
    config: ZeConConfig

    def __init__(self, config: ZeConConfig) -> None:
        super().__init__(config)
        self.config = config
        self.process = DiffusionProcess(Schedule.linear(config.respacing))
        self._weights = {
            name: float(getattr(config, name))
            for name in (
                "clip_global", "clip_global_patch", "clip_dir", "clip_dir_patch",
                "contrastive", "mse", "vgg", "range",
            )
        }  # fmt: skip

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.denoiser = zoo.denoiser()
        self.clip = zoo.clip("guide")
        self.vgg = zoo.vgg()

    @torch.no_grad()
    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class."""
        labels = self.denoiser.labels([r.domain for r in batch.requests], batch.images.device)
        with phase("clip"):
            style = StyleTarget(
                target=self.clip.encode_text(batch.prompts()),
                source=self.clip.encode_text([r.source_prompt for r in batch.requests]),
            )
        x = shown = self._start(batch, labels, noise)
        for step in reversed(range(self.config.t0)):
            x, shown = self.guided_step(x, step, batch, style, labels, noise)
        return shown

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

    @torch.no_grad()
    def guided_step(
        self, x: Tensor, step: int, batch: StyleBatch, style: StyleTarget, labels: Tensor | None,
        noise: NoiseSource,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """One guided reverse step.

        Args:
            x: [B, 3, H, W] at respaced step ``step``.

        Returns:
            x_{t-1}, and the picture that upstream shows for this step: its x0_hat, which guidance
            has changed in DDIM steps only.
        """

        def denoise(xt: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.denoiser(xt, t, labels)
            return out

        ddim = self.config.reverse_process == "ddim"
        believed = self.process.schedule.truncated_step(step)
        # upstream runs the denoiser once more without gradients; only where the guidance mistakes
        # the step does that give other numbers
        with phase("denoiser"):
            plain = None
            if believed != step or (step == 0 and not ddim):
                plain = self.process.predict(denoise, x, step)
        if step == 0 and not ddim and plain is not None:
            return plain.x0_hat, plain.x0_hat  # the last x0_hat is shown: its guidance is not seen
        xt = x.detach().requires_grad_()
        with torch.enable_grad(), phase("denoiser"):
            prediction = self.process.predict(denoise, xt, believed)
        fac = float(np.sqrt(1.0 - self.process.schedule.alphas_cumprod[believed]))
        mixture = prediction.x0_hat.detach() * fac + x * (1 - fac)
        at_mixture, at_x0 = self._gradients(
            mixture, prediction.x0_hat.detach(), believed, step, batch, style, labels, noise
        )
        with phase("denoiser"):
            (through,) = torch.autograd.grad(prediction.x0_hat, xt, fac * at_mixture + at_x0)
        gradient = through + (1 - fac) * at_mixture
        plain = plain or prediction
        x0_hat = plain.x0_hat.detach()
        draw = noise.normal(f"reverse/{step}", x.shape[1:])
        if ddim:
            return self.process.conditioned_ddim_step(
                x, x0_hat, step, gradient, self.config.eta, draw
            )
        width: Tensor | float = float(self.process.schedule.posterior_log_variance_clipped[step])
        if plain.log_variance is not None:
            width = plain.log_variance.detach()
        return self.process.conditioned_ddpm_step(x, x0_hat, step, gradient, width, draw), x0_hat

    def _gradients(
        self, mixture: Tensor, x0_hat: Tensor, believed: int, step: int, batch: StyleBatch,
        style: StyleTarget, labels: Tensor | None, noise: NoiseSource,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Gradients of the weighted losses at the mixture and (range penalty) at x0_hat."""
        config = self.config
        images = batch.images
        fac = float(np.sqrt(1.0 - self.process.schedule.alphas_cumprod[believed]))

        def noised_source(purpose: str) -> Tensor:
            draw = noise.normal(f"source/{purpose}/{step}", images.shape[1:])
            return images * fac + self.process.q_sample(images, believed, draw) * (1 - fac)

        with torch.enable_grad():
            total, beside = LossGradient(mixture), LossGradient(x0_hat)
            x_in = total.image
            with phase("clip"):
                if config.clip_global:
                    seen = self._embed(x_in, f"clip_global/{step}", noise, whole=True)
                    total.add({"clip_global": global_loss(seen, style)}, self._weights)
                if config.clip_global_patch:
                    seen = self._embed(x_in, f"clip_global_patch/{step}", noise)
                    total.add({"clip_global_patch": global_loss(seen, style)}, self._weights)
                if config.clip_dir:
                    seen = self._embed(x_in, f"clip_dir/{step}", noise, whole=True)
                    with torch.no_grad():
                        theirs = self._embed(
                            noised_source("clip_dir"), f"clip_dir/source/{step}", noise, whole=True
                        )
                    total.add({"clip_dir": directional_loss(seen, theirs, style)}, self._weights)
                if config.clip_dir_patch:
                    seen = self._embed(x_in, f"clip_dir_patch/{step}", noise)
                    with torch.no_grad():
                        theirs = self._embed_source(noised_source("clip_dir_patch"))
                    loss = directional_loss(seen, theirs, style)
                    total.add({"clip_dir_patch": loss}, self._weights)
            with phase("encoder"):
                if config.contrastive:
                    loss = self._contrastive(
                        x_in, noised_source("contrastive"), step, labels, noise
                    )
                    total.add({"contrastive": loss}, self._weights)
            with phase("content"):
                if config.mse and believed < _MSE_BELOW:
                    loss = mean_squared(x_in, noised_source("mse"))
                    total.add({"mse": loss}, self._weights)
                if config.vgg and believed < _VGG_BELOW:
                    with torch.no_grad():
                        wanted = self.vgg(noised_source("vgg"), config.vgg_layers)
                    layers = self.vgg(x_in, config.vgg_layers)
                    losses = [mean_squared(layers[name], wanted[name]) for name in layers]
                    total.add({"vgg": torch.stack(losses).sum(0)}, self._weights)
                if config.range:
                    beside.add({"range": range_penalty(beside.image)}, self._weights)
        total.report(step)
        return total.total, beside.total

    def _embed(
        self, images: Tensor, purpose: str, noise: NoiseSource, *, whole: bool = False
    ) -> Tensor:
        """CLIP embeddings of N augmented crops or views of each image, [B, N, D]."""
        config = self.config
        maps = draw_crops(
            noise, purpose, config.n_patches, augment=config.augment or whole,
            scale=None if whole else (config.patch_min, config.patch_max),
        )  # fmt: skip
        crops = cut(images, maps, self.clip.input_size)
        embeddings: Tensor = self.clip.encode_image(crops)
        return embeddings.view(len(images), -1, embeddings.shape[1])

    def _embed_source(self, images: Tensor) -> Tensor:
        """CLIP embeddings of whole images, pooled to CLIP's size as upstream does: [B, 1, D]."""
        side = self.clip.input_size
        embeddings: Tensor = self.clip.encode_image(F.adaptive_avg_pool2d(images, (side, side)))
        return embeddings[:, None]

    def _contrastive(
        self, x_in: Tensor, source: Tensor, step: int, labels: Tensor | None, noise: NoiseSource
    ) -> Tensor:
        """Patch-wise InfoNCE on encoder features at timestep 0, at fresh random places -> [B]."""
        blocks = self.config.encoder_blocks
        zero = torch.zeros(len(x_in), device=x_in.device)
        with torch.no_grad():
            theirs = self.denoiser.encode(source, zero, blocks, labels)
        everyone = torch.arange(len(x_in), device=x_in.device)
        reference = ContrastiveReference(
            theirs, [None] * len(theirs), everyone, self.config.anchors
        )
        return reference.loss(
            self.denoiser.encode(x_in, zero, blocks, labels),
            lambda place, n: noise.permutation(f"anchors/{place}/{step}", n),
            self.config.temperature,
        )
