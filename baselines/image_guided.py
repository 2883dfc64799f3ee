"""Image-guided diffusion: content and style losses of a student poster, by formulas alone.

Content is the pixels' MSE, the VGG maps' MSE and a patch-wise contrastive loss; style is alpha
times the CLIP distance to the style image plus beta times the Gram distance to it (Frobenius, mean
over VGG layers). The poster has no code and says neither its weights nor how the process is guided:
here its losses guide the sampler of :mod:`benchmark.ours` through the denoiser to x_t, as guided
diffusion's conditioning does, and the anchors of the contrastive loss are random, as in ZeCon.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from benchmark.interface import MethodCard, MethodConfig
from benchmark.ours_image import QSAttnImageConfig, QSAttnImageStyleTransfer


class ImageGuidedConfig(QSAttnImageConfig):
    """Knobs of :class:`ImageGuidedDiffusion`; those that differ from ours by default."""

    gradient: Literal["x0", "xt"] = Field(
        default="xt", description="where the gradient is taken (guided diffusion: x_t)"
    )
    attention: Literal["global", "local", "local_global", "none"] = Field(
        default="none", description="anchors of the contrastive loss: random"
    )
    clip_global: float = Field(
        default=10000.0,
        ge=0.0,
        description="alpha, CLIP distance to the style image (no official value)",
    )
    clip_global_patch: float = Field(default=0.0, ge=0.0, description="the same of crops: not used")
    clip_dir_patch: float = Field(default=0.0, ge=0.0, description="directional: not used")
    style_view: Literal["crops", "whole"] = Field(
        default="whole", description="the whole style image stands in CLIP space"
    )
    gram: float = Field(
        default=10000.0,
        ge=0.0,
        description="beta, Gram distance to the style image (no official value)",
    )


class ImageGuidedDiffusion(QSAttnImageStyleTransfer):
    """The poster's losses on our sampler."""

    Config: ClassVar[type[MethodConfig]] = ImageGuidedConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="Image-guided diffusion",
        paper="student poster (formulas only)",
        upstream=None,
        roles=("denoiser", "guide", "vgg"),
    )
    config: ImageGuidedConfig
