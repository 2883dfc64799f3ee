"""CLIPstyler: a small network, trained for one image and one prompt, as its code does it.

Kwon and Ye, CVPR 2022 (arXiv 2112.00374); ``train_CLIPstyler.py`` of ``cyclomon/CLIPstyler`` at
commit 4843cec. Where the code departs from the paper the code is followed:

- templates wrap the source prompt as well, and there are 79 of OpenAI's 80 ("a photo of many {}."
  is missing); their embeddings are averaged before they are normalised;
- total variation is the sum of four L2 norms over the image, diagonals included, not squared;
- rejected patches count as zeros in the mean; they are not left out of it;
- the learning rate is stepped before the update, so it halves one update early (the 100th);
- perspective maps pixel indices onto pixel centres, which shifts crops by up to half a pixel;
- the whole image is brought to CLIP's size by bicubic interpolation without antialiasing;
- what is shown is not what was optimised: contrast is raised by half, then the picture is stretched
  to the full range (``contrast``, ``stretch``).

Differences:

- the network's answer after the last step is shown (upstream shows every 50th step's, and does one
  update more that nobody sees);
- the source prompt is the request's, where upstream fixes "a Photo";
- outside of a warped crop there is black, with one mask as in upstream's torchvision 0.8.2 (newer
  versions darken the border by a second one); so is a pixel on the horizon of a warp, where
  upstream divides 0 by 0 and its run ends in NaN (rare, and rarer the larger the crops);
- sizes that upstream gives in pixels of a 512x512 image are shares of the side here.

The fast variant (``train_fast.py``) is :mod:`baselines.clipstyler_fast`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from baselines.clipstyler_network import (
    REDUCTION,
    StyleNetwork,
    Windows,
    cut_windows,
    draw_windows,
    fresh_network,
    resize,
)
from benchmark.errors import UsageError
from benchmark.guidance.gradient import LossGradient
from benchmark.guidance.losses import directional_distance, mean_squared
from benchmark.guidance.style import StyleTarget, directional_loss
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
    from benchmark.zoo.clip import ClipEncoder

# ITU-R 601 luma, rounded as in torchvision
_LUMA = (0.2989, 0.587, 0.114)
_NOT_UPSTREAM = "a photo of many {}."


class ClipStylerConfig(MethodConfig):
    """Defaults are those of ``train_CLIPstyler.py`` (flags' names in the descriptions)."""

    steps: int = Field(default=200, ge=1, description="max_step, updates of the network")
    learning_rate: float = Field(default=5e-4, gt=0, description="lr of Adam")
    decay_every: int = Field(default=100, ge=1, description="updates (fixed upstream)")
    decay: float = Field(default=0.5, gt=0, le=1, description="factor of the rate (fixed upstream)")
    clip_dir_patch: float = Field(default=9000.0, ge=0, description="lambda_patch")
    clip_dir: float = Field(default=500.0, ge=0, description="lambda_dir, of the whole image")
    content: float = Field(default=150.0, ge=0, description="lambda_c, of VGG features")
    tv: float = Field(default=2e-3, ge=0, description="lambda_tv, of norms over the whole image")
    n_patches: int = Field(default=64, ge=1, description="num_crops")
    patch_side: float = Field(
        default=0.25, gt=0, le=1,
        description="side of a crop as a share of the image's shorter side: crop_size 128 of 512 "
        "upstream, so 16 pixels at 64x64 and 64 at 256x256, enlarged to CLIP's size",
    )  # fmt: skip
    distortion: float = Field(
        default=0.5, ge=0, lt=1, description="distortion_scale of the perspective (fixed upstream)"
    )
    threshold: float = Field(
        default=0.7, ge=0, le=2,
        description="thresh: crops whose directional distance (0 to 2) is below count as done",
    )  # fmt: skip
    vgg_layers: tuple[str, ...] = Field(
        default=("conv4_2", "conv5_2"), min_length=1, description="fixed upstream"
    )
    templates: bool = Field(
        default=True, description="wrap prompts in 79 ImageNet templates (fixed upstream)"
    )
    channels: int = Field(
        default=16, ge=1,
        description="ngf, width of the network (fixed upstream). Its depth is upstream's as well, "
        "so its view, as a share of the side, is eight times wider at 64x64 than at 512x512",
    )  # fmt: skip
    contrast: float = Field(
        default=1.5, ge=0, description="factor on the shown picture, 1 leaves it (fixed upstream)"
    )
    stretch: bool = Field(
        default=True, description="stretch the shown picture to the full range (fixed upstream)"
    )


def total_variation(images: Tensor) -> Tensor:
    """Sum of the L2 norms of horizontal, vertical and both diagonal differences -> [B]."""
    differences = (
        images[..., :, :-1] - images[..., :, 1:],
        images[..., :-1, :] - images[..., 1:, :],
        images[..., 1:, :-1] - images[..., :-1, 1:],
        images[..., :-1, :-1] - images[..., 1:, 1:],
    )
    return torch.stack([d.flatten(1).norm(dim=1) for d in differences]).sum(0)


def rejecting_mean(distances: Tensor, threshold: float) -> Tensor:
    """Mean over crops where those below the threshold count as 0: [B, N] -> [B]."""
    return torch.where(distances < threshold, 0.0, distances).mean(1)


def shown(image: Tensor, contrast: float, stretch: bool) -> Tensor:
    """The picture that upstream saves: [B, 3, H, W], nominally in [0, 1] -> within [0, 1].

    Contrast is taken about the mean luma (``adjust_contrast``); stretching maps smallest and
    largest value of a picture to 0 and 1 (``save_image(normalize=True)``).
    """
    luma = (image * image.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    mean = luma.mean((1, 2, 3), keepdim=True)
    image = (contrast * image + (1 - contrast) * mean).clamp(0, 1)
    if not stretch:
        return image
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    return (image - low) / (high - low).clamp(min=1e-5)


def learning_rate(config: ClipStylerConfig, step: int) -> float:
    """Rate of update ``step``, from 0: upstream steps its schedule before the update."""
    return config.learning_rate * config.decay ** ((step + 1) // config.decay_every)


def templated(prompt: str) -> list[str]:
    """A prompt in upstream's 79 sentences."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES as TEMPLATES

    return [fill(prompt) for fill in TEMPLATES if fill("{}") != _NOT_UPSTREAM]


@torch.no_grad()
def embed_prompt(clip: ClipEncoder, prompt: str | None, templates: bool) -> Tensor:
    """Unit mean of the embeddings of a prompt's sentences, [1, D].

    Raises:
        UsageError: the prompt is missing or empty, or the text encoder cannot read it.
    """
    if prompt is None:
        raise UsageError("clipstyler is guided by a prompt and there is none: give it prompts")
    if not prompt.strip():
        raise UsageError(f"the prompt {prompt!r} is empty: describe the style in words")
    with phase("clip"):
        texts = templated(prompt) if templates else [prompt]
        return F.normalize(clip.encode_text(texts).mean(0, keepdim=True), dim=-1)


def embed_images(clip: ClipEncoder, images: Tensor, mode: str) -> Tensor:
    """Unit embeddings of [N, 3, h, w] images in [0, 1], resized by a mode: [N, D]."""
    resized = resize(images, clip.input_size, mode)
    return F.normalize(clip.encode_image(resized * 2 - 1), dim=-1)


class ClipStyler(StyleTransferMethod):
    """The official optimisation behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = ClipStylerConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="CLIPstyler",
        paper="arXiv 2112.00374",
        upstream="github.com/cyclomon/CLIPstyler@4843cec",
        roles=("guide", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: ClipStylerConfig

    def __init__(self, config: ClipStylerConfig) -> None:
        super().__init__(config)
        self.config = config
        self._weights = {
            name: float(getattr(config, name))
            for name in ("clip_dir_patch", "clip_dir", "content", "tv")
        }

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.clip = zoo.clip("guide")
        self.vgg = zoo.vgg()

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class.

        Raises:
            UsageError: sides that are not multiples of 8 from 16 on, crops of less than 2 pixels,
                a templated prompt that the text encoder cannot read, an unknown VGG layer.
        """
        side = self._crop_side(batch.images)
        texts = {*batch.prompts(), *(request.source_prompt for request in batch.requests)}
        prompts = {text: self._embed_text(text) for text in texts}
        outputs = []
        for place, request in enumerate(batch.requests):
            own = NoiseSource(noise.run_seed, [request.sample_id], noise.device)
            style = StyleTarget(prompts[str(request.prompt)], prompts[request.source_prompt])
            image = (batch.images[place : place + 1] + 1) / 2
            network = self.optimise(image, style, own, side)
            with torch.no_grad():
                outputs.append(shown(network(image), self.config.contrast, self.config.stretch))
        return torch.cat(outputs) * 2 - 1

    def _crop_side(self, images: Tensor) -> int:
        height, width = images.shape[2:]
        if height % REDUCTION or width % REDUCTION or min(height, width) < 2 * REDUCTION:
            raise UsageError(
                f"clipstyler halves images three times, so their sides must be multiples of "
                f"{REDUCTION} and at least {2 * REDUCTION}, but they have {height}x{width} pixels: "
                "choose another resolution"
            )
        side = round(self.config.patch_side * min(height, width))
        if side < 2:
            raise UsageError(
                f"patch_side={self.config.patch_side} of {height}x{width} images gives crops of "
                f"{side} pixels: set it to {2 / min(height, width):.3g} or more"
            )
        return side

    def _embed_text(self, prompt: str) -> Tensor:
        return embed_prompt(self.clip, prompt, self.config.templates)

    def _embed(self, images: Tensor, mode: str) -> Tensor:
        """[N, 3, h, w] -> [1, N, D]."""
        return embed_images(self.clip, images, mode)[None]

    def optimise(
        self, image: Tensor, style: StyleTarget, noise: NoiseSource, side: int
    ) -> StyleNetwork:
        """Train a network for one image.

        Args:
            image: [1, 3, H, W] in [0, 1].
            style: unit embeddings, [1, D].
            noise: of this sample.
            side: of the crops, in pixels.
        """
        config = self.config
        network = fresh_network(config.channels, noise)
        optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        with torch.no_grad():
            source = self._embed(image, "bicubic")
            wanted = self.vgg(image, config.vgg_layers) if config.content else {}
        for step in range(config.steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(config, step)
            windows = draw_windows(
                noise, f"windows/{step}", config.n_patches, image=(image.shape[2], image.shape[3]),
                side=side, distortion=config.distortion,
            )  # fmt: skip
            optimiser.zero_grad()
            with torch.enable_grad():
                output = network(image)
                total = self.losses(output, style, source, wanted, windows, side)
            total.report(step)
            with phase("network"):
                output.backward(total.total)
                optimiser.step()
        return network

    def losses(
        self, output: Tensor, style: StyleTarget, source: Tensor, wanted: dict[str, Tensor],
        windows: Windows, side: int,
    ) -> LossGradient:  # fmt: skip
        """The weighted losses of one step and their gradient at the network's output.

        Args:
            output: [1, 3, H, W] in [0, 1].
            source: [1, 1, D], unit embedding of the content image.
            wanted: its VGG features.
        """
        config = self.config
        total = LossGradient(output)
        target = total.image
        with phase("clip"):
            if config.clip_dir_patch:
                seen = self._embed(cut_windows(target, windows, side), "bilinear")
                distances = directional_distance(seen, source, style.target, style.source)
                loss = rejecting_mean(distances, config.threshold)
                total.add({"clip_dir_patch": loss}, self._weights)
            if config.clip_dir:
                loss = directional_loss(self._embed(target, "bicubic"), source, style)
                total.add({"clip_dir": loss}, self._weights)
        with phase("content"):
            if config.content:
                layers = self.vgg(target, config.vgg_layers)
                parts = [mean_squared(layers[name], wanted[name]) for name in layers]
                total.add({"content": torch.stack(parts).sum(0)}, self._weights)
            if config.tv:
                total.add({"tv": total_variation(target)}, self._weights)
        return total
