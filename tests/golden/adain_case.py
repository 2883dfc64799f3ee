"""What the maker of AdaIN's golden numbers and the tests both draw."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tests.golden.official_format import filled_state, picture

SIZE = 32
ALPHA = 0.6
# all stages of another width
VGG_WIDTHS = (4, 6, 8, 10, 10)
DECODER = (10, 9, 9, 9, 9, 8, 8, 7, 7, 3)


def vgg_shapes() -> dict[str, list[int]]:
    """Names and shapes of ``net.vgg`` at the tiny widths: convolutions after 1x1 and paddings."""
    shapes = {"0.weight": [3, 3, 1, 1], "0.bias": [3]}
    index, channels = 2, 3
    for width, convs in zip(VGG_WIDTHS, (2, 2, 4, 4, 4), strict=True):
        for _ in range(convs):
            shapes[f"{index}.weight"] = [width, channels, 3, 3]
            shapes[f"{index}.bias"] = [width]
            channels = width
            index += 3  # padding, convolution, rectification
        index += 1  # pooling
    return shapes


def decoder_shapes() -> dict[str, list[int]]:
    """Names and shapes of ``net.decoder`` at the tiny widths."""
    indices = (1, 5, 8, 11, 14, 18, 21, 25, 28)
    shapes = {}
    for index, width, out in zip(indices, DECODER[:-1], DECODER[1:], strict=True):
        shapes[f"{index}.weight"] = [out, width, 3, 3]
        shapes[f"{index}.bias"] = [out]
    return shapes


def _lively(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the gain that rectified layers need, so that no layer is silent."""
    return {name: 2**0.5 * value if value.ndim > 1 else value for name, value in state.items()}


def vgg_state() -> dict[str, Tensor]:
    return _lively(filled_state(vgg_shapes(), "adain/vgg"))


def decoder_state() -> dict[str, Tensor]:
    return _lively(filled_state(decoder_shapes(), "adain/decoder"))


def input_pixels(name: str, size: int = SIZE) -> np.ndarray:
    """[size, size, 3] uint8 of ``content`` or ``style``: the script reads files."""
    image = picture(f"adain/{name}", size)[0]
    return image.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def image(name: str, size: int = SIZE) -> Tensor:
    """[1, 3, size, size] in [0, 1]."""
    return torch.from_numpy(input_pixels(name, size)).permute(2, 0, 1)[None].float() / 255
