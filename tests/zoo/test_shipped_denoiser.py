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
from benchmark.zoo import ModelZoo
from benchmark.zoo.mini.bank import CONTENT, CONTENT_PROMPTS
from benchmark.zoo.mini.unet import reconstruction_psnr
from benchmark.zoo.mini.unet_samples import draw, embeddings
from data.decode import decode, square
from data.module import to_model_range
from data.photos import photo_bytes

WEIGHTS = Path(__file__).parents[2] / "benchmark" / "zoo" / "mini" / "weights"


@pytest.fixture(scope="module")
def zoo() -> ModelZoo:
    return ModelZoo(load_protocol("mini-64-v1").models)


@pytest.fixture(scope="module")
def photos() -> tuple[Tensor, list[str]]:
    """Photographs that packages ship, at 64 pixels, [4, 3, 64, 64], and what they show.

    Not the embedded images: those the network has drawn itself.
    """
    shown = {
        "skimage/astronaut": "faces", "skimage/chelsea": "dogs", "skimage/coffee": "objects",
        "skimage/rocket": "objects",
    }  # fmt: skip
    pixels = [square(decode(photo_bytes(name)), 64, "lanczos") for name in shown]
    return torch.stack([to_model_range(image) for image in pixels]), list(shown.values())


def test_inversion_and_reconstruction_keep_28_db(
    zoo: ModelZoo, photos: tuple[Tensor, list[str]]
) -> None:
    images, domains = photos
    denoiser = zoo.denoiser()
    labels = denoiser.labels(domains, "cpu")
    assert labels is not None
    assert reconstruction_psnr(denoiser.unet, images, labels) >= 28.0


@pytest.mark.parametrize(("timestep", "limit"), [(250, 0.05), (500, 0.015)])
def test_denoising_error(
    zoo: ModelZoo, photos: tuple[Tensor, list[str]], timestep: int, limit: float
) -> None:
    """Mean squared error of the predicted noise; predicting none at all gives 1."""
    images, domains = photos
    denoiser = zoo.denoiser()
    abar = float(Schedule.linear(1000).alphas_cumprod[timestep])
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    xt = abar**0.5 * images + (1 - abar) ** 0.5 * noise
    with torch.no_grad():
        t = torch.full((len(xt),), timestep)
        eps = denoiser(xt, t, denoiser.labels(domains, "cpu"))[:, :3]
    assert F.mse_loss(eps, noise) < limit


@pytest.mark.slow
def test_the_judge_tells_what_is_drawn_from_noise(zoo: ModelZoo) -> None:
    judge, unet = zoo.clip("judge"), zoo.denoiser().unet
    texts = F.normalize(judge.encode_text(CONTENT_PROMPTS), dim=1)
    right = 0
    for index, domain in enumerate(CONTENT):
        drawn = draw(unet, domain, 4, 20, torch.Generator().manual_seed(7))
        right += int(((embeddings(judge, drawn) @ texts.T).argmax(1) == index).sum())
    assert right >= 15, f"{right} of {4 * len(CONTENT)}"


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_card_is_complete(path: Path) -> None:
    card = json.loads(path.read_text())
    assert {"architecture", "data", "licence_note", "training", "figures"} <= set(card)
    assert {"command", "steps", "seed", "seconds", "hardware"} <= set(card["training"])
    assert "research use" in card["licence_note"]
    assert card["figures"]


def test_the_zoo_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 60e6
