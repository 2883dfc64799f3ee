"""What a DINO's keys tell apart: ``python -m reports.keys_pca mini-64-v1 --out FILE.png``.

Four rows: pictures of the datasets, their keys, the pictures in a style drawn by procedure, and the
keys of those. The colours are the first three principal components of the keys of a picture and of
its copy together (as figure 2 of Amir et al. 2021, arXiv 2112.05814), so an object that keeps its
colour in the last row is the same thing to the network in another style.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmark import registry
from benchmark.config import Protocol, load_protocol
from benchmark.interface import StyleRequest
from benchmark.pictures import Pixels
from benchmark.script import script
from benchmark.zoo import ModelZoo
from benchmark.zoo.dino import DinoViT
from reports.scale_ends import drawn

OF_EACH = 3  # pictures of a dataset
STYLES = ("watercolour", "golden", "ukiyo-e", "charcoal", "pop-art", "red-bricks")
SHOWN = 128  # side in pixels of a tile


def components(keys: Tensor) -> Tensor:
    """The first three principal components, each scaled to [0, 1].

    Args:
        keys: [N, L, D] of pictures that share their colours.

    Returns:
        [N, L, 3].
    """
    unit = F.normalize(keys, dim=2).flatten(0, 1)
    centred = unit - unit.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -3:].flip(1)
    found = centred @ axes
    low, high = found.amin(0), found.amax(0)
    colours: Tensor = (found - low) / (high - low)
    return colours.view(*keys.shape[:2], 3)


def column(picture: Pixels, copy: Pixels, dino: DinoViT) -> Pixels:
    """Picture, keys, stylised copy, keys: [4 * SHOWN, SHOWN, 3]."""
    both = torch.from_numpy(np.stack([picture, copy]))
    keys = dino.keys(both.permute(0, 3, 1, 2).float() / 127.5 - 1)
    rows = picture.shape[0] // dino.patch
    colours = components(keys).mul(255).round().byte().view(2, rows, -1, 3).numpy()
    return np.concatenate([
        _enlarged(tile) for pair in zip(both.numpy(), colours, strict=True) for tile in pair
    ])  # fmt: skip


def _enlarged(pixels: Pixels) -> Pixels:
    tile = Image.fromarray(pixels).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
    return np.asarray(tile)


@torch.no_grad()
def figure(protocol: Protocol) -> Image.Image:
    """A column for the first pictures of every dataset.

    Raises:
        BenchError: the protocol's DINO cannot be loaded.
    """
    dino = ModelZoo(protocol.models, None).dino()
    columns: list[Pixels] = []
    for number, name in enumerate(registry.names(registry.DATASETS)):
        dataset = registry.load(registry.DATASETS, name)
        frozen = dataset.freeze(
            dataset.source(None), size=protocol.resolution, resize_filter=protocol.resize_filter,
            limit=OF_EACH, on_bad_image="fail",
        )  # fmt: skip
        style = STYLES[number % len(STYLES)]
        (prompt,) = (p for p in dataset.all_prompts(protocol.prompt_set) if p.id == style)
        for image in frozen.images:
            request = StyleRequest(
                f"{image.image_id}__{style}", image.image_id, dataset.card.domain, style,
                prompt.text, dataset.card.source_prompt,
            )  # fmt: skip
            copy = drawn(image.pixels, image.pixels, request)
            columns.append(column(image.pixels, copy, dino))
    return Image.fromarray(np.concatenate(columns, axis=1))


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.keys_pca", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("protocol")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    given = parser.parse_args()
    figure(load_protocol(given.protocol)).save(given.out)


if __name__ == "__main__":
    sys.exit(main())
