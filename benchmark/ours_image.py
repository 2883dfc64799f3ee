"""Our sampler guided by what is shown: by a style image, or by a mixture of several styles.

The process and the content losses are those of :mod:`benchmark.ours`; what changes is where the
style is in CLIP space, and a Gram distance that text cannot give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.guidance.crops import cut, draw_crops
from benchmark.guidance.gram import WeightedGrams, gram_distance, gram_matrix
from benchmark.guidance.style import StyleTarget, WeightedStyle
from benchmark.interface import Guidance, MethodCard, MethodConfig, StylePart
from benchmark.noise import NoiseSource
from benchmark.ours import Job, QSAttnStyleTransfer, Targets
from benchmark.ours_config import QSAttnConfig
from benchmark.zoo.vgg import CONV_INDICES

if TYPE_CHECKING:
    from benchmark.interface import StyleBatch

_PAPER = (
    "J. Hwang, Rapid Content-aware Image Style Transfer using Attention Map Guidance and "
    "Diffusion Model, University of Ottawa"
)


class QSAttnImageConfig(QSAttnConfig):
    """Knobs of :class:`QSAttnImageStyleTransfer`: those of ours, and how the image is seen."""

    style_view: Literal["crops", "whole"] = Field(
        default="crops",
        description="the style's place in CLIP space: mean of N crops, which keeps its texture and "
        "loses its motif, or the whole picture",
    )
    gram: float = Field(
        default=2000.0, ge=0.0,
        description="weight of the Gram distance to the style image (Frobenius, mean over layers)",
    )  # fmt: skip
    gram_layers: tuple[str, ...] = Field(
        default=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"), min_length=1,
        description="VGG layers of the Gram distance (Gatys et al.)",
    )  # fmt: skip

    @field_validator("gram_layers")
    @classmethod
    def _known(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        for name in layers:
            if name not in CONV_INDICES:
                raise ValueError(
                    f"unknown VGG layer {name!r}: choose among {', '.join(CONV_INDICES)}"
                )
        return layers


class QSAttnImageStyleTransfer(QSAttnStyleTransfer):
    """Ours towards a style image: its CLIP embedding stands where the prompt's stood.

    The directional loss goes from the content image to the style image, both as CLIP sees images:
    a text embedding of "Photo" lies too far from every image to be their common origin.
    """

    Config: ClassVar[type[MethodConfig]] = QSAttnImageConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="QS-Attn style transfer by a style image (ours)",
        paper=_PAPER,
        upstream=None,
        roles=("denoiser", "guide", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.IMAGE})
    config: QSAttnImageConfig

    def __init__(self, config: QSAttnImageConfig) -> None:
        super().__init__(config)
        self.config = config
        self._weights["gram"] = config.gram

    def _parts(self, batch: StyleBatch) -> tuple[tuple[StylePart, ...], ...]:
        """The styles of each sample; here one image of full weight."""
        styles = batch.shown_styles()
        return tuple((StylePart(1.0, image=image),) for image in styles)

    def _styles(self, job: Job, content: Tensor) -> tuple[WeightedStyle, ...]:
        """One target for each place among the parts; a sample without one there has weight 0."""
        parts = self._parts(job.batch)
        styles = []
        for place in range(max(map(len, parts))):
            weights = [own[place].weight if place < len(own) else 0.0 for own in parts]
            seen = [
                self._place_in_clip(own[min(place, len(own) - 1)], job, row, content)
                for row, own in enumerate(parts)
            ]
            target, source = (torch.stack(side) for side in zip(*seen, strict=True))
            styles.append(WeightedStyle(content.new_tensor(weights), StyleTarget(target, source)))
        return tuple(styles)

    def _place_in_clip(
        self, part: StylePart, job: Job, row: int, content: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where one style is, and where it is seen from: [D] each."""
        if part.image is None:
            both = [str(part.prompt), job.batch.requests[row].source_prompt]
            target, source = self.clip.encode_text(both)
            return target, source
        if self.config.style_view == "whole":
            return self.clip.encode_image(self.clip.resize(part.image[None]))[0], content[row]
        # the same crops of every style image: its target does not depend on the sample
        maps = draw_crops(
            NoiseSource(job.noise.run_seed, ("style",), part.image.device), "crops",
            self.config.n_patches, augment=False,
            scale=(self.config.patch_min, self.config.patch_max),
        )  # fmt: skip
        crops = cut(part.image[None], maps, self.clip.input_size)
        embeddings = self.clip.encode_image(crops)
        return F.normalize(embeddings, dim=1).mean(0) * embeddings.norm(dim=1).mean(), content[row]

    def _grams(self, job: Job) -> tuple[WeightedGrams, ...]:
        if not self.config.gram:
            return ()
        parts = self._parts(job.batch)
        places = [
            self._grams_at([own[place] if place < len(own) else None for own in parts], job)
            for place in range(max(map(len, parts)))
        ]
        return tuple(place for place in places if place.weight.any())

    def _grams_at(self, parts: Sequence[StylePart | None], job: Job) -> WeightedGrams:
        """Gram matrices of one part of each sample; prompts and missing parts weigh nothing."""
        contents = job.batch.images
        weights, pictures = [], []
        for part, content in zip(parts, contents, strict=True):
            image = None if part is None else part.image
            weights.append(0.0 if part is None or image is None else part.weight)
            pictures.append(content if image is None else image)
        layers = self.vgg(torch.stack(pictures), self.config.gram_layers)
        grams = {name: gram_matrix(maps) for name, maps in layers.items()}
        return WeightedGrams(contents.new_tensor(weights), grams)

    def _pixel_losses(self, image: Tensor, job: Job, targets: Targets) -> dict[str, Tensor]:
        losses = super()._pixel_losses(image, job, targets)
        if targets.grams:
            maps = self.vgg(image, self.config.gram_layers)
            terms = [style.weight * gram_distance(maps, style.grams) for style in targets.grams]
            losses["gram"] = torch.stack(terms).sum(0)
        return losses


class QSAttnMultiStyleTransfer(QSAttnImageStyleTransfer):
    """Ours towards several styles at once: every style loss is the weighted sum over the mixture.

    A part may be a prompt or a style image; the weights lie on the simplex. Prompts pull through
    CLIP alone, style images through CLIP and the Gram distance.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="QS-Attn style transfer by several styles (ours)",
        paper=_PAPER,
        upstream=None,
        roles=("denoiser", "guide", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.MIXTURE})

    def _parts(self, batch: StyleBatch) -> tuple[tuple[StylePart, ...], ...]:
        if batch.mixtures is None:
            raise UsageError(
                "this method fuses several styles, and no mixture is given: give it --mix, e.g. "
                "--mix golden=0.5,red-bricks=0.5"
            )
        for parts in batch.mixtures:
            total = sum(part.weight for part in parts)
            if abs(total - 1) > 1e-6:
                raise UsageError(f"the weights of a mixture sum to {total:g}, not to 1")
        return batch.mixtures
