"""VQGAN-CLIP: the latents of a VQGAN, optimised until CLIP sees the prompt in cut-outs.

Crowson et al. 2022 (arXiv 2204.08583); ``generate.py`` of ``nerdyrodent/VQGAN-CLIP`` at commit
592d555, whose defaults are kept. Where it departs from the paper it is followed:

- the start is the *quantised* code of the content image (``--init_image``), and nothing but the
  start ties the output to it; ``--init_weight`` is 0, and if it is set it draws the latents to
  zero, less and less, and not to where they began;
- cut-outs are whole pictures, augmented (:mod:`baselines.vqgan_clip_cutouts`);
- the distance is half the squared angle, averaged over cut-outs; the gradient passes the
  quantisation unchanged, and the clipping of pixels where it leads back into the range;
- latents are held in the codebook's range of each channel after every update;
- the 501st update is computed and not shown: the picture is that after 500.

Differences: prompts are taken whole (upstream splits them at ``|``, ``:`` and ``^``; weight and
stop are config values here), and the picture keeps its resolution, where upstream resizes it to
multiples of the VQGAN's downsampling. Left out are the other cut methods, augmentations and
optimisers, image and noise prompts, and videos.

The README's "style transfer" runs 80 iterations of AdamW at a rate of 0.25:
``iterations=80 optimiser=adamw learning_rate=0.25``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from baselines.vqgan_clip_cutouts import AUGMENTS, Augment, Cutouts, draw_cutouts, make_cutouts
from benchmark.errors import UsageError
from benchmark.guidance.losses import spherical_distance
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.profiling import phase
from benchmark.zoo.vqgan import ReplaceGradient

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

log = logging.getLogger(__name__)


class VqganClipConfig(MethodConfig):
    """Defaults are those of ``generate.py`` (flags' names in the descriptions)."""

    iterations: int = Field(default=500, ge=1, description="--iterations, updates before the end")
    learning_rate: float = Field(
        default=0.1, gt=0, description="--learning_rate, step size in units of the codebook"
    )
    optimiser: Literal["adam", "adamw"] = Field(
        default="adam", description="--optimiser; adamw (decay 0.01) in its style transfer example"
    )
    n_cuts: int = Field(default=32, ge=1, description="--num_cuts, cut-outs of each update")
    augments: tuple[Augment, ...] = Field(
        default=AUGMENTS,
        description="--augments, in order: Af(fine), Pe(rspective), (color)Ji(tter), Er(asing)",
    )
    prompt_weight: float = Field(
        default=1.0, description="weight after the prompt's colon; a negative one repels"
    )
    stop: float | None = Field(
        default=None,
        description="distance (0 to 4.93, negative for a negative weight) below which a cut-out "
        "pulls no more, the number after the prompt's second colon; null never stops",
    )  # fmt: skip
    init_weight: float = Field(
        default=0.0, ge=0, description="--init_weight, of the latents' mean square"
    )


class ClampWithGradient(torch.autograd.Function):
    """Clipping to [0, 1] that lets a gradient pass where descending it leads back inside."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        (gradient,) = grads
        inward: Tensor = gradient * (value - value.clamp(0, 1)) >= 0
        return gradient * inward

    @classmethod
    def call(cls, value: Tensor) -> Tensor:
        """``value`` clipped to [0, 1]."""
        out: Tensor = cls.apply(value)
        return out


def prompt_loss(
    embeddings: Tensor, target: Tensor, weight: float = 1.0, stop: float | None = None
) -> Tensor:
    """Mean distance of cut-outs to a prompt, a scalar.

    Args:
        embeddings: [N, D] of the cut-outs, not normalised.
        target: [1, D] of the prompt.
        weight: of the loss; a negative one turns the distances' sign.
        stop: distances below have a value but no gradient.
    """
    sign = (weight > 0) - (weight < 0)
    distances = spherical_distance(embeddings, target) * sign
    if stop is not None:
        distances = ReplaceGradient.call(distances.detach(), distances.clamp(min=stop))
    loss: Tensor = abs(weight) * distances.mean()
    return loss


def latent_loss(z: Tensor, step: int, weight: float) -> Tensor:
    """Mean square of the latents, fading with 1 / (2 step + 1)."""
    return z.square().mean() * weight / (2 * (2 * step + 1))


class VqganClip(StyleTransferMethod):
    """The official optimisation behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = VqganClipConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="VQGAN-CLIP",
        paper="arXiv 2204.08583",
        upstream="github.com/nerdyrodent/VQGAN-CLIP@592d555",
        roles=("vqgan", "guide"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: VqganClipConfig

    def __init__(self, config: VqganClipConfig) -> None:
        super().__init__(config)
        self.config = config

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.vqgan = zoo.vqgan()
        self.clip = zoo.clip("guide")

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class.

        Raises:
            UsageError: sides that are no multiples of the VQGAN's downsampling, a prompt that the
                text encoder cannot read.
        """
        factor = self.vqgan.config.downsampling
        height, width = batch.images.shape[2:]
        if height % factor or width % factor:
            raise UsageError(
                f"vqgan-clip needs images whose sides are multiples of {factor}, the downsampling "
                f"of its VQGAN, but they have {width}x{height} pixels: choose another resolution"
            )
        prompts = batch.prompts()
        targets = {prompt: self._embed_text(prompt) for prompt in set(prompts)}
        outputs = []
        for place, request in enumerate(batch.requests):
            own = NoiseSource(noise.run_seed, [request.sample_id], noise.device)
            z = self.optimise(batch.images[place : place + 1], targets[prompts[place]], own)
            with torch.no_grad():
                outputs.append(self.synthesise(z))
        return torch.cat(outputs) * 2 - 1

    @torch.no_grad()
    def _embed_text(self, prompt: str) -> Tensor:
        with phase("clip"):
            return self.clip.encode_text([prompt])

    def optimise(self, image: Tensor, target: Tensor, noise: NoiseSource) -> Tensor:
        """Latents of one picture after the last update.

        Args:
            image: [1, 3, H, W] in [-1, 1].
            target: [1, D], the prompt's embedding.
            noise: of this sample.

        Returns:
            [1, embed_dim, h, w].
        """
        config = self.config
        codes = self.vqgan.quantize.embedding.weight
        low = codes.amin(0)[:, None, None]
        high = codes.amax(0)[:, None, None]
        with torch.no_grad(), phase("vqgan"):
            z = self.vqgan.quantize(self.vqgan.encode(image))
        z.requires_grad_(True)
        optimisers = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        optimiser = optimisers[config.optimiser]([z], lr=config.learning_rate)
        for step in range(config.iterations):
            cutouts = draw_cutouts(noise, f"cutouts/{step}", config.n_cuts, self.clip.input_size)
            optimiser.zero_grad()
            with torch.enable_grad():
                loss = self.loss(z, target, cutouts, step)
                with phase("vqgan"):
                    loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                z.copy_(torch.minimum(torch.maximum(z, low), high))
            if log.isEnabledFor(logging.DEBUG):
                log.debug("step %d: %.4g", step, loss.item())
        latents: Tensor = z.detach()
        return latents

    def synthesise(self, z: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1] of latents, through the codebook."""
        return ClampWithGradient.call((self.vqgan.decode(self.vqgan.quantize(z)) + 1) / 2)

    def loss(self, z: Tensor, target: Tensor, cutouts: Cutouts, step: int) -> Tensor:
        """The loss of one update, a scalar."""
        config = self.config
        with phase("vqgan"):
            image = self.synthesise(z)
        with phase("clip"):
            cuts = make_cutouts(image, cutouts, config.augments, self.clip.input_size)
            total = prompt_loss(
                self.clip.encode_image(cuts * 2 - 1), target, config.prompt_weight, config.stop
            )
        if config.init_weight:
            total = total + latent_loss(z, step, config.init_weight)
        return total
