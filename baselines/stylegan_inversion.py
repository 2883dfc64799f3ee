"""Where a picture lies in a StyleGAN2's W+: its encoder's answer, refined by optimisation.

The optimisation is that of ``projector.py`` in rosinality/stylegan2-pytorch (bef283a) with
``--w_plus``: Adam under a ramped rate on a perceptual distance and a pixel error, in the beginning
with noise on the latents. Both StyleCLIP and StyleGAN-NADA show their pictures with the generator's
stored noise maps, so these are kept and not optimised (upstream's ``--noise_regularize`` has no
counterpart), and the perceptual distance is LPIPS without its learned channel weights on the VGG of
the protocol. With an encoder the search starts where the encoder points to and without noise;
otherwise it starts at the mean latent. Upstream invites e4e, such an encoder, for real photos.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.interface import MethodConfig, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.profiling import phase

if TYPE_CHECKING:
    from benchmark.zoo.stylegan2 import StyleGan2
    from benchmark.zoo.vgg import VggFeatures

LARGEST = 256  # pixels; larger pictures are compared at this size
_SAMPLED = 10_000  # latents behind the spread of w
_KEPT = 64  # inversions that stay in memory


class InversionConfig(MethodConfig):
    """Defaults are those of the projector (flags' names in the descriptions)."""

    inversion_steps: int = Field(
        default=1000, ge=0, description="step; 0 takes the encoder's answer as it is"
    )
    inversion_rate: float = Field(default=0.1, gt=0, description="lr")
    inversion_noise: float = Field(
        default=0.05, ge=0, description="noise, in spreads of w; off where an encoder starts"
    )
    inversion_noise_ramp: float = Field(
        default=0.75, gt=0, le=1, description="noise_ramp, share of the steps with noise"
    )
    inversion_perceptual: float = Field(default=1.0, ge=0, description="fixed upstream")
    inversion_mse: float = Field(default=0.0, ge=0, description="mse")
    inversion_layers: tuple[str, ...] = Field(
        default=("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"),
        min_length=1,
        description="VGG19 convolutions of the perceptual distance",
    )
    encoder: bool = Field(default=True, description="start from the generator's encoder if it has")


def ramped_rate(done: float, peak: float, rampdown: float = 0.25, rampup: float = 0.05) -> float:
    """Learning rate after a share ``done`` of the steps: 0 at the start, cosine to 0 at the end."""
    down = min(1.0, (1.0 - done) / rampdown)
    return peak * (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, done / rampup)


def area_resize(images: Tensor, side: int) -> Tensor:
    """[N, 3, H, W] -> [N, 3, side, side]; each pixel is the mean of the area it covers.

    What upsampling by a whole factor and average pooling give (StyleCLIP), without the large
    picture between.
    """

    def overlaps(length: int) -> Tensor:
        edge = torch.arange(side + 1, dtype=torch.float64) * length / side
        pixel = torch.arange(length, dtype=torch.float64)
        shared = torch.minimum(edge[1:, None], pixel + 1) - torch.maximum(edge[:-1, None], pixel)
        return (shared.clamp(min=0) * side / length).to(images)

    if tuple(images.shape[2:]) == (side, side):
        return images
    return overlaps(images.shape[2]) @ images @ overlaps(images.shape[3]).T


def perceptual_distance(vgg: VggFeatures, images: Tensor, wanted: dict[str, Tensor]) -> Tensor:
    """Squared distance of unit channel vectors, mean over places, sum over layers -> [N].

    Args:
        images: [N, 3, H, W] in [-1, 1]; they enter the VGG in [0, 1].
        wanted: :func:`unit_features` of the picture.
    """
    found = unit_features(vgg, images, tuple(wanted))
    parts = [(found[k] - wanted[k]).square().sum(1).mean((1, 2)) for k in wanted]
    return torch.stack(parts).sum(0)


def unit_features(vgg: VggFeatures, images: Tensor, layers: tuple[str, ...]) -> dict[str, Tensor]:
    """VGG features [N, C, h, w] with unit vectors over the channels."""
    # at a dead place the epsilon keeps the gradient finite
    return {k: F.normalize(v + 1e-10, dim=1) for k, v in vgg((images + 1) / 2, layers).items()}


def prompt_of(method: str, request: StyleRequest) -> str:
    """The style in words.

    Raises:
        UsageError: there is none.
    """
    if request.prompt is None:
        raise UsageError(f"{method} is guided by a prompt and there is none: give it prompts")
    return request.prompt


class Inverter:
    """Inverts pictures one by one and remembers the last ones: prompts share their images.

    Args:
        generator: frozen.
        vgg: of the perceptual distance.
        config: knobs.
    """

    def __init__(self, generator: StyleGan2, vgg: VggFeatures, config: InversionConfig) -> None:
        self.generator = generator
        self.vgg = vgg
        self.config = config
        self._known: dict[tuple[int, str, str], Tensor] = {}
        self._spread: float | None = None

    def __call__(self, image: Tensor, image_id: str, noise: NoiseSource) -> Tensor:
        """W+ of a picture.

        Args:
            image: [1, 3, H, W] in [-1, 1]; a square is asked for by the generator, other shapes
                are squeezed.
            image_id: samples with this id and these pixels share the answer.
            noise: gives the run's seed; the draws belong to the image, not to the sample.

        Returns:
            [1, L, D], detached.
        """
        pixels = image.detach().cpu().contiguous().numpy().tobytes()
        key = (noise.run_seed, image_id, hashlib.sha256(pixels).hexdigest())
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            own = NoiseSource(noise.run_seed, [image_id], noise.device)
            with phase("inversion"):
                self._known[key] = self._invert(image, own)
        return self._known[key].clone()

    def spread(self) -> float:
        """Root of the mean squared distance of w from its mean, over seeded latents."""
        if self._spread is None:
            draws = torch.Generator().manual_seed(0)
            z = torch.randn(_SAMPLED, self.generator.config.style_dim, generator=draws)
            with torch.no_grad():
                w = self.generator.map(z.to(self.generator.latent_avg))
            self._spread = float((w - w.mean(0)).square().sum(1).mean().sqrt())
        return self._spread

    def _start(self, image: Tensor) -> Tensor:
        generator = self.generator
        if self.config.encoder and generator.encoder is not None:
            with torch.no_grad():
                return generator.encode(resized(image, generator.config.size))
        return generator.broadcast(generator.latent_avg[None]).clone()

    def _invert(self, image: Tensor, noise: NoiseSource) -> Tensor:
        config, generator = self.config, self.generator
        encoded = config.encoder and generator.encoder is not None
        side = min(generator.config.size, LARGEST)
        truth = resized(image, side)
        with torch.no_grad():
            wanted = unit_features(self.vgg, truth, config.inversion_layers)
        latent = self._start(image).requires_grad_()
        optimiser = torch.optim.Adam([latent], lr=config.inversion_rate)
        for step in range(config.inversion_steps):
            done = step / config.inversion_steps
            optimiser.param_groups[0]["lr"] = ramped_rate(done, config.inversion_rate)
            ramp = max(0.0, 1.0 - done / config.inversion_noise_ramp) ** 2
            moved = latent
            if config.inversion_noise and ramp and not encoded:
                draw = noise.normal(f"inversion/{step}", latent.shape[1:])
                moved = latent + draw * (self.spread() * config.inversion_noise * ramp)
            with torch.enable_grad():
                picture = area_resize(generator(moved), side)
                loss = config.inversion_mse * F.mse_loss(picture, truth)
                if config.inversion_perceptual:
                    distance = perceptual_distance(self.vgg, picture, wanted).sum()
                    loss = loss + config.inversion_perceptual * distance
                (gradient,) = torch.autograd.grad(loss, latent)
            latent.grad = gradient
            optimiser.step()
        return latent.detach()


def resized(images: Tensor, side: int) -> Tensor:
    """[N, 3, H, W] -> [N, 3, side, side] (bicubic, antialiased; unchanged if they fit)."""
    if tuple(images.shape[2:]) == (side, side):
        return images
    return F.interpolate(
        images, size=(side, side), mode="bicubic", align_corners=False, antialias=True
    ).clamp(-1, 1)


def as_shown(pictures: Tensor, like: Tensor) -> Tensor:
    """A generator's pictures at the size of the images they answer to."""
    if pictures.shape[2:] == like.shape[2:]:
        return pictures
    return F.interpolate(
        pictures, size=like.shape[2:], mode="bicubic", align_corners=False, antialias=True
    )
