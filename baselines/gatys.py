"""Neural style transfer of Gatys et al.: VGG losses minimised over the pixels by L-BFGS.

Gatys, Ecker and Bethge, *Image Style Transfer Using Convolutional Neural Networks*, CVPR 2016; the
authors' ``leongatys/PytorchNeuralStyleTransfer`` (a notebook) at commit be6c8e2. Where the code
departs from the paper the code is followed:

- a layer's style loss is the mean over the N x N entries of the squared difference of the Gram
  matrices, times 1e3 / N^2, so layers weigh as 1 / N^4 (N channels); the paper has equal weights of
  1 / (4 N^2) times that squared difference;
- the content loss is a mean over the features, in the paper half of their sum;
- it starts from the content image, in the paper from white noise (``start``);
- maxima are pooled, where the paper recommends averages;
- L-BFGS makes steps of length 1 without a line search, in calls of 20 evaluations, and the limit
  is looked at between calls and may be reached: 500 means 520 evaluations and as many updates;
- pixels are optimised in units of 1/255 (this matters to the first update and to the tolerances),
  without bounds, and clipped at the end.

Differences:

- the network is the zoo's, with torchvision's mean and standard deviation (upstream: Caffe's
  weights, blue first, mean subtracted from pixels up to 255). Style grows with the fourth power of
  the activations and content with the second, so another network wants another ``style_weight``;
- there is no second pass at a higher resolution;
- a single number sets the weights of all layers of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.guidance.gram import gram_matrix
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.profiling import phase
from benchmark.zoo.vgg import CONV_INDICES

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

LEVELS = 255  # upstream's pixels go from 0 to 255


class GatysConfig(MethodConfig):
    """Defaults are those of the notebook (its names in the descriptions)."""

    evaluations: int = Field(
        default=500, ge=0,
        description="max_iter: L-BFGS is called again, for 20 evaluations of the losses, until "
        "there were more than this many",
    )  # fmt: skip
    style_weight: float = Field(
        default=1e3, ge=0,
        description="style_weights: divided by N^2 for a layer of N channels. Fits the Caffe "
        "network's activations; another network wants another value. L-BFGS's tolerances are "
        "absolute, so where the losses are small both weights must be larger: on the mini VGG "
        "a sum of 0.15 was so small that nothing moved",
    )  # fmt: skip
    content_weight: float = Field(default=1.0, ge=0, description="content_weights")
    style_layers: tuple[str, ...] = Field(
        default=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"), min_length=1,
        description="style_layers, rectified (r11, r21, ...)",
    )  # fmt: skip
    content_layers: tuple[str, ...] = Field(
        default=("conv4_2",), min_length=1, description="content_layers, rectified (r42)"
    )
    start: Literal["content", "noise"] = Field(
        default="content",
        description="opt_img: the content image, or white noise of one grey level around the "
        "mean colour (commented out upstream)",
    )  # fmt: skip

    @field_validator("style_layers", "content_layers")
    @classmethod
    def _known(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        for name in layers:
            if name not in CONV_INDICES:
                raise ValueError(
                    f"unknown VGG layer {name!r}: choose among {', '.join(CONV_INDICES)}"
                )
        if len(set(layers)) != len(layers):
            raise ValueError(f"each layer counts once, got {', '.join(layers)}")
        return layers


class Gatys(StyleTransferMethod):
    """The authors' optimisation behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = GatysConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="Neural style transfer (Gatys et al.)",
        paper="Gatys, Ecker and Bethge, CVPR 2016",
        upstream="github.com/leongatys/PytorchNeuralStyleTransfer@be6c8e2",
        roles=("vgg",),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.IMAGE})
    config: GatysConfig

    def __init__(self, config: GatysConfig) -> None:
        super().__init__(config)
        self.config = config

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.vgg = zoo.vgg()

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class; values lie in [-1, 1].

        Raises:
            UsageError: no style images, or images too small for the deepest layer.
        """
        styles = batch.shown_styles()
        self._require_side(batch.images, "images")
        self._require_side(styles, "style images")
        # in one memory layout, since rounding differs between layouts and L-BFGS makes much of it
        contents = ((batch.images + 1) / 2).contiguous()
        styles = ((styles + 1) / 2).contiguous()
        starts = contents
        if self.config.start == "noise":
            starts = self.vgg.mean + noise.normal("start", contents.shape[1:]) / LEVELS
        outputs = []
        for place in range(len(contents)):
            one = slice(place, place + 1)
            targets = self.targets(contents[one], styles[one])
            outputs.append(self.optimise(starts[one], targets).clamp(0, 1) * 2 - 1)
        return torch.cat(outputs)

    def _require_side(self, images: Tensor, what: str) -> None:
        layers = (*self.config.style_layers, *self.config.content_layers)
        deepest = max(layers, key=CONV_INDICES.__getitem__)
        # each stage after the first begins with a pooling
        least = 2 ** (int(deepest.removeprefix("conv")[0]) - 1)
        if min(images.shape[2:]) < least:
            raise UsageError(
                f"{deepest} needs sides of at least {least} pixels, but the {what} have "
                f"{images.shape[2]}x{images.shape[3]}: choose another resolution or earlier layers"
            )

    @torch.no_grad()
    def targets(self, content: Tensor, style: Tensor) -> dict[str, Tensor]:
        """What the output is compared with, by loss (``style/conv1_1``, ``content/conv4_2``).

        Args:
            content: [1, 3, H, W] in [0, 1].
            style: [1, 3, h, w] in [0, 1].
        """
        config = self.config
        grams = {
            f"style/{name}": gram_matrix(maps)
            for name, maps in self.vgg(style, config.style_layers).items()
        }
        kept = self.vgg(content, config.content_layers)
        return grams | {f"content/{name}": maps for name, maps in kept.items()}

    def losses(self, image: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses of [1, 3, H, W] in [0, 1], scalars by the names of the targets."""
        config = self.config
        maps = self.vgg(image, tuple({*config.style_layers, *config.content_layers}))
        terms = {}
        for name in config.style_layers:
            weight = config.style_weight / maps[name].shape[1] ** 2
            difference = F.mse_loss(gram_matrix(maps[name]), targets[f"style/{name}"])
            terms[f"style/{name}"] = weight * difference
        for name in config.content_layers:
            difference = F.mse_loss(maps[name], targets[f"content/{name}"])
            terms[f"content/{name}"] = config.content_weight * difference
        return terms

    def optimise(self, first: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Minimise the losses over the pixels.

        Args:
            first: where to start, [1, 3, H, W] in [0, 1].
            targets: see :meth:`targets`.

        Returns:
            [1, 3, H, W], not clipped.
        """
        # L-BFGS flattens the gradient by view(-1), which a channels-last image does not allow
        pixels = (first.detach() * LEVELS).contiguous().requires_grad_()
        optimiser: torch.optim.Optimizer = torch.optim.LBFGS([pixels])
        done = 0

        def evaluate() -> float:
            nonlocal done
            done += 1
            with phase("vgg"):
                total = torch.stack(list(self.losses(pixels / LEVELS, targets).values())).sum()
                (pixels.grad,) = torch.autograd.grad(total, pixels)
            return total.item()

        while done <= self.config.evaluations:
            optimiser.step(evaluate)
        return pixels.detach() / LEVELS
