"""What every method is: the one interface between the harness and a style-transfer method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from benchmark.errors import UsageError
from benchmark.noise import NoiseSource

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo


class Guidance(StrEnum):
    """What tells a method the target style."""

    TEXT = "text"
    IMAGE = "image"
    MIXTURE = "mixture"


@dataclass(frozen=True)
class StyleRequest:
    """One sample: which image, into which style.

    Attributes:
        sample_id: unique in the run, file-name safe (``<image_id>__<prompt_id>``).
        image_id: unique in the dataset; samples with equal ids share one content image.
        domain: what the image shows, as a class of the denoiser (``dogs``, ``faces``, ...).
        prompt_id: id of the prompt in its prompt set, or of the style image.
        prompt: the target style in words (``"A sketch with crayon"``); None for a style image.
        source_prompt: the style of the source in words (``"Photo"``).
    """

    sample_id: str
    image_id: str
    domain: str
    prompt_id: str
    prompt: str | None
    source_prompt: str = "Photo"


@dataclass(frozen=True)
class StylePart:
    """One of the styles that a mixture fuses: a prompt or a style image.

    Attributes:
        weight: in (0, 1]; the weights of a mixture sum to one.
        prompt: the style in words, or None.
        image: [3, H, W] float32 in [-1, 1], or None.
    """

    weight: float
    prompt: str | None = None
    image: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.image is None):
            raise ValueError("a part of a mixture is either a prompt or a style image")

    def to(self, device: torch.device | str) -> StylePart:
        image = self.image
        return StylePart(self.weight, self.prompt, None if image is None else image.to(device))


@dataclass(frozen=True)
class StyleBatch:
    """Samples that are stylised together.

    Attributes:
        images: [B, 3, H, W] float32 in [-1, 1].
        requests: one for each image.
        style_images: [B, 3, H, W] float32 in [-1, 1] for image-guided methods, else None.
        mixtures: the styles of each sample for methods that fuse several, else None.
    """

    images: Tensor
    requests: tuple[StyleRequest, ...]
    style_images: Tensor | None = None
    mixtures: tuple[tuple[StylePart, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.requests) != len(self.images):
            raise ValueError(
                f"{len(self.requests)} requests do not fit images of shape "
                f"{tuple(self.images.shape)}"
            )

    @property
    def sample_ids(self) -> list[str]:
        return [request.sample_id for request in self.requests]

    def prompts(self) -> list[str]:
        """The target styles in words, one for each sample.

        Raises:
            UsageError: a sample has none.
        """
        prompts = [request.prompt for request in self.requests]
        if any(prompt is None for prompt in prompts):
            raise UsageError(
                "this method is guided by prompts, and a sample has none: give it --prompts or "
                "--prompt"
            )
        return [str(prompt) for prompt in prompts]

    def shown_styles(self) -> Tensor:
        """The style images, [B, 3, H, W].

        Raises:
            UsageError: there are none.
        """
        if self.style_images is None:
            raise UsageError(
                "this method is guided by a style image and there is none: give it --style-images "
                "or --style-dataset instead of prompts"
            )
        return self.style_images

    def to(self, device: torch.device | str) -> StyleBatch:
        """The batch on another device."""
        styles, mixtures = self.style_images, self.mixtures
        return StyleBatch(
            self.images.to(device),
            self.requests,
            None if styles is None else styles.to(device),
            None if mixtures is None
            else tuple(tuple(part.to(device) for part in parts) for parts in mixtures),
        )  # fmt: skip

    def sample(self, index: int) -> StyleBatch:
        """One sample as a batch of its own."""
        one = slice(index, index + 1)
        styles, mixtures = self.style_images, self.mixtures
        return StyleBatch(
            self.images[one],
            self.requests[one],
            None if styles is None else styles[one],
            None if mixtures is None else mixtures[one],
        )


class MethodConfig(BaseModel):
    """Base of every method's knobs. Each field documents its unit and source in its description."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class MethodCard:
    """Where a method comes from.

    Attributes:
        title: full name.
        paper: arXiv id or citation.
        upstream: official repository and the commit that was read, or None.
        roles: models of the zoo it needs (``denoiser``, ``guide``, ``vgg``, ...).
    """

    title: str
    paper: str
    upstream: str | None
    roles: tuple[str, ...]


class StyleTransferMethod(nn.Module, ABC):
    """Base class of all methods.

    A subclass sets ``Config``, ``card`` and ``guidance``, loads what it needs in :meth:`prepare`
    and works in :meth:`stylize`. It draws random numbers from ``noise`` only, leaves its inputs as
    they are, and treats every sample on its own: an output must not depend on which other samples
    share the batch. It may run autograd inside :meth:`stylize`.

    Attributes:
        samples_side_by_side: whether several threads may be in :meth:`stylize` at once, each with a
            sample of its own. On a CPU such a method uses a core for each sample. It holds for
            methods that change nothing of themselves or of their models while they stylise.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    card: ClassVar[MethodCard]
    guidance: ClassVar[frozenset[Guidance]]
    samples_side_by_side: ClassVar[bool] = False

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config

    def prepare(self, zoo: ModelZoo) -> None:
        """Load and freeze the models the method needs. Called once, before the first batch."""

    @abstractmethod
    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """Stylise a batch.

        Returns:
            [B, 3, H, W] float32, nominally in [-1, 1] (the harness clamps before it stores).
        """
