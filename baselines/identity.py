"""The source, untouched: perfect content and no style. The lower reference of every style score."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from benchmark.interface import (
    Guidance,
    MethodCard,
    StyleBatch,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource


class Identity(StyleTransferMethod):
    """Returns the source. A method that scores no better in style than this one does nothing."""

    card: ClassVar[MethodCard] = MethodCard(
        title="Identity (the source image)", paper="reference point", upstream=None, roles=()
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class."""
        return batch.images.clone()
