"""Figures of a mini StyleGAN2: how well it gives back pictures, and what it draws by itself."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.metrics.lpips_vgg import LAYERS, unit_channel_distance
from benchmark.zoo.models import ModelZoo
from benchmark.zoo.stylegan2 import StyleGan2
from benchmark.zoo.vgg import VggFeatures

from .bank import CONTENT, CONTENT_PROMPTS
from .stylegan2_parts import feature_distance
from .unet import to_model_range

SAMPLES, SEED = 500, 1
ENCODED, REFINED = 128, 16  # held-out pictures of each figure
STEPS, RATE = 150, 0.03  # of the refinement in W+
SIDE = 32  # pixels at which neighbours are compared
PART = 50


@torch.no_grad()
def samples(model: StyleGan2, count: int, draws: torch.Generator, psi: float = 1.0) -> Tensor:
    """Pictures [N, 3, S, S] in [-1, 1] of random latents.

    Args:
        psi: how far latents go from the average one (truncation; 1 is none).
    """
    z = torch.randn(count, model.config.style_dim, generator=draws).to(model.latent_avg)
    latents = model.truncate(model.map(z), psi)
    return torch.cat([model(part).clamp(-1, 1) for part in torch.split(latents, PART)])


def refined(model: StyleGan2, vgg: VggFeatures, images: Tensor) -> Tensor:
    """Pictures after the encoder's latents were optimised for L1 and VGG features."""
    latents = model.encode(images).detach().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=RATE)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 4 * (1 - step / STEPS))
        with torch.enable_grad():
            pictures = model(latents)
            loss = (pictures - images).abs().mean() + feature_distance(vgg, pictures, images)
            (latents.grad,) = torch.autograd.grad(loss, latents)
        optimizer.step()
    with torch.no_grad():
        better: Tensor = model(latents.detach())
    return better.clamp(-1, 1)


def likeness(vgg: VggFeatures, pictures: Tensor, images: Tensor, name: str) -> dict[str, float]:
    """Mean PSNR in dB and mean LPIPS-style distance."""
    error = ((pictures - images) / 2).square().mean((1, 2, 3))
    ours, theirs = (vgg((x + 1) / 2, LAYERS) for x in (pictures, images))
    distances = torch.stack([unit_channel_distance(ours[k], theirs[k]) for k in LAYERS])
    return {
        f"psnr_{name}": float((-10 * error.log10()).mean()),
        f"lpips_{name}": float(distances.mean()),
    }


def nearest(pictures: Tensor, bank: Tensor) -> Tensor:
    """Root mean square difference to the nearest of the bank, mirrored ones included: [N]."""

    def small(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, SIDE).flatten(1)

    others = torch.cat([small(bank), small(bank.flip(3))])
    distances: Tensor = torch.cdist(small(pictures), others).min(1).values
    return distances / math.sqrt(others.shape[1])


def neighbour_distance(pictures: Tensor, bank: Tensor) -> float:
    """Median of :func:`nearest`."""
    return float(nearest(pictures, bank).median())


def figures(
    model: StyleGan2, domain: str, trained_on: Tensor, held_out: Tensor
) -> dict[str, float]:
    """All figures.

    Args:
        model: with an encoder.
        domain: what it draws, one of :data:`.bank.CONTENT`.
        trained_on: the training pictures, uint8 [N, S, S, 3].
        held_out: unseen ones.
    """
    device = model.latent_avg.device
    zoo = ModelZoo({"judge": "mini-clip-score", "vgg": "mini-vgg"}, device=device)
    vgg, judge = zoo.vgg(), zoo.clip("judge")
    truth = to_model_range(held_out[:ENCODED]).to(device)
    with torch.no_grad():
        encoded = model(model.encode(truth)).clamp(-1, 1)
        found = likeness(vgg, encoded, truth, "encoder")
        pictures = samples(model, SAMPLES, torch.Generator().manual_seed(SEED))
        texts = F.normalize(judge.encode_text(CONTENT_PROMPTS), dim=1)
        seen = torch.cat([judge.encode_image(part) for part in torch.split(pictures, PART)])
        told = (F.normalize(seen, dim=1) @ texts.T).argmax(1)
    first = truth[:REFINED]
    better = refined(model, vgg, first)
    with torch.no_grad():
        found |= likeness(vgg, better, first, "optimised")
    bank = to_model_range(trained_on).to(device)
    return found | {
        f"samples_told_{domain}": float((told == CONTENT.index(domain)).float().mean()),
        "neighbour_of_samples": neighbour_distance(pictures, bank),
        "neighbour_of_held_out": neighbour_distance(to_model_range(held_out).to(device), bank),
    }
