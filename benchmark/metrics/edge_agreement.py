"""Agreement of the edges of output and source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import NOT_APPLICABLE, SampleMetric
from benchmark.metrics.clip_space import cosine
from benchmark.metrics.pixels import in_passes, require_pairs, require_side

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

LUMA_MILLI = (299.0, 587.0, 114.0)  # Rec. 601, in thousandths
LEAST_SIDE = 3


def sobel_magnitude(images: Tensor) -> Tensor:
    """Steepness of the luma at every place where the 3 x 3 Sobel window lies on the image.

    Luma is Rec. 601's 0.299 R + 0.587 G + 0.114 B. Up to the square root all numbers are integers
    that float64 holds exactly, so that an even area has exactly zero and an even ramp exactly one
    value everywhere.

    Args:
        images: uint8 [N, 3, H, W], H and W at least 3.

    Returns:
        float64 [N, H - 2, W - 2] in grey levels for each pixel of way, at least 0.
    """
    weights = torch.tensor(LUMA_MILLI, dtype=torch.float64, device=images.device)
    luma = (images.double() * weights.view(3, 1, 1)).sum(1)
    across = luma[:, :, 2:] - luma[:, :, :-2]
    down = luma[:, 2:] - luma[:, :-2]
    horizontal = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    vertical = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    return (horizontal.square() + vertical.square()).sqrt() / (8 * sum(LUMA_MILLI))


def is_even(maps: Tensor) -> Tensor:
    """Whether each map has one value everywhere: [N, H, W] to bool [N]."""
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation over the positions of each pair of maps.

    Args:
        a, b: [N, H, W].

    Returns:
        float64 [N] in [-1, 1]; 0 where one of the maps is even and nothing can vary together.
    """
    x, y = a.double().flatten(1), b.double().flatten(1)
    value = cosine(x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True))
    return value.masked_fill(is_even(a) | is_even(b), 0.0)


class EdgeAgreement(SampleMetric):
    """Correlation of the Sobel gradient magnitudes of output and source.

    Style may change colours, brightness and contrast, and may turn light into dark; the content is
    kept if edges stay where they were. So the magnitude is taken (a negative has the same edges),
    of the luma (an edge need not keep its hue), and compared by Pearson's correlation, which is
    free of scale and offset: an output ``c * source + d`` scores 1. No threshold decides what an
    edge is, as it would with an edge detector and the overlap of its maps. The operator is that of
    Sobel & Feldman (1968); the metric follows no paper, and its values compare with none.

    Invented texture lowers it, as does the loss of edges: 0 means that edges lie independently, a
    negative value that the output is steep where the source is smooth. A source whose steepness is
    the same everywhere (an even area, an even ramp) has no edges to keep: ``not_applicable``. An
    even output of a source that has edges has lost them all and scores 0. Borders of one pixel are
    left out, and stripes of one pixel each are beyond what the window sees.
    """

    name = "edge_agreement"
    version = 1
    direction = "higher"
    bounds = (-1.0, 1.0)
    encoders = ()
    description = "correlation of the Sobel gradient magnitudes of output and source"

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls()

    def update(self, outputs: Tensor, sources: Tensor) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, of different shapes, or smaller than 3 x 3 pixels.
        """
        require_pairs(outputs, sources)
        require_side(self.name, outputs, LEAST_SIDE)
        values: list[Tensor] = []
        missing: list[str | None] = []
        for output, source in in_passes(outputs, sources):
            before = sobel_magnitude(source)
            values.append(correlation(sobel_magnitude(output), before))
            missing += [NOT_APPLICABLE if even else None for even in is_even(before).tolist()]
        self._keep(torch.cat(values), missing)
