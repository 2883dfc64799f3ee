"""Photographs of installed packages, and a tiny training corpus made of them."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.cbook
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
import torch
from PIL import Image

from benchmark.diffusion.unet import UNet
from benchmark.zoo.denoiser import Denoiser
from benchmark.zoo.mini.unet import CONFIG, LABELS
from benchmark.zoo.models import ModelZoo

Pixels = npt.NDArray[np.uint8]


def _square(array: Pixels, box: tuple[int, int, int] | None = None, size: int = 128) -> Pixels:
    """A square window (left, top, side) of a picture, resized; the middle if None."""
    image = Image.fromarray(array[..., :3]).convert("RGB")
    if box is None:
        side = min(image.size)
        box = ((image.width - side) // 2, (image.height - side) // 2, side)
    left, top, side = box
    window = image.crop((left, top, left + side, top + side))
    return np.asarray(window.resize((size, size), Image.Resampling.LANCZOS))


@pytest.fixture(scope="session")
def photos() -> dict[str, Pixels]:
    """Photographs, [128, 128, 3] uint8."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=True) as file:
        hopper = np.asarray(Image.open(file).convert("RGB"))
    return {
        "astronaut": _square(skimage.data.astronaut(), (160, 40, 125)),
        "hopper": _square(hopper, (155, 75, 195)),
        "chelsea": _square(skimage.data.chelsea()),
        "coffee": _square(skimage.data.coffee()),
        "rocket": _square(skimage.data.rocket()),
    }


@pytest.fixture(scope="session")
def tiny_corpus(photos: dict[str, Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the form that the recipes read, of a few dozen near-copies of the photos."""
    folder = tmp_path_factory.mktemp("corpus")
    kinds = {
        "faces": ("astronaut", ("man", "woman")),
        "faces-id": ("hopper", ("ann", "bob", "cid", "dan")),
        "dogs": ("chelsea", ("beagle", "")),
        "bedrooms": ("coffee", ("bedroom",)),
        "interiors": ("coffee", ("kitchen",)),
        "objects": ("rocket", ("rocket", "")),
        "paintings": ("coffee", ("Baroque", "Vincent van Gogh")),
    }
    for domain, (name, labels) in kinds.items():
        for split, count in (("train", 12), ("test", 4)):
            rng = np.random.default_rng(len(domain) + count)
            rows = []
            for i in range(count):
                shift = rng.integers(-30, 30, 3)
                pixels = np.clip(photos[name].astype(np.int64) + shift, 0, 255).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "JPEG", quality=90)
                label = labels[i % len(labels)]
                text = {
                    "objects": "a rocket\nrocket launch", "faces": f"{20 + i} year old {label}",
                }.get(domain, "")  # fmt: skip
                rows.append({
                    "image": file.getvalue(), "id": f"{split}{i}", "label": label,
                    "caption": text, "source": "test",
                })  # fmt: skip
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{domain}-{split}.parquet")
    return folder


@pytest.fixture(scope="session")
def untrained_unet() -> UNet:
    """With the mini U-Net's labels, a quarter of its width, and random weights everywhere."""
    unet = UNet(CONFIG.model_copy(update={"model_channels": 8, "num_head_channels": 8}))
    generator = torch.Generator().manual_seed(0)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return unet.eval().requires_grad_(False)


@pytest.fixture
def zoo_that_draws(untrained_unet: UNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every zoo's denoiser is the untrained one."""
    denoiser = Denoiser(untrained_unet, LABELS)
    monkeypatch.setattr(ModelZoo, "denoiser", lambda _zoo: denoiser)
