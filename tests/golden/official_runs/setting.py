"""What the runs share: the mini models, one picture, and a CLIP in OpenAI's words."""

from __future__ import annotations

import contextlib
import io
import types
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmark.config import load_protocol
from benchmark.interface import StyleBatch, StyleRequest, StyleTransferMethod
from benchmark.noise import NoiseSource
from benchmark.zoo import ModelZoo
from benchmark.zoo.clip import ClipEncoder
from data.datasets import afhq

SIZE = 64
PROMPT, SOURCE_PROMPT = "Golden", "Photo"
PROTOCOL = "mini-64-v1"

M = TypeVar("M", bound=nn.Module)
Ready = Callable[[], None]
Job = Callable[[int, Ready], None]
"""Stylises one picture in some steps; calls ``Ready`` once its models are loaded."""


def mini_zoo() -> ModelZoo:
    return ModelZoo(load_protocol(PROTOCOL).models)


def picture_pixels(size: int = SIZE) -> np.ndarray:
    """[size, size, 3] uint8, a photograph of the embedded ones."""
    frozen = afhq.freeze(
        afhq.source(None), size=size, resize_filter="lanczos", limit=1, on_bad_image="fail"
    )
    pixels: np.ndarray = frozen.images[0].pixels
    return pixels


def one_sample(
    pixels: np.ndarray, style: np.ndarray | None = None, domain: str = "dogs"
) -> StyleBatch:
    """A batch of one picture, guided by a prompt or by a style picture."""
    images = [
        None if array is None else torch.tensor(array).permute(2, 0, 1)[None] / 127.5 - 1
        for array in (pixels, style)
    ]
    request = StyleRequest(
        sample_id="0", image_id="0", domain=domain, prompt_id="0",
        prompt=PROMPT if style is None else None, source_prompt=SOURCE_PROMPT,
    )  # fmt: skip
    assert images[0] is not None
    return StyleBatch(images[0], (request,), images[1])


def through_interface(
    make: Callable[[int], StyleTransferMethod], zoo: Any, batch: StyleBatch
) -> Job:
    """The job of a method of ours, made for a number of steps."""

    def job(steps: int, ready: Ready) -> None:
        method = make(steps)
        method.prepare(zoo)
        noise = NoiseSource(0, ("0",), batch.images.device)
        ready()
        method.stylize(batch, noise)

    return job


def plain(module: M) -> M:
    """In the memory layout that official code loads its networks in."""
    return module.to(memory_format=torch.contiguous_format)


@contextlib.contextmanager
def ready_at_first_picture(ready: Ready) -> Iterator[None]:
    """Scripts load their networks before they open a picture; what they say is not shown."""
    original = Image.open
    waiting = [ready]

    def opened(*args: Any, **kwargs: Any) -> Any:
        if waiting:
            waiting.pop()()
        return original(*args, **kwargs)

    with (
        patch.object(Image, "open", opened),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield
    if waiting:
        raise RuntimeError("the script opened no picture")


class Sentences(list[str]):
    """Tokens in the stand-in for CLIP: the sentences themselves."""

    def __init__(self, texts: str | Sequence[str]) -> None:
        super().__init__([texts] if isinstance(texts, str) else texts)

    def to(self, device: object) -> Sentences:
        return self

    cuda = to


class OpenAiClip(nn.Module):
    """A mini CLIP with the methods of OpenAI's; images are normalised already."""

    def __init__(self, clip: ClipEncoder) -> None:
        super().__init__()
        self.clip = plain(clip)
        self.visual = SimpleNamespace(input_resolution=clip.input_size)

    def encode_image(self, images: Tensor) -> Tensor:
        model: Any = self.clip.model
        features: Tensor = model.encode_image(images)
        return features

    def encode_text(self, texts: Sentences) -> Tensor:
        return self.clip.encode_text(texts)


def clip_module(clip: ClipEncoder) -> Any:
    """In the place of OpenAI's package ``clip``."""
    module: Any = types.ModuleType("clip")
    module.tokenize = Sentences
    model = OpenAiClip(clip)
    module.load = lambda *args, **kwargs: (
        model, SimpleNamespace(transforms=[SimpleNamespace(size=clip.input_size)])
    )  # fmt: skip
    return module
