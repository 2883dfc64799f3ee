"""The shipped denoiser on photographs it was not trained on, the cards, and the size of the zoo.

What the other shipped models can do is tested beside their code (test_clip, test_dino, ...).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.config import load_protocol
from benchmark.diffusion.schedule import Schedule
from benchmark.metrics.pixels import to_float
from benchmark.zoo import ModelZoo
from benchmark.zoo.mini.unet import reconstruction_psnr
from data.datasets import afhq, celebahq, imagenet

WEIGHTS = Path(__file__).parents[2] / "benchmark" / "zoo" / "mini" / "weights"


@pytest.fixture(scope="module")
def zoo() -> ModelZoo:
    return ModelZoo(load_protocol("mini-64-v1").models)


@pytest.fixture(scope="module")
def embedded() -> tuple[Tensor, list[str]]:
    """Two embedded pictures of three datasets at 64 pixels, [6, 3, 64, 64], and their domains."""
    pixels, domains = [], []
    for dataset in (afhq, celebahq, imagenet):
        frozen = dataset.freeze(
            dataset.source(None), size=64, resize_filter="lanczos", limit=2, on_bad_image="fail"
        )
        pixels += [torch.from_numpy(image.pixels.copy()) for image in frozen.images]
        domains += 2 * [dataset.card.domain]
    return to_float(torch.stack(pixels).permute(0, 3, 1, 2)), domains


def test_inversion_and_reconstruction_keep_28_db(
    zoo: ModelZoo, embedded: tuple[Tensor, list[str]]
) -> None:
    images, domains = embedded
    denoiser = zoo.denoiser()
    labels = denoiser.labels(domains, "cpu")
    assert labels is not None
    assert reconstruction_psnr(denoiser.unet, images, labels) >= 28.0


@pytest.mark.parametrize(("timestep", "limit"), [(250, 0.05), (500, 0.015)])
def test_denoising_error(
    zoo: ModelZoo, embedded: tuple[Tensor, list[str]], timestep: int, limit: float
) -> None:
    """Mean squared error of the predicted noise; predicting none at all gives 1."""
    images, domains = embedded
    denoiser = zoo.denoiser()
    abar = float(Schedule.linear(1000).alphas_cumprod[timestep])
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    xt = abar**0.5 * images + (1 - abar) ** 0.5 * noise
    with torch.no_grad():
        t = torch.full((len(xt),), timestep)
        eps = denoiser(xt, t, denoiser.labels(domains, "cpu"))[:, :3]
    assert F.mse_loss(eps, noise) < limit


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_card_is_complete(path: Path) -> None:
    card = json.loads(path.read_text())
    assert {"architecture", "data", "licence_note", "training", "figures"} <= set(card)
    assert {"command", "steps", "seed", "seconds", "hardware"} <= set(card["training"])
    assert "research use" in card["licence_note"]
    assert card["figures"]


def test_the_zoo_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 60e6
