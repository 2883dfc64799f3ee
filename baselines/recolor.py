"""The source in the colours of the style image: no texture, no network. A trivial reference.

The linear Monge-Kantorovich map of Pitié and Kokaram, *The linear Monge-Kantorovitch linear colour
mapping for example-based colour transfer*, CVMP 2007: of all linear maps that give the source the
mean and the covariance of the style image's colours, the one that moves colours least.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from benchmark.interface import Guidance, MethodCard, StyleBatch, StyleTransferMethod
from benchmark.noise import NoiseSource

# variance of rounding to 8 bits, in units of [-1, 1]: what varies less than this is no colour
ROUNDING = (2 / 255) ** 2 / 12


def colour_moments(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [3, 1] and covariance [3, 3] of the pixels of [3, H, W], divided by their number."""
    pixels = image.flatten(1)
    mean = pixels.mean(1, keepdim=True)
    centred = pixels - mean
    return mean, centred @ centred.T / pixels.shape[1]


def transport(source: Tensor, style: Tensor) -> Tensor:
    """The symmetric matrix T with T S T = G, for covariances S (source) and G (style), [3, 3].

    T = G^(1/2) (G^(1/2) S G^(1/2))^(-1/2) G^(1/2), which equals Pitié and Kokaram's formula where S
    is invertible. Where it is not, as for a grey source, the inverse is the pseudo-inverse: no
    linear map can make three-dimensional colours of one-dimensional ones. Directions in which the
    source varies less than by rounding to 8 bits do not count.
    """
    values, vectors = torch.linalg.eigh(source)
    source = (vectors * torch.where(values > ROUNDING, values, 0.0)) @ vectors.T
    values, vectors = torch.linalg.eigh(style)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    values, vectors = torch.linalg.eigh(root @ source @ root)
    # relative to the largest, below this there is rounding of float64 only
    kept = values > values.max().clamp(min=0) * 1e-10
    inverse = torch.where(kept, values.clamp(min=0).rsqrt(), 0.0)
    matrix: Tensor = root @ (vectors * inverse) @ vectors.T @ root
    return matrix


class Recolor(StyleTransferMethod):
    """Mean and covariance of the colours come from the style image, all else from the source.

    A method that scores no better in style than this one transfers colours at most.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Recolour (mean and covariance of the style image)",
        paper="reference point; the map is that of Pitié and Kokaram, CVMP 2007",
        upstream=None,
        roles=(),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.IMAGE})

    @torch.no_grad()
    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class; colours beyond [-1, 1] are clamped.

        A sample that is not finite gives one that is not.

        Raises:
            UsageError: no style images.
        """
        styles = batch.shown_styles()
        outputs = []
        # three-by-three matrices in float64: on the CPU, since not every device has it
        pairs = zip(batch.images.cpu(), styles.cpu(), strict=True)
        for image, style in pairs:
            if not (image.isfinite().all() and style.isfinite().all()):
                outputs.append(torch.full_like(image, torch.nan))
                continue
            mean, covariance = colour_moments(image.double())
            style_mean, style_covariance = colour_moments(style.double())
            matrix = transport(covariance, style_covariance)
            recoloured = matrix @ (image.double().flatten(1) - mean) + style_mean
            outputs.append(recoloured.clamp(-1, 1).view(image.shape).to(image.dtype))
        return torch.stack(outputs).to(batch.images.device)
