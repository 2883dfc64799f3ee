"""CLIPstyler's fast variant: AdaIN's decoder, fine-tuned for a prompt, then one pass an image.

Kwon and Ye, CVPR 2022 (arXiv 2112.00374); ``train_fast.py`` and ``fast_stylenet.py`` of
``cyclomon/CLIPstyler`` at commit 4843cec. A public decoder of VGG features is trained on for 200
updates of four crops of photographs, and then stylises any picture. What is kept of the code:

- no instance normalisation: the decoder gets the content's own features, and its new weights alone
  make the style;
- the sixteen warps of an update are the same for its four crops, and each shows the whole crop;
- total variation is the sum of four L2 norms over the whole batch, not squared;
- rejected warps count as zeros in the mean; they are not left out of it;
- CLIP sees the decoder's answer unbounded, as it comes;
- templates wrap the source prompt as well, and there are 79 of OpenAI's 80;
- contrast is raised by half and the picture stretched to the full range before it is shown.

Differences:

- **Photographs.** Upstream trains on DIV2K, a folder of photographs, and so does this where
  ``training_images`` names one: the weights then depend on the prompt, not on the picture, are kept
  (:mod:`benchmark.tuning`), and their training is timed apart. A benchmark run has no photographs
  but its contents, and a network may see no other sample's content. So without a folder it is
  trained on crops and mirror images of the one picture that it is for, and its training counts as
  sampling. Pictures drawn by the denoiser would be no photographs: those of the mini denoiser are
  abstract patches.
- The source prompt is the request's, where upstream fixes "a Photo".
- Outside of a warp there is black, with one mask, as in upstream's torchvision 0.8.2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from baselines.adain import require_fitting, require_sides
from baselines.clipstyler import (
    embed_images,
    embed_prompt,
    rejecting_mean,
    shown,
    total_variation,
)
from baselines.clipstyler_network import Windows, cut_windows, draw_windows
from baselines.clipstyler_photos import PhotoFolder, own_crops
from benchmark.errors import UsageError
from benchmark.guidance.gradient import LossGradient
from benchmark.guidance.losses import directional_distance, mean_squared
from benchmark.guidance.style import StyleTarget, directional_loss
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleRequest,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.profiling import phase
from benchmark.tuning import TunedWeights

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

NAME = "clipstyler-fast"
# they do not move the weights
_SHOWN = {"contrast", "stretch", "training_images"}


class ClipStylerFastConfig(MethodConfig):
    """Defaults are those of ``train_fast.py`` (flags' names in the descriptions)."""

    training_images: Path | None = Field(
        default=None,
        description="content_dir: folder of photographs, each at least crop_size pixels wide and "
        "high. Without one the network is trained on the picture that it stylises",
    )  # fmt: skip
    steps: int = Field(default=200, ge=1, description="max_iter, updates of the decoder")
    learning_rate: float = Field(default=1e-4, gt=0, description="lr of Adam")
    learning_rate_decay: float = Field(
        default=5e-5, ge=0, description="lr_decay: the rate is divided by 1 + this times the step"
    )
    batch_size: int = Field(default=4, ge=1, description="crops of photographs in each update")
    crop_size: int = Field(
        default=224, ge=2, description="side of a crop in pixels, brought to CLIP's size"
    )
    clip_dir_patch: float = Field(default=10.0, ge=0, description="clip_weight, of warped crops")
    clip_dir: float = Field(default=1.0, ge=0, description="glob_weight, of the crop as it is")
    content: float = Field(
        default=1.0, ge=0,
        description="content_weight, of encoder features. Upstream's encoder is scaled so that "
        "activations average 1; weaker ones want more",
    )  # fmt: skip
    tv: float = Field(default=1e-4, ge=0, description="tv_weight, of norms over the batch")
    n_patches: int = Field(default=16, ge=1, description="warps of each crop (fixed upstream)")
    distortion: float = Field(
        default=0.5, ge=0, lt=1, description="distortion_scale of the warps (fixed upstream)"
    )
    threshold: float = Field(
        default=0.7, ge=0, le=2,
        description="thresh: warps whose directional distance (0 to 2) is below count as done",
    )  # fmt: skip
    templates: bool = Field(
        default=True, description="wrap prompts in 79 ImageNet templates (fixed upstream)"
    )
    contrast: float = Field(
        default=1.5, ge=0, description="factor on the shown picture, 1 leaves it (fixed upstream)"
    )
    stretch: bool = Field(
        default=True, description="stretch the shown picture to the full range (fixed upstream)"
    )
    tuning_seed: int = Field(
        default=0, ge=0,
        description="of the crops and warps where training_images is given; otherwise these depend "
        "on the run's seed and the sample",
    )  # fmt: skip


class ClipStylerFast(StyleTransferMethod):
    """The official fine-tuning behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = ClipStylerFastConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="CLIPstyler, fast variant",
        paper="arXiv 2112.00374",
        upstream="github.com/cyclomon/CLIPstyler@4843cec",
        roles=("guide", "adain-encoder", "adain"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: ClipStylerFastConfig

    def __init__(self, config: ClipStylerFastConfig) -> None:
        super().__init__(config)
        self.config = config
        count = config.batch_size
        self._weights = {
            "clip_dir_patch": config.clip_dir_patch / count, "clip_dir": config.clip_dir / count,
            "content": config.content / count, "tv": config.tv,
        }  # fmt: skip

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class.

        Raises:
            UsageError: no usable folder of photographs, a decoder that was not made for the
                encoder, crops that the encoder cannot reduce.
        """
        self.clip = zoo.clip("guide")
        self.encoder, self.decoder = zoo.adain_encoder(), zoo.adain_decoder()
        require_fitting(self.encoder, self.decoder, next(self.decoder.parameters()).device)
        side, reduction = self.config.crop_size, self.decoder.reduction
        if side % reduction or side < 2 * reduction:
            raise UsageError(
                f"crop_size={side} must be a multiple of {reduction} and at least {2 * reduction}, "
                f"since the encoder reduces the sides by {reduction}"
            )
        self.photos = None
        if self.config.training_images is not None:
            self.photos = PhotoFolder.at(self.config.training_images, side)
            self.cache = TunedWeights(NAME, version=1)
            models = zoo.verified_hashes(self.card.roles)
            self._models = {role: facts["sha256"] for role, facts in models.items()}

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class.

        Raises:
            UsageError: sides that the encoder cannot reduce, crops larger than the images, a
                prompt that is empty or that the text encoder cannot read.
        """
        require_sides(batch.images, self.decoder.reduction, NAME)
        if self.photos is None and min(batch.images.shape[2:]) < self.config.crop_size:
            raise UsageError(
                f"crop_size={self.config.crop_size} is more than the images of "
                f"{batch.images.shape[2]}x{batch.images.shape[3]} pixels have: set it to a smaller "
                f"multiple of {self.decoder.reduction}, or name a folder of larger photographs "
                f"with training_images"
            )
        outputs = []
        for place, request in enumerate(batch.requests):
            image = (batch.images[place : place + 1] + 1) / 2
            own = NoiseSource(noise.run_seed, [request.sample_id], noise.device)
            weights = self._weights_for(request, image, own)
            with torch.no_grad(), phase("network"):
                output = functional_call(self.decoder, weights, (self._encode(image),))
                outputs.append(shown(output, self.config.contrast, self.config.stretch))
        return torch.cat(outputs) * 2 - 1

    def _weights_for(
        self, request: StyleRequest, image: Tensor, noise: NoiseSource
    ) -> dict[str, Tensor]:
        config, photos = self.config, self.photos

        def style() -> StyleTarget:
            prompts = (request.prompt, request.source_prompt)
            return StyleTarget(*(embed_prompt(self.clip, p, config.templates) for p in prompts))

        if photos is None:
            cut = partial(own_crops, image, noise, count=config.batch_size, side=config.crop_size)
            return self.fine_tune(cut, style(), noise)
        facts: dict[str, Any] = {
            "config": config.model_dump(mode="json", exclude=_SHOWN),
            "photos": photos.sha256,
            "prompt": request.prompt,
            "source_prompt": request.source_prompt,
            "models": self._models,
        }
        tuning = NoiseSource(config.tuning_seed, [NAME], noise.device)
        cut = partial(photos.crops, tuning, count=config.batch_size)
        state = self.cache.get(facts, lambda: self.fine_tune(cut, style(), tuning))
        return {name: value.to(image.device) for name, value in state.items()}

    def _encode(self, images: Tensor) -> Tensor:
        features: Tensor = self.encoder(images, (self.decoder.layer,))[self.decoder.layer]
        return features

    def fine_tune(
        self, crops: Callable[[int], Tensor], style: StyleTarget, noise: NoiseSource
    ) -> dict[str, Tensor]:
        """Train a copy of the decoder's weights.

        Args:
            crops: the photographs of an update, [B, 3, S, S] in [0, 1], from its number.
            style: unit embeddings, [1, D].
            noise: of the warps.

        Returns:
            The new weights by name, on the decoder's device.
        """
        config = self.config
        weights = {
            name: value.detach().clone().requires_grad_()
            for name, value in self.decoder.named_parameters()
        }
        optimiser = torch.optim.Adam(weights.values(), lr=config.learning_rate)
        side = config.crop_size
        for step in range(config.steps):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate / (1 + config.learning_rate_decay * step)
            windows = draw_windows(
                noise, f"windows/{step}", config.n_patches, image=(side, side), side=side,
                distortion=config.distortion,
            )  # fmt: skip
            photos = crops(step)
            with torch.no_grad():
                features = self._encode(photos)
                source = embed_images(self.clip, photos, "bicubic")
            optimiser.zero_grad()
            with torch.enable_grad():
                output = functional_call(self.decoder, weights, (features,))
                total = self.losses(output, style, source, features, windows)
            total.report(step)
            with phase("network"):
                output.backward(total.total)
                optimiser.step()
        return {name: value.detach() for name, value in weights.items()}

    def losses(
        self, output: Tensor, style: StyleTarget, source: Tensor, wanted: Tensor, windows: Windows
    ) -> LossGradient:
        """The weighted losses of one update and their gradient at the decoder's answer.

        Args:
            output: [B, 3, S, S], nominally in [0, 1].
            source: [B, D], unit embeddings of the photographs.
            wanted: [B, C, h, w], their features.
        """
        config, count, side = self.config, len(output), output.shape[2]
        total = LossGradient(output)
        target = total.image
        with phase("clip"):
            if config.clip_dir_patch:
                cuts = cut_windows(target.flatten(0, 1)[None], windows, side)
                seen = embed_images(self.clip, cuts.view(-1, 3, side, side), "bilinear")
                seen = seen.view(config.n_patches, count, -1).transpose(0, 1)
                distances = directional_distance(
                    seen, source[:, None], style.target[:, None], style.source[:, None]
                )
                loss = rejecting_mean(distances, config.threshold)
                total.add({"clip_dir_patch": loss}, self._weights)
            if config.clip_dir:
                seen = embed_images(self.clip, target, "bicubic")[:, None]
                loss = directional_loss(seen, source[:, None], style)
                total.add({"clip_dir": loss}, self._weights)
        with phase("content"):
            if config.content:
                loss = mean_squared(self._encode(target), wanted)
                total.add({"content": loss}, self._weights)
            if config.tv:
                # over the whole batch: its planes are those of one image here
                loss = total_variation(target.flatten(0, 1)[None])
                total.add({"tv": loss}, self._weights)
        return total
