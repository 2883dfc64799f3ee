"""Imports official code from a checkout outside of the repository, for the maker scripts.

No line of that code is kept here. Needed: ``--zecon`` (github.com/YSerin/ZeCon at 51e679e, whose
``guided_diffusion`` package is openai/guided-diffusion 22e0df8 with a DDIM inversion loop),
``--qsattn`` (github.com/sapphire497/query-selected-attention at c2c5e40) and ``--kornia`` (a folder
with kornia 0.6.4, which ZeCon's environment pins: ``pip install --no-deps --target DIR
kornia==0.6.4``). Run a script as ``python -m tests.golden.make_unet --zecon DIR``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from baselines.official_zecon import official_unet, stand_in_for_tkinter
from tests.golden.official_format import filled_state, shapes_of

HERE = Path(__file__).parent


def checkouts(*names: str) -> dict[str, Path]:
    """Folders from the command line, put on the import path."""
    parser = argparse.ArgumentParser()
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True)
    found: dict[str, Path] = vars(parser.parse_args())
    for folder in found.values():
        sys.path.insert(0, str(folder))
    stand_in_for_tkinter()
    return found


def official(module: str) -> Any:
    """A module of a checkout."""
    return import_module(module)


def filled_official_unet(name: str, config: Mapping[str, Any]) -> nn.Module:
    """The official U-Net with the weights that tests draw as well."""
    model = official_unet(config)
    model.load_state_dict(filled_state(shapes_of(model), name))
    return model


@contextmanager
def scripted(target: Any, name: str, values: list[Any]) -> Iterator[list[Any]]:
    """Replace a random function by one that returns ``values`` in order."""
    original = getattr(target, name)
    left = list(values)
    setattr(target, name, lambda *args, **kwargs: left.pop(0))
    try:
        yield left
    finally:
        setattr(target, name, original)
    if left:
        raise RuntimeError(f"{len(left)} scripted values of {name} were not used")


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors wants them."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
