"""Training recipe of the mini VQGAN: 64x64 pictures as 16x16 codes, photos and stylised alike.

There is no discriminator. With one (patches of 34 pixels, hinge loss, adaptive weight times 0.4)
over the last 30 % of the run, reconstructions of held-out pictures came out striped and with 0.8 to
1.0 dB less PSNR: the autoencoder is far from converged after minutes on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.zoo.loading import load_state
from benchmark.zoo.vgg import VggFeatures
from benchmark.zoo.vqgan import VqGan

from . import corpus
from .bank import Bank
from .export import WEIGHTS
from .trainer import Schedule
from .unet import to_model_range
from .vqgan_parts import CONFIG, VqGanInTraining

LAYERS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")  # as the LPIPS-style metric
STYLISED_SHARE = 0.5
# the codebook is placed on latents of an autoencoder that reconstructs already: a random one of
# 1,024 codes would collapse to a few in a run as short as this
CONTINUOUS_UNTIL = 0.08  # of the run
COMMITMENT = 0.25
EVALUATED = 256  # held-out pictures of each figure


class VqGanRecipe:
    """L1, VGG distance and commitment over photos, paintings and stylised photos."""

    name = "vqgan"
    kind = "vqgan"
    seed = 41
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 8, copies: int = 2
    ) -> None:
        self.batch_size = batch_size
        self.schedule = Schedule(
            steps=steps, learning_rate=1.5e-3, warmup=50, betas=(0.5, 0.95), ema_decay=0.998,
            grad_clip=3.0,
        )  # fmt: skip
        self.continuous_until = round(CONTINUOUS_UNTIL * steps)
        self.bank = Bank(folder, "train", cache, copies)
        self.held_out = Bank(folder, "test", cache, 1)
        self.vgg = VggFeatures.from_state_dict(load_state(WEIGHTS / "vgg.safetensors"))

    def build(self) -> VqGanInTraining:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = VqGanInTraining()
        return model.to(memory_format=torch.channels_last)

    def batch(self, generator: torch.Generator) -> Tensor:
        """Pictures [B, 3, 64, 64] in [-1, 1], half of them stylised."""
        bank, styled = self.bank, round(self.batch_size * STYLISED_SHARE)
        a = torch.randint(len(bank.pixels), (self.batch_size - styled,), generator=generator)
        b = torch.randint(len(bank.styled), (styled,), generator=generator)
        pixels = torch.cat([bank.pixels[a], bank.styled[b]])
        flip = torch.rand(len(pixels), generator=generator) < 0.5
        pixels = torch.where(flip[:, None, None, None], pixels.flip(2), pixels)
        return to_model_range(pixels).contiguous(memory_format=torch.channels_last)

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, VqGanInTraining)
        device = model.counts.device
        images = self.batch(generator).to(device)
        z = model.vqgan.encode(images).float()
        commitment, quantised, in_use = z.new_zeros(()), z, 0.0
        if step >= self.continuous_until:
            with torch.autocast(device.type, enabled=False):
                if not model.sums.any():  # the first such step
                    model.place_codes(z.detach(), generator)
                indices = model.vqgan.quantize.indices(z)
                nearest = F.embedding(indices, model.vqgan.quantize.embedding.weight.clone())
                nearest = nearest.movedim(-1, 1)
                commitment = F.mse_loss(z, nearest)
                quantised = z + (nearest - z).detach()
                in_use = model.move_codes(z.detach(), indices, generator)
        made = model.vqgan.decode(quantised).float()
        pixel = F.l1_loss(made, images)
        perceptual = self.perceptual(made, images)
        return pixel + perceptual + COMMITMENT * commitment, {
            "l1": float(pixel.detach()), "vgg": float(perceptual.detach()),
            "commitment": float(commitment.detach()), "codes": in_use,
        }  # fmt: skip

    def perceptual(self, made: Tensor, images: Tensor) -> Tensor:
        """Squared distance of unit feature vectors, averaged over places and layers."""
        vgg = self.vgg.to(made.device)
        with torch.no_grad():
            goal = vgg(images, LAYERS)
        found = vgg(made, LAYERS)
        distances = [
            (_unit(found[name]) - _unit(goal[name])).square().sum(1).mean() for name in LAYERS
        ]
        return torch.stack(distances).mean()

    def finish(self, model: nn.Module) -> nn.Module:
        """What is shipped: the autoencoder with PyTorch's own group normalisation."""
        assert isinstance(model, VqGanInTraining)
        plain = VqGan(CONFIG)
        plain.load_state_dict(model.vqgan.state_dict())
        return plain

    def architecture(self) -> dict[str, Any]:
        return CONFIG.model_dump(mode="json")

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """PSNR (dB) and the LPIPS-style metric of held-out reconstructions; share of codes used."""
        assert isinstance(shipped, VqGan)
        shipped.eval()
        generator = torch.Generator().manual_seed(1)
        bank = self.held_out
        device = shipped.quantize.embedding.weight.device
        used = torch.zeros(CONFIG.n_embed, dtype=torch.bool)
        figures: dict[str, float] = {}
        groups = {
            "photos": bank.pixels[bank.photos],
            "paintings": bank.pixels[bank.paintings],
            "stylised": bank.styled,
        }
        for name, pixels in groups.items():
            chosen = torch.randperm(len(pixels), generator=generator)[:EVALUATED]
            psnr, lpips = [], []
            for part in torch.split(to_model_range(pixels[chosen]), 32):
                images = part.to(device)
                z = shipped.encode(images)
                used[shipped.quantize.indices(z).flatten().cpu()] = True
                made = shipped.decode(shipped.quantize(z)).clamp(-1, 1)
                psnr.append(10 * torch.log10(4 / (made - images).square().mean((1, 2, 3))))
                lpips.append(self._lpips(made, images))
            figures[f"psnr_{name}"] = float(torch.cat(psnr).mean())
            figures[f"lpips_vgg_{name}"] = float(torch.cat(lpips).mean())
        figures["codes_used"] = float(used.float().mean())
        return figures

    def _lpips(self, made: Tensor, images: Tensor) -> Tensor:
        """The values of metric ``lpips_vgg``, which feeds the VGG with [0, 1]."""
        vgg = self.vgg.to(made.device)
        a, b = (vgg((x + 1) / 2, LAYERS) for x in (made, images))
        return torch.stack(
            [(_unit(a[name]) - _unit(b[name])).square().sum(1).mean((1, 2)) for name in LAYERS]
        ).mean(0)


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=1, eps=1e-6)
