"""What the metrics against a style image have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from benchmark.metrics.base import NOT_APPLICABLE, SampleMetric
from benchmark.metrics.pixels import PASS, require_pixels, require_side
from benchmark.metrics.style_distances import STYLE_LAYERS, Features
from benchmark.metrics.vgg_space import cut_off, vgg_maps

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.vgg import VggFeatures


class StyleImageMetric(SampleMetric):
    """Compares outputs with their style images; where there is none: ``not_applicable``.

    Attributes:
        least_side: of output and style image, in pixels.
    """

    least_side: ClassVar[int] = 1

    @torch.no_grad()
    def update(self, outputs: Tensor, style_images: Sequence[Tensor | None]) -> None:
        """Compare ``outputs`` (uint8 [N, 3, H, W]) with N ``style_images`` (uint8 [3, h, w]).

        Raises:
            DataError: not stored pixels, or too small.
            ValueError: another number of style images than of outputs.
        """
        require_pixels(outputs, "outputs")
        if len(style_images) != len(outputs):
            raise ValueError(f"{len(style_images)} style images do not fit {len(outputs)} outputs")
        styles = {row: style[None] for row, style in enumerate(style_images) if style is not None}
        values = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
        if styles:
            require_side(self.name, outputs, self.least_side)
            for style in styles.values():
                require_side(self.name, require_pixels(style, "style image"), self.least_side)
            values[list(styles)] = self._compare(outputs, styles)
        self._keep(values, [NOT_APPLICABLE if style is None else None for style in style_images])

    @abstractmethod
    def _compare(self, outputs: Tensor, styles: Mapping[int, Tensor]) -> Tensor:
        """float64 [M] of M style images [1, 3, h, w] by the row of their output."""


class VggStyleMetric(StyleImageMetric):
    """A distance of VGG's features to those of the style image, in the layers of Gatys et al.

    Args:
        encoder: VGG19 features.
    """

    encoders = ("vgg",)
    vgg_layers = STYLE_LAYERS
    least_side = 16  # four poolings lie before the deepest layer

    def __init__(self, encoder: VggFeatures) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.vgg())

    def _compare(self, outputs: Tensor, styles: Mapping[int, Tensor]) -> Tensor:
        values = []
        for start in range(0, len(outputs), PASS):
            rows = [row for row in styles if start <= row < start + PASS]
            if not rows:
                continue
            maps = vgg_maps(self.encoder, outputs[start : start + PASS], STYLE_LAYERS)
            for row in rows:
                place = row - start
                own = {name: layer[place : place + 1] for name, layer in maps.items()}
                values.append(
                    self._distance(own, vgg_maps(self.encoder, styles[row], STYLE_LAYERS))
                )
        return cut_off(torch.cat(values), self.bounds[1])

    @abstractmethod
    def _distance(self, output: Features, style: Features) -> Tensor:
        """float64 [1] of maps [1, C, h, w] by layer."""
