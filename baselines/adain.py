"""AdaIN: the statistics of a style image's features, in one pass of an encoder and a decoder.

Huang and Belongie, *Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization*,
ICCV 2017 (arXiv 1703.06868), as ``test.py`` of ``naoto0804/pytorch-AdaIN`` at commit 47950d0 does
it: a re-implementation whose ``vgg_normalised.pth`` and ``decoder.pth`` come from the authors'
Torch code and from its own training. What is kept of it:

- a channel's variance has n - 1 in its denominator and 1e-5 added before the root;
- with ``preserve_color`` the style image first gets the content's colours (CORAL: means, deviations
  and correlations of the channels); the identity is added to the *sums* of products of the
  standardised pixels, so it counts for less the larger an image is;
- nothing bounds the decoder's output; what lies outside of [0, 1] is clipped when it is stored.

Differences:

- a style image with a channel of one value only is recoloured as if its deviation were 1e-6, where
  upstream divides 0 by 0 and fills the picture with NaN;
- mixing several styles in one pass (``--style_interpolation_weights``) is not part of this method;
- images whose sides are no multiples of the encoder's reduction (8) are refused, where upstream
  answers with a larger picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.profiling import phase
from benchmark.zoo.adain import adaptive_instance_norm

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.adain import AdaInDecoder, NormalisedVgg
    from benchmark.zoo.vgg import VggFeatures


class AdaInConfig(MethodConfig):
    """Defaults are those of ``test.py`` (its flags have the same names)."""

    alpha: float = Field(
        default=1.0, ge=0, le=1,
        description="share of the stylised features in what is decoded; at 0 the decoder gets the "
        "content's own",
    )  # fmt: skip
    preserve_color: bool = Field(
        default=False, description="give the style image the content's colours before"
    )


def coral(image: Tensor, target: Tensor) -> Tensor:
    """The image with means, deviations and correlations of another one's colour channels.

    Args:
        image: [3, H, W]. target: [3, h, w]. Both float64.

    Returns:
        [3, H, W].
    """
    pixels, _, _, products = _standardised(image)
    _, mean, std, wanted = _standardised(target)
    mixed: Tensor = _root(wanted) @ torch.linalg.inv(_root(products)) @ pixels
    return (mixed * std + mean).view(image.shape)


def _standardised(image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised pixels [3, N], mean and deviation [3, 1], sums of products plus 1, [3, 3]."""
    pixels = image.flatten(1)
    mean = pixels.mean(1, keepdim=True)
    std = pixels.std(1, keepdim=True).clamp(min=1e-6)
    pixels = (pixels - mean) / std
    return pixels, mean, std, pixels @ pixels.T + torch.eye(3, dtype=pixels.dtype)


def _root(matrix: Tensor) -> Tensor:
    """Symmetric root of a positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.sqrt()) @ vectors.T
    return root


def require_fitting(
    encoder: NormalisedVgg | VggFeatures, decoder: AdaInDecoder, device: torch.device
) -> None:
    """Raise a UsageError if the encoder's maps have other channels than the decoder reads."""
    side = 2 * decoder.reduction
    maps = encoder(torch.zeros(1, 3, side, side, device=device), (decoder.layer,))[decoder.layer]
    if maps.shape[1] != decoder.width:
        raise UsageError(
            f"the decoder (role 'adain') reads {decoder.width} channels of {decoder.layer}, but "
            f"the encoder (role 'adain-encoder') gives {maps.shape[1]}: name the two models that "
            f"were trained together"
        )


def require_sides(images: Tensor, reduction: int, name: str) -> None:
    """Raise a UsageError for images that a decoder does not give back in the same size."""
    height, width = images.shape[2:]
    if height % reduction or width % reduction or min(height, width) < 2 * reduction:
        raise UsageError(
            f"{name} reduces images to a {reduction}th of their sides, so these must be multiples "
            f"of {reduction} and at least {2 * reduction}, but they have {height}x{width} pixels: "
            f"choose another resolution"
        )


class AdaIn(StyleTransferMethod):
    """The public networks, or the mini ones, behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = AdaInConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="AdaIN",
        paper="arXiv 1703.06868",
        upstream="github.com/naoto0804/pytorch-AdaIN@47950d0",
        roles=("adain-encoder", "adain"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.IMAGE})
    config: AdaInConfig

    def __init__(self, config: AdaInConfig) -> None:
        super().__init__(config)
        self.config = config

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class.

        Raises:
            UsageError: the decoder was not made for the encoder.
        """
        # a tenth faster at 256x256 on a CPU than the official layout
        self.encoder = zoo.adain_encoder().to(memory_format=torch.channels_last)
        self.decoder = zoo.adain_decoder().to(memory_format=torch.channels_last)
        require_fitting(self.encoder, self.decoder, next(self.decoder.parameters()).device)

    @torch.no_grad()
    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class; values lie in [-1, 1].

        Raises:
            UsageError: no style images, or images of sides that the networks cannot work on.
        """
        styles = batch.shown_styles()
        reduction = self.decoder.reduction
        require_sides(batch.images, reduction, "adain")
        if min(styles.shape[2:]) < 2 * reduction:
            raise UsageError(
                f"adain needs style images with sides of at least {2 * reduction} pixels, but they "
                f"have {styles.shape[2]}x{styles.shape[3]}"
            )
        content, style = (batch.images + 1) / 2, (styles + 1) / 2
        if self.config.preserve_color:
            style = self._recoloured(style, content)
        with phase("encoder"):
            features, style_features = self._encode(content), self._encode(style)
        alpha = self.config.alpha
        mixed = alpha * adaptive_instance_norm(features, style_features) + (1 - alpha) * features
        with phase("decoder"):
            output: Tensor = self.decoder(mixed)
        return output.clamp(0, 1) * 2 - 1

    def _encode(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.encoder(images, (self.decoder.layer,))[self.decoder.layer]
        return features

    @staticmethod
    def _recoloured(styles: Tensor, contents: Tensor) -> Tensor:
        # float64 and so on the CPU: the sums of products nearly cancel for pictures of one hue
        pairs = zip(styles.cpu().double(), contents.cpu().double(), strict=True)
        recoloured = [
            coral(style, content)
            if style.isfinite().all() and content.isfinite().all()
            else torch.full_like(style, torch.nan)
            for style, content in pairs
        ]
        return torch.stack(recoloured).to(styles)
