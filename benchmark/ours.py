"""QS-Attn style transfer: text-guided diffusion without training, composed from the parts.

Source: J. Hwang, "Rapid Content-aware Image Style Transfer using Attention Map Guidance and
Diffusion Model" (University of Ottawa), built on ZeCon (arXiv 2303.08622) and QS-Attn
(arXiv 2203.08483).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch import Tensor

from benchmark.diffusion.process import DiffusionProcess, Prediction
from benchmark.diffusion.schedule import Schedule
from benchmark.guidance.content import ContrastiveReference
from benchmark.guidance.crops import cut, draw_crops
from benchmark.guidance.gradient import LossGradient
from benchmark.guidance.gram import WeightedGrams
from benchmark.guidance.losses import mean_squared, range_penalty, with_tone
from benchmark.guidance.query_attention import Routing, select
from benchmark.guidance.style import (
    StyleTarget,
    WeightedStyle,
    directional_loss,
    fused,
    global_loss,
)
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.ours_config import QSAttnConfig
from benchmark.profiling import phase
from benchmark.source_cache import (
    RUN_BYTES,
    SourceCache,
    fingerprint,
    precision_of,
    shared_cache,
)

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

Scale = tuple[float, float] | None
Value = TypeVar("Value")


@dataclass(frozen=True)
class Job:
    """One batch and what is computed once for it.

    The U distinct content images are analysed once and shared by their prompts (``image_of``).
    """

    batch: StyleBatch
    noise: NoiseSource
    images: Tensor  # [U, 3, H, W]
    image_of: Tensor  # [B]
    labels: Tensor | None  # [B]
    image_labels: Tensor | None  # [U]


@dataclass(frozen=True)
class Targets:
    """What the output is compared with."""

    styles: tuple[WeightedStyle, ...]
    source_image: Tensor  # [B, 1, D], CLIP embedding
    contrastive: ContrastiveReference | None
    vgg: dict[str, Tensor]
    grams: tuple[WeightedGrams, ...]


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
    samples_side_by_side = True
    config: QSAttnConfig

    def __init__(self, config: QSAttnConfig) -> None:
        super().__init__(config)
        self.config = config
        self.process = DiffusionProcess(Schedule.linear(config.respacing))
        self._own_cache = SourceCache(RUN_BYTES)
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
        self._denoiser_hash = zoo.verified_hashes(["denoiser"])["denoiser"]["sha256"]
        self.clip = zoo.clip("guide")
        self.vgg = zoo.vgg()

    @torch.no_grad()
    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """Invert or noise to step t0, then sample back under guidance. See the base class."""
        job = self._job(batch, noise)
        targets = self._targets(job)
        x = self._start(job)
        for step in reversed(range(self.config.t0)):
            x = self._step(x, step, job, targets)
        return x

    @torch.no_grad()
    def source_attention(
        self, images: Tensor, domains: Sequence[str]
    ) -> list[tuple[Routing, tuple[int, int]]]:
        """Anchors and routing of content images, with the sides (H, W) of the layer's map.

        Layers whose anchors are drawn at random are left out.

        Args:
            images: [B, 3, S, S] in [-1, 1].
            domains: what each shows.
        """
        features = self._encode(images, self.denoiser.labels(domains, images.device))
        return [
            (routing, (layer.shape[2], layer.shape[3]))
            for layer, routing in zip(features, self._select(features), strict=True)
            if routing is not None
        ]

    # --- once for each image --------------------------------------------------------------------

    def _job(self, batch: StyleBatch, noise: NoiseSource) -> Job:
        place = {request.image_id: i for i, request in reversed(list(enumerate(batch.requests)))}
        ids = list(dict.fromkeys(request.image_id for request in batch.requests))
        firsts = [place[image_id] for image_id in ids]
        device = batch.images.device
        image_of = torch.tensor([ids.index(request.image_id) for request in batch.requests])
        labels = self.denoiser.labels([request.domain for request in batch.requests], device)
        return Job(
            batch, noise, batch.images[firsts], image_of.to(device), labels,
            None if labels is None else labels[firsts],
        )  # fmt: skip

    def _targets(self, job: Job) -> Targets:
        config = self.config
        with phase("clip"):
            embedded = self.clip.encode_image(self.clip.resize(job.images))[job.image_of]
            styles = self._styles(job, embedded)
        contrastive = None
        if config.contrastive:
            with phase("encoder"):
                features, routings = self._source_features(job)
                contrastive = ContrastiveReference(features, routings, job.image_of, config.anchors)
        vgg: dict[str, Tensor] = {}
        with phase("content"):
            if config.vgg:
                layers = self.vgg(job.images, config.vgg_layers)
                vgg = {name: layer[job.image_of] for name, layer in layers.items()}
            grams = self._grams(job)
        return Targets(styles, embedded[:, None], contrastive, vgg, grams)

    def _styles(self, job: Job, content: Tensor) -> tuple[WeightedStyle, ...]:
        """The styles to reach: here the prompt alone.

        Args:
            content: [B, D], CLIP embeddings of the content images.
        """
        requests = job.batch.requests
        target = StyleTarget(
            target=self.clip.encode_text(job.batch.prompts()),
            source=self.clip.encode_text([request.source_prompt for request in requests]),
        )
        return (WeightedStyle(content.new_ones(len(requests)), target),)

    def _grams(self, job: Job) -> tuple[WeightedGrams, ...]:
        """Gram matrices to reach: a prompt has none."""
        return ()

    def _source_features(self, job: Job) -> tuple[list[Tensor], list[Routing | None]]:
        """Encoder features of the distinct content images and their selected anchors, by layer."""
        config = self.config
        features = self._once(
            "features", job, config.encoder_blocks,
            lambda: self._encode(job.images, job.image_labels),
        )  # fmt: skip
        chosen = (
            config.encoder_blocks, config.attention, config.anchors, config.window,
            config.window_layout, config.attention_from,
        )  # fmt: skip
        return features, self._once("selection", job, chosen, lambda: self._select(features))

    def _once(self, kind: str, job: Job, facts: Hashable, compute: Callable[[], Value]) -> Value:
        """What the denoiser makes of the distinct content images alone, made once.

        On a CPU every sample is a batch of its own, and the prompts of an image follow one another;
        the runs of a sweep share more. The key holds every input's bytes, so what is found is what
        would be computed, to the last bit.
        """
        shared = shared_cache()
        cache = self._own_cache if shared is None else shared
        labels = None if job.image_labels is None else tuple(job.image_labels.tolist())
        inputs = (self._denoiser_hash, fingerprint(job.images), labels)
        return cache.get(kind, (*inputs, precision_of(job.images.device), facts), compute)

    def _select(self, features: list[Tensor]) -> list[Routing | None]:
        config = self.config
        if config.attention == "none":
            return [None] * len(features)
        return [
            select(
                layer, config.attention, config.anchors,
                window=config.window, layout=config.window_layout,
            ) if place >= config.attention_from else None
            for place, layer in enumerate(features)
        ]  # fmt: skip

    def _encode(self, images: Tensor, labels: Tensor | None) -> list[Tensor]:
        """Encoder features at timestep 0, as ZeCon takes them."""
        zero = torch.zeros(len(images), device=images.device)
        return self.denoiser.encode(images, zero, self.config.encoder_blocks, labels)

    def _start(self, job: Job) -> Tensor:
        """x at the noise level of step t0 - 1."""
        config, images = self.config, job.batch.images
        last = config.t0 - 1
        if config.forward_process == "ddpm":
            draw = job.noise.normal("forward", images.shape[1:])
            return self.process.q_sample(images, last, draw)
        with phase("inversion"):
            latent = self._invert(job, last if config.inversion == "aligned" else config.t0)
        latent = latent[job.image_of]
        if config.start == "renoised":
            return self.process.q_sample(images, last, latent)
        return latent

    def _invert(self, job: Job, steps: int) -> Tensor:
        """Latents [U, 3, H, W] of the distinct content images."""
        return self._once(
            "inversion", job, (self.config.respacing, steps),
            lambda: self.process.invert(
                lambda x, t: self.denoiser(x, t, job.image_labels), job.images, steps
            ),
        )  # fmt: skip

    # --- every step -----------------------------------------------------------------------------

    def _step(self, x: Tensor, step: int, job: Job, targets: Targets) -> Tensor:
        """x_{t-1}: with ``gradient=x0`` nothing is differentiated through the denoiser."""
        config, process = self.config, self.process
        through = config.gradient == "xt"
        xt = x.detach().requires_grad_(through)
        with phase("denoiser"), torch.set_grad_enabled(through):
            prediction = process.predict(lambda x, t: self.denoiser(x, t, job.labels), xt, step)
        x0_hat = prediction.x0_hat.detach()
        gradient = config.guidance_scale * self._gradient(x0_hat, step, job, targets)
        draw = job.noise.normal(f"reverse/{step}", x.shape[1:])
        log_variance = self._log_variance(prediction, step)
        if through:
            with phase("denoiser"):
                (gradient,) = torch.autograd.grad(prediction.x0_hat, xt, gradient)
            if config.reverse_process == "ddim":
                return process.conditioned_ddim_step(x, x0_hat, step, gradient, config.eta, draw)[0]
            return process.conditioned_ddpm_step(x, x0_hat, step, gradient, log_variance, draw)
        moved = x0_hat - process.x0_guidance_scale(step, config.reverse_process) * gradient
        if config.reverse_process == "ddim":
            eps = process.eps_from_x0(x, step, moved)
            sigma = process.ddim_sigma(step, config.eta)
            return process.implicit_step(moved, eps, step, sigma, draw)
        return process.ddpm_step(process.posterior_mean(moved, x, step), step, log_variance, draw)

    def _log_variance(self, prediction: Prediction, step: int) -> Tensor | float:
        if self.config.variance == "learned" and prediction.log_variance is not None:
            return prediction.log_variance.detach()
        return float(self.process.schedule.posterior_log_variance_clipped[step])

    def _gradient(self, x0_hat: Tensor, step: int, job: Job, targets: Targets) -> Tensor:
        """Gradient of the weighted guidance loss at x0_hat, [B, 3, H, W]."""
        # a barrier is to vanish inside of its bounds
        unit = self._weights.keys() - {"range"} if self.config.loss_gradients == "unit" else ()
        with torch.enable_grad():
            total = LossGradient(x0_hat, unit)
            for losses in self._clip_losses(total.image, step, job, targets):
                with phase("clip"):
                    total.add(losses, self._weights)
            if targets.contrastive is not None:
                with phase("encoder"):
                    loss = targets.contrastive.loss(
                        self._encode(total.image, job.labels),
                        lambda place, n: job.noise.permutation(f"anchors/{place}/{step}", n),
                        self.config.temperature,
                    )
                    total.add({"contrastive": loss}, self._weights)
            with phase("content"):
                total.add(self._pixel_losses(total.image, job, targets), self._weights)
        total.report(step)
        return total.total

    def _clip_losses(
        self, image: Tensor, step: int, job: Job, targets: Targets
    ) -> Iterator[dict[str, Tensor]]:
        """Losses of one set of crops after the other."""
        config = self.config
        patch: Scale = (config.patch_min, config.patch_max)
        for kind, names, scale in (
            ("patch", ("clip_global_patch", "clip_dir_patch"), patch),
            ("whole", ("clip_global", "clip_dir"), None),
        ):
            active = [name for name in names if self._weights[name]]
            shared = config.clip_crops == "shared"
            for group in [active] if shared else [[name] for name in active]:
                if not group:
                    continue
                with phase("clip"):
                    purpose = f"crops/{kind if shared else group[0]}/{step}"
                    embeddings = self._embed_crops(image, purpose, scale, job.noise)
                    losses = {}
                    for name in group:
                        loss = (
                            partial(global_loss, embeddings)
                            if name.startswith("clip_global")
                            else partial(directional_loss, embeddings, targets.source_image)
                        )
                        losses[name] = fused(loss, targets.styles)
                yield losses

    def _embed_crops(self, image: Tensor, purpose: str, scale: Scale, noise: NoiseSource) -> Tensor:
        """CLIP embeddings of crops, [B, N, D]."""
        # without augmentation all views of the whole image are the same
        one = scale is None and not self.config.augment
        maps = draw_crops(
            noise, purpose, 1 if one else self.config.n_patches,
            scale=scale, augment=self.config.augment,
        )  # fmt: skip
        crops = cut(image, maps, self.clip.input_size)
        if self.config.crop_noise:
            count = len(crops) // len(image)
            draw = noise.normal(f"{purpose}/noise", (count, *crops.shape[1:]))
            crops = crops + self.config.crop_noise * draw.flatten(0, 1)
        embeddings: Tensor = self.clip.encode_image(crops)
        return embeddings.view(len(image), -1, embeddings.shape[1])

    def _pixel_losses(self, image: Tensor, job: Job, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if self._weights["range"]:
            losses["range"] = range_penalty(image)
        if self._weights["mse"]:
            moved = with_tone(image - job.batch.images, self.config.mse_tone)
            losses["mse"] = mean_squared(moved, torch.zeros_like(moved))
        if targets.vgg:
            layers = self.vgg(image, self.config.vgg_layers)
            distances = [mean_squared(layer, targets.vgg[name]) for name, layer in layers.items()]
            losses["vgg"] = torch.stack(distances).sum(0)
        return losses
