"""A small StyleGAN2 that the official class and ours both build, with weights drawn from names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tests.golden.official_format import filled_state, named_normal, shapes_of

SIZE = 16  # the official class has 512 channels up to 32 pixels
STYLE_DIM = 24
LAYERS = 3
ARCHITECTURE = {"size": SIZE, "style_dim": STYLE_DIM, "n_mlp": LAYERS}
FULL_SIZES = (256, 1024)
NOISE_SIDES = (4, 8, 8, 16, 16)


def generator_state(shapes: Mapping[str, Sequence[int]], label: str = "g") -> dict[str, Tensor]:
    """Weights about as large as StyleGAN2's own initial ones, and nothing zero.

    Blur kernels are left out: both sides compute them.
    """
    state = {}
    for name, shape in shapes.items():
        if name.endswith(".kernel"):
            continue
        values = named_normal(f"stylegan2/{label}/{name}", shape)
        if name.startswith("style."):
            # the learning-rate multiplier of the mapping network is a hundredth
            values = values * (100.0 if name.endswith("weight") else 10.0)
        elif name.endswith("modulation.bias"):
            values = 1 + 0.1 * values
        elif name.endswith(("bias", "noise.weight")):
            values = 0.1 * values
        state[name] = values
    return state


def z(count: int = 2) -> Tensor:
    return named_normal("stylegan2/z", (count, STYLE_DIM))


def w_plus(count: int = 2) -> Tensor:
    return named_normal("stylegan2/w+", (count, len(NOISE_SIDES) + 1, STYLE_DIM))


def noise(count: int = 2) -> list[Tensor]:
    return [
        named_normal(f"stylegan2/noise/{i}", (count, 1, side, side))
        for i, side in enumerate(NOISE_SIDES)
    ]


def mean_latent() -> Tensor:
    return torch.tanh(named_normal("stylegan2/mean", (1, STYLE_DIM)))


# StyleCLIP and StyleGAN-NADA around a generator of 32 pixels
EDIT_SIZE = 32
EDIT_DIM = 512  # fixed in the code of StyleGAN-NADA
EDIT_LAYERS = 2
EDIT_ARCHITECTURE = {"size": EDIT_SIZE, "style_dim": EDIT_DIM, "n_mlp": EDIT_LAYERS}
EDIT_ROWS = 8
CLIP_SIDE = 224  # fixed in StyleCLIP's code
TINY_SIDE = 16  # of the tiny encoder behind it
CLIP_STEPS = 4
ID_WEIGHT, L2_WEIGHT = 0.05, 0.008
# a picture of 16 pixels is 15 times quicker
NADA_ARCHITECTURE = {"size": SIZE, "style_dim": EDIT_DIM, "n_mlp": EDIT_LAYERS}
NADA_STEPS, NADA_BATCH, NADA_CHOICE, NADA_K, NADA_SEED = 4, 2, 3, 2, 7
SOURCE, TARGET = "photo", "sketch"


def edit_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    return generator_state(shapes, "edit")


def edit_start(rows: int = EDIT_ROWS) -> Tensor:
    return named_normal("stylegan2/edit/start", (1, rows, EDIT_DIM))


def edit_pictures(name: str) -> Tensor:
    return named_normal(f"stylegan2/edit/pictures/{name}", (2, 3, EDIT_SIZE, EDIT_SIZE))


def text_embedding(text: str) -> Tensor:
    """[1, 24] in the place of CLIP's embedding of a text."""
    return named_normal(f"stylegan2/text/{text}", (1, 24))


class TinyFace(nn.Module):
    """In the place of ArcFace: crops [N, 3, 112, 112] -> unit vectors [N, 12]."""

    input_size = 112

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 12))
        self.load_state_dict(filled_state(shapes_of(self), "tiny-face"))
        self.eval().requires_grad_(False)

    def forward(self, crops: Tensor) -> Tensor:
        assert crops.shape[2:] == (self.input_size, self.input_size)
        out: Tensor = nn.functional.normalize(self.layers(crops), dim=1)
        return out

    embed = forward
