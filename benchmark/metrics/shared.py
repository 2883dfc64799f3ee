"""What several metrics read of the same images is computed once for each scoring batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")

_active: ContextVar[SharedFeatures | None] = ContextVar("shared_features", default=None)


class SharedFeatures:
    """Features of the images of one scoring batch, by encoder.

    Metrics ask through :func:`benchmark.metrics.clip_space.embed_pixels` and
    :func:`benchmark.metrics.vgg_space.vgg_maps`. While a batch is active, whoever asks first
    computes and the others get the same tensors; without one, every question is computed.

    Args:
        vgg_layers: all that the metrics of this scoring read, so that one pass serves them all.
    """

    def __init__(self, vgg_layers: Sequence[str] = ()) -> None:
        self.vgg_layers = tuple(vgg_layers)
        self._known: dict[tuple[Any, ...], tuple[object, Tensor, Any]] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Share what is asked inside; forgotten at the end."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)
            self._known.clear()

    def get(
        self, encoder: object, images: Tensor, layers: tuple[str, ...], make: Callable[[], T]
    ) -> T:
        """See :func:`once`."""
        place = (images.data_ptr(), images.dtype, images.shape, images.stride())
        key = (id(encoder), *place, layers)
        if key not in self._known:
            # encoder and images are held, so that nothing else can come to lie at their addresses
            self._known[key] = (encoder, images, make())
        found: T = self._known[key][2]
        return found


def once(encoder: object, images: Tensor, make: Callable[[], T], layers: tuple[str, ...] = ()) -> T:
    """What ``make`` returns for these images, or what it returned before in the same batch.

    Args:
        encoder: what ``make`` runs.
        images: what it reads; must not be written to while the batch is active.
        make: computes the features.
        layers: what of the encoder is read.
    """
    batch = _active.get()
    return make() if batch is None else batch.get(encoder, images, layers, make)


def shared_vgg_layers() -> tuple[str, ...]:
    """Layers that the metrics of the active batch read together; none without a batch."""
    batch = _active.get()
    return () if batch is None else batch.vgg_layers
