"""QS-Attn style transfer: text-guided diffusion without training, composed from the parts.

Source: J. Hwang, "Rapid Content-aware Image Style Transfer using Attention Map Guidance and
Diffusion Model" (University of Ottawa), built on ZeCon (arXiv 2303.08622) and QS-Attn
(arXiv 2203.08483). Every ablation of the paper is a value of :class:`QSAttnConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from benchmark.diffusion.process import DiffusionProcess
from benchmark.diffusion.schedule import Schedule
from benchmark.guidance.content import ContrastiveReference
from benchmark.guidance.crops import cut, draw_crops
from benchmark.guidance.losses import mean_squared, range_penalty
from benchmark.guidance.query_attention import Attention, Routing, WindowLayout, select
from benchmark.guidance.style import StyleTarget, directional_loss, global_loss
from benchmark.interface import (
    Guidance, MethodCard, MethodConfig, StyleBatch, StyleTransferMethod,
)  # fmt: skip
from benchmark.noise import NoiseSource
from benchmark.profiling import phase

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo


class QSAttnConfig(MethodConfig):
    """Knobs of the sampler. "Paper" is Hwang's thesis, "ZeCon" the official code."""

    forward_process: Literal["ddim", "ddpm"] = Field(
        default="ddim", description="inversion (ddim) or noising (ddpm); paper's default ddim"
    )
    reverse_process: Literal["ddpm", "ddim"] = Field(
        default="ddpm", description="stochastic or deterministic sampling; paper's default ddpm"
    )
    respacing: int = Field(default=50, ge=2, le=1000, description="T', steps of the respaced chain")
    t0: int = Field(default=25, ge=1, description="steps that are inverted and sampled (paper: 25)")
    eta: float = Field(
        default=0.0, ge=0.0, le=1.0, description="stochasticity of the DDIM reverse process"
    )
    variance: Literal["posterior", "learned"] = Field(
        default="posterior", description="sigma of DDPM steps; ZeCon uses the learned variance"
    )
    start: Literal["inverted", "renoised"] = Field(
        default="inverted",
        description="begin at the inverted latent, or (ZeCon) use it as noise of a q_sample",
    )
    gradient: Literal["x0", "xt"] = Field(
        default="x0",
        description="gradient at x0_hat (paper, eq. 8), or through the denoiser to x_t (ZeCon)",
    )
    guidance_scale: float = Field(
        default=1.0, ge=0.0, description="times posterior variance: how far x0_hat is moved"
    )
    clip_global: float = Field(default=0.0, ge=0.0, description="weight: global CLIP, whole image")
    clip_global_patch: float = Field(default=10000.0, ge=0.0, description="weight: same, on crops")
    clip_dir: float = Field(default=0.0, ge=0.0, description="weight: directional CLIP, whole image")
    clip_dir_patch: float = Field(default=20000.0, ge=0.0, description="weight: same, on crops")
    contrastive: float = Field(default=500.0, ge=0.0, description="weight: InfoNCE on anchors")
    mse: float = Field(default=5000.0, ge=0.0, description="weight: pixel mean squared error")
    vgg: float = Field(default=100.0, ge=0.0, description="weight: VGG feature mean squared error")
    range: float = Field(default=50.0, ge=0.0, description="weight: penalty outside of [-1, 1]")
    n_patches: int = Field(default=32, ge=1, description="N, crops a step (paper: 32 and 96)")
    patch_min: float = Field(default=0.01, gt=0, le=1, description="smallest crop, share of the area")
    patch_max: float = Field(default=0.3, gt=0, le=1, description="largest crop, share of the area")
    augment: bool = Field(default=True, description="random affine and perspective of the crops")
    attention: Attention = Field(
        default="local_global", description="which anchors and routing; none: random (ZeCon)"
    )
    window: int = Field(default=7, ge=1, description="side of the local attention (QS-Attn: 7)")
    window_layout: WindowLayout = Field(
        default="spatial", description="upstream repeats a mix-up of axes in QS-Attn's code"
    )
    anchors: int = Field(default=256, ge=2, description="anchors per layer (QS-Attn, ZeCon: 256)")
    encoder_blocks: tuple[int, ...] = Field(
        default=(0, 2, 5, 8, 11), min_length=1, description="input blocks of the U-Net (ZeCon)"
    )
    attention_from: int = Field(
        default=2, ge=0,
        description="first of encoder_blocks (by place) with query selection; earlier ones are "
        "random (QS-Attn: 3 of its 5 layers)",
    )  # fmt: skip
    temperature: float = Field(default=0.07, gt=0, description="of InfoNCE")
    vgg_layers: tuple[str, ...] = Field(
        default=("conv1_1", "conv2_1"), min_length=1, description="as in ZeCon's code"
    )

    @model_validator(mode="after")
    def _consistent(self) -> QSAttnConfig:
        if self.t0 > self.respacing:
            raise ValueError(f"t0 ({self.t0}) cannot exceed respacing ({self.respacing})")
        if self.patch_min > self.patch_max:
            raise ValueError("patch_min cannot exceed patch_max")
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, got {self.window}")
        if self.start == "renoised" and self.forward_process == "ddpm":
            raise ValueError("start=renoised is for forward_process=ddim: there is no latent else")
        return self


class _Source:
    """What is computed once for each content image and shared by its prompts."""

    def __init__(self, images: Tensor, image_ids: list[str], image_of: Tensor) -> None:
        self.images = images  # [U, 3, H, W], distinct images
        self.image_ids = image_ids
        self.image_of = image_of  # [B], index of each sample's image
        self.contrastive: ContrastiveReference | None = None
        self.vgg: dict[str, Tensor] = {}


class QSAttnStyleTransfer(StyleTransferMethod):
    """Our sampler: DDIM inversion, then guided DDPM with query-selected contrastive content."""

    Config: ClassVar[type[MethodConfig]] = QSAttnConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="QS-Attn style transfer (ours)",
        paper="J. Hwang, Rapid Content-aware Image Style Transfer using Attention Map Guidance and "
        "Diffusion Model, University of Ottawa",
        upstream=None,
        roles=("denoiser", "guide", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: QSAttnConfig

    def __init__(self, config: QSAttnConfig) -> None:
        super().__init__(config)
        self.config = config
        self.process = DiffusionProcess(Schedule.linear(config.respacing))

    def prepare(self, zoo: ModelZoo) -> None:
        self.denoiser = zoo.denoiser()
        self.clip = zoo.clip("guide")
        self.vgg = zoo.vgg()

    # --- once per image -------------------------------------------------------------------------

    @torch.no_grad()
    def _analyse(self, source: _Source, batch: StyleBatch, noise: NoiseSource) -> None:
        config = self.config
        if config.contrastive:
            with phase("encoder"):
                features = self._encode(source.images, self._labels(batch, source))
            with phase("content"):
                routings = self._select(features, source, noise)
                reference = ContrastiveReference.of(features, routings)
                source.contrastive = reference.expand(source.image_of)
        if config.vgg:
            with phase("content"):
                layers = self.vgg(source.images, config.vgg_layers)
                source.vgg = {name: layer[source.image_of] for name, layer in layers.items()}

    def _select(self, features: list[Tensor], source: _Source, noise: NoiseSource) -> list[Routing]:
        """Anchors per layer. Random ones belong to the image, so that its prompts share them."""
        config = self.config
        owners = NoiseSource(noise.run_seed, source.image_ids, noise.device)
        routings = []
        for place, layer in enumerate(features):
            selected = config.attention != "none" and place >= config.attention_from
            routings.append(
                select(
                    layer, config.attention if selected else "none", config.anchors,
                    window=config.window, layout=config.window_layout,
                    permutation=None if selected else owners.permutation(
                        f"anchors/{place}", layer.shape[2] * layer.shape[3]
                    ),
                )
            )  # fmt: skip
        return routings

    def _labels(self, batch: StyleBatch, source: _Source | None = None) -> Tensor | None:
        domains = [request.domain for request in batch.requests]
        labels = self.denoiser.labels(domains, batch.images.device)
        if labels is None or source is None:
            return labels
        return labels[_first_samples(source.image_of, len(source.images))]

    def _encode(self, images: Tensor, labels: Tensor | None) -> list[Tensor]:
        """Encoder features at timestep 0, as ZeCon takes them."""
        zero = torch.zeros(len(images), device=images.device)
        return self.denoiser.encode(images, zero, self.config.encoder_blocks, labels)

    # --- every step -----------------------------------------------------------------------------

    def _loss(
        self, x0_hat: Tensor, step: int, source: _Source, style: StyleTarget, batch: StyleBatch,
        labels: Tensor | None, noise: NoiseSource,
    ) -> Tensor:  # fmt: skip
        """Weighted guidance loss of each sample at x0_hat -> [B]."""
        config = self.config
        total = config.range * range_penalty(x0_hat)
        for scale, global_weight, directional_weight in (
            ((config.patch_min, config.patch_max), config.clip_global_patch, config.clip_dir_patch),
            (None, config.clip_global, config.clip_dir),
        ):
            if not (global_weight or directional_weight):
                continue
            with phase("clip"):
                kind = "whole" if scale is None else "patch"
                # without augmentation all copies of the whole image would be the same
                count = 1 if scale is None and not config.augment else config.n_patches
                maps = draw_crops(
                    noise, f"crops/{kind}/{step}", count, scale=scale, augment=config.augment
                )
                crops = cut(x0_hat, maps, self.clip.input_size)
                embeddings = self.clip.encode_image(crops).unflatten(0, (len(x0_hat), -1))
                if global_weight:
                    total = total + global_weight * global_loss(embeddings, style)
                if directional_weight:
                    total = total + directional_weight * directional_loss(embeddings, style)
        if source.contrastive is not None:
            with phase("encoder"):
                features = self._encode(x0_hat, labels)
            with phase("content"):
                loss = source.contrastive.loss(features, config.temperature)
                total = total + config.contrastive * loss
        with phase("content"):
            if config.mse:
                total = total + config.mse * mean_squared(x0_hat, batch.images)
            if config.vgg:
                layers = self.vgg(x0_hat, config.vgg_layers)
                for name, layer in layers.items():
                    total = total + config.vgg * mean_squared(layer, source.vgg[name])
        return total

    def _style(self, source: _Source, batch: StyleBatch) -> StyleTarget:
        with torch.no_grad(), phase("clip"):
            images = self.clip.encode_image(self.clip.resize(source.images))
            return StyleTarget(
                target=self.clip.encode_text([str(r.prompt) for r in batch.requests]),
                source=self.clip.encode_text([r.source_prompt for r in batch.requests]),
                source_image=images[source.image_of],
            )

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """Invert or noise to step t0, then sample back under guidance. See the base class."""
        source = _distinct_images(batch)
        style = self._style(source, batch)
        self._analyse(source, batch, noise)
        x = self._start(source, batch, noise)
        labels = self._labels(batch)
        x0_hat = x
        for step in reversed(range(self.config.t0)):
            if self.config.gradient == "x0":
                x, x0_hat = self._step_x0(x, step, source, style, batch, labels, noise)
            else:
                x, x0_hat = self._step_xt(x, step, source, style, batch, labels, noise)
        return x.detach()

    @torch.no_grad()
    def _start(self, source: _Source, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        config = self.config
        last = config.t0 - 1
        if config.forward_process == "ddpm":
            return self.process.q_sample(
                batch.images, last, noise.normal("forward", batch.images.shape[1:])
            )
        labels = self._labels(batch, source)
        with phase("inversion"):
            latent = self.process.invert(
                lambda x, t: self.denoiser(x, t, labels), source.images, config.t0
            )[source.image_of]
        if config.start == "renoised":
            return self.process.q_sample(batch.images, last, latent)
        return latent

    def _step_x0(
        self, x: Tensor, step: int, source: _Source, style: StyleTarget, batch: StyleBatch,
        labels: Tensor | None, noise: NoiseSource,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """x0_hat is moved against the gradient taken at it; the denoiser is not differentiated.

        The move is ``guidance_scale * posterior variance * gradient``, the factor by which
        guided diffusion weighs a gradient at x_t (Dhariwal & Nichol 2021, algorithm 1).
        """
        with torch.no_grad(), phase("denoiser"):
            prediction = self.process.predict(
                lambda xt, t: self.denoiser(xt, t, labels), x, step
            )
        x0_hat = prediction.x0_hat.detach().requires_grad_()
        loss = self._loss(x0_hat, step, source, style, batch, labels, noise)
        with phase("backward"):
            (gradient,) = torch.autograd.grad(loss.sum(), x0_hat)
        with torch.no_grad():
            scale = self.config.guidance_scale * self.process.posterior_variance(step)
            moved = prediction.x0_hat - scale * gradient
            sigma, draw = self._noise_of_step(x, step, prediction.log_variance, noise)
            if isinstance(sigma, Tensor):
                mean = self.process.posterior_mean(moved, x, step)
                return self.process.ddpm_step(mean, step, sigma, draw), moved
            return self.process.implicit_step(moved, prediction.eps, step, sigma, draw), moved

    def _noise_of_step(
        self, x: Tensor, step: int, log_variance: Tensor | None, noise: NoiseSource
    ) -> tuple[Tensor | float, Tensor]:
        """Learned log-variance, or the sigma of the implicit step; and the step's noise."""
        draw = noise.normal(f"reverse/{step}", x.shape[1:])
        ddpm = self.process.ddpm_sigma(step)
        if self.config.reverse_process == "ddim":
            return self.config.eta * ddpm, draw
        if self.config.variance == "learned" and log_variance is not None:
            return log_variance, draw
        return ddpm, draw

    def _step_xt(
        self, x: Tensor, step: int, source: _Source, style: StyleTarget, batch: StyleBatch,
        labels: Tensor | None, noise: NoiseSource,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The gradient is taken with respect to x_t, through the denoiser."""
        xt = x.detach().requires_grad_()
        with phase("denoiser"):
            prediction = self.process.predict(
                lambda xt_, t: self.denoiser(xt_, t, labels), xt, step
            )
        loss = self._loss(prediction.x0_hat, step, source, style, batch, labels, noise)
        with phase("backward"):
            (gradient,) = torch.autograd.grad(loss.sum(), xt)
        with torch.no_grad():
            x0_hat = prediction.x0_hat.detach()
            draw = noise.normal(f"reverse/{step}", x.shape[1:])
            gradient = self.config.guidance_scale * gradient
            if self.config.reverse_process == "ddim":
                return self.process.conditioned_ddim_step(
                    x, x0_hat, step, gradient, self.config.eta, draw
                )
            learned = self.config.variance == "learned" and prediction.log_variance is not None
            log_variance = (
                prediction.log_variance
                if learned and prediction.log_variance is not None
                else float(self.process.schedule.posterior_log_variance_clipped[step])
            )
            moved = self.process.conditioned_ddpm_step(
                x, x0_hat, step, gradient, log_variance, draw
            )
            return moved, x0_hat


def _first_samples(image_of: Tensor, count: int) -> list[int]:
    """For each of ``count`` images the place of its first sample."""
    return [int((image_of == index).nonzero()[0]) for index in range(count)]


def _distinct_images(batch: StyleBatch) -> _Source:
    """Group the samples of a batch by content image.

    Only within the batch: sharing across batches would let a chunk's bytes depend on what ran
    before it.
    """
    ids = list(dict.fromkeys(request.image_id for request in batch.requests))
    image_of = torch.tensor([ids.index(request.image_id) for request in batch.requests])
    images = batch.images[_first_samples(image_of, len(ids))]
    return _Source(images, ids, image_of.to(batch.images.device))
