"""Training recipe of the mini U-Net's first stage: guided diffusion on photos and stylised photos.

One network learns 64x64 and, under labels of their own, 32x32 and 16x16. What a picture shows is
decided at the small sides, where a picture costs a sixteenth, so drawing from noise goes up the
sides: a cascade (Ho et al. 2022, arXiv 2106.15282) within one network. Style transfer is of 64x64
alone. The second stage, :mod:`.unet_heads`, is what ships.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.diffusion.process import DiffusionProcess
from benchmark.diffusion.schedule import Schedule as NoiseSchedule
from benchmark.diffusion.unet import UNet, UNetConfig

from . import corpus
from .group_norm import use_fast_group_norm
from .trainer import Schedule

CLASSES = ("faces", "dogs", "bedrooms", "objects", "paintings", "unconditional")
SIDES = (64, 32, 16)
# the label of a class at a side; those of 64 come first and have the plain names
LABELS = tuple(c if side == SIDES[0] else f"{c}-{side}" for side in SIDES for c in CLASSES)
CONFIG = UNetConfig(
    image_size=64,
    model_channels=32,
    channel_mult=(1, 2, 3, 4),
    num_res_blocks=2,
    attention_resolutions=(16, 8),
    num_head_channels=32,
    num_classes=len(LABELS),
    # the official 32 groups would leave each of the first level's 32 channels alone with its mean
    # taken away, and the network could not say how bright or how red a whole picture is
    norm_groups=8,
    predicts="velocity",  # it could not tell noise from x_t to a thousandth
)
# pictures of each side for one of 64: 16 and 64 take most of a step's time, 32 half as much as they
PICTURES = {64: 1, 32: 2, 16: 16}
# where most of a side's training lies. At 64 style transfer happens there; 32 and 64 begin with
# what the side below has drawn; 16 begins with noise, but above 800 there is nothing else
TIMESTEPS = {64: (0, 620), 32: (0, 500), 16: (100, 800)}
WITHIN_SHARE = 0.85
STYLISED_SHARE = 0.5  # at 64 below the end of its timesteps, where style transfer happens
# stylised pictures lose their label more often, so guidance towards a class is towards photographs
UNCONDITIONAL_SHARE, UNCONDITIONAL_STYLISED_SHARE = 0.15, 0.5
MARGIN = 4  # photographs are windows of 64 pixels in pictures this much larger
EVALUATED_TIMESTEPS = (50, 250, 500, 750, 900)
EVALUATED, INVERTED = 128, 32  # held-out pictures of each figure
VLB_WEIGHT = 1e-3  # "rescaled" hybrid loss of Nichol & Dhariwal 2021, section 3.1


def class_index(domain: str, side: int = SIDES[0]) -> int:
    """Label of a corpus domain at a side; interiors count as bedrooms."""
    name = "bedrooms" if domain == "interiors" else domain
    return first_label(side) + CLASSES.index(name)


def first_label(side: int) -> int:
    """Where the labels of a side begin."""
    return SIDES.index(side) * len(CLASSES)


class UNetRecipe:
    """Hybrid loss (error of v + variational bound for the variance) on uint8 picture banks."""

    name = "unet-base"
    kind = "unet"
    seed = 0
    domains: tuple[str, ...] = corpus.DOMAINS
    pictures = PICTURES

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 12, copies: int = 2
    ) -> None:
        self.batch_size = batch_size
        self.schedule = Schedule(
            steps=steps,
            learning_rate=8e-4,
            warmup=100,
            ema_decay=0.998,
            shares=2,
            hold=0.2,
            adamw_only=("input_blocks.0.", "out.", "label_emb."),
        )
        photos = corpus.load(folder, "train", size=corpus.SIZE + MARGIN)
        self._photos = windows_of(photos.pixels)
        self._photo_labels = torch.tensor([class_index(name) for name in photos.domains])
        plain = [i for i, name in enumerate(photos.domains) if name in corpus.PHOTO_DOMAINS]
        self._styled = torch.from_numpy(
            np.concatenate([corpus.stylised(folder, "train", k, cache) for k in range(copies)])
        )
        self._styled_labels = self._photo_labels[plain].repeat(copies)
        held_out = corpus.load(folder, "test")
        self._held_out = torch.from_numpy(held_out.pixels)
        self._held_out_labels = torch.tensor([class_index(name) for name in held_out.domains])
        schedule = NoiseSchedule.linear()
        self._alphas_cumprod = torch.from_numpy(schedule.alphas_cumprod).float()
        self._coef1 = torch.from_numpy(schedule.posterior_mean_coef1).float()
        self._coef2 = torch.from_numpy(schedule.posterior_mean_coef2).float()
        self._log_min = torch.from_numpy(schedule.posterior_log_variance_clipped).float()
        self._log_max = torch.from_numpy(np.log(schedule.betas)).float()

    def build(self) -> UNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = UNet(CONFIG)
        use_fast_group_norm(model)
        return model.to(memory_format=torch.channels_last)

    def batch(self, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures [B, 3, side, side] in [-1, 1], labels and timesteps of a share of a step."""
        count = self.pictures[side] * self.batch_size // self.schedule.shares
        t = self._timesteps(side, count, generator)
        pixels, labels, unlabelled = self._plain(side, count, generator)
        if side == SIDES[0]:
            b = torch.randint(len(self._styled), (count,), generator=generator)
            styled = torch.rand(count, generator=generator) < STYLISED_SHARE
            styled &= t < TIMESTEPS[side][1]
            pixels = torch.where(styled[:, None, None, None], self._styled[b], pixels)
            labels = torch.where(styled, self._styled_labels[b], labels)
            unlabelled[styled] = UNCONDITIONAL_STYLISED_SHARE
        flip = torch.rand(count, generator=generator) < 0.5
        pixels = torch.where(flip[:, None, None, None], pixels.flip(2), pixels)
        drop = torch.rand(count, generator=generator) < unlabelled
        labels = torch.where(drop, CLASSES.index("unconditional"), labels)
        x0 = F.avg_pool2d(to_model_range(pixels), SIDES[0] // side)
        return x0, labels + first_label(side), t

    def _plain(
        self, side: int, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Photographs and paintings [B, 64, 64, 3] uint8, labels, and how often these are lost."""
        chosen = torch.randint(len(self._photos), (count,), generator=generator)
        pixels = random_windows(self._photos, chosen, generator)
        return pixels, self._photo_labels[chosen], torch.full((count,), UNCONDITIONAL_SHARE)

    def _timesteps(self, side: int, count: int, generator: torch.Generator) -> Tensor:
        within = torch.randint(*TIMESTEPS[side], (count,), generator=generator)
        anywhere = torch.randint(0, 1000, (count,), generator=generator)
        return torch.where(torch.rand(count, generator=generator) < WITHIN_SHARE, within, anywhere)

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        losses: list[Tensor] = []
        parts: dict[str, float] = {}
        for side in SIDES:
            v_error, vlb = self._errors(model, side, generator)
            losses.append(v_error + VLB_WEIGHT * vlb)
            parts |= {
                f"v_error_{side}": float(v_error.detach()),
                f"vlb_{side}": float(vlb.detach()),
            }
        return torch.stack(losses).sum(), parts

    def _errors(
        self, model: nn.Module, side: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Error of v and variational bound on a batch of a side."""
        device = next(model.parameters()).device
        x0, labels, t = self.batch(side, generator)
        noise = torch.randn(x0.shape, generator=generator)
        abar = self._alphas_cumprod[t][:, None, None, None]
        xt = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
        x0, xt, noise = (v.to(device) for v in (x0, xt, noise))
        output = model(
            xt.contiguous(memory_format=torch.channels_last), t.to(device), labels.to(device)
        )
        eps, fraction = output.float().chunk(2, dim=1)
        # 1 / abar makes the error of the noise that of v (Salimans & Ho 2022, arXiv 2202.00512,
        # app. D); the noise's own counts a wrong layout a thousandth of wrong grain
        error = (eps - noise).square().mean((1, 2, 3))
        v_error = (error / abar.flatten().to(device)).mean()
        return v_error, self._variational_bound(x0, xt, t, eps.detach(), fraction)

    def _variational_bound(
        self, x0: Tensor, xt: Tensor, t: Tensor, eps: Tensor, fraction: Tensor
    ) -> Tensor:
        """KL(q(x_{t-1} | x_t, x_0) || p) in bits, times 1000 / 1000; step 0 is left out."""

        def at(table: Tensor) -> Tensor:
            return table[t].to(x0.device)[:, None, None, None]

        abar = at(self._alphas_cumprod)
        x0_hat = ((xt - (1 - abar).sqrt() * eps) / abar.sqrt()).clamp(-1, 1)
        mean_error = at(self._coef1) * (x0 - x0_hat)
        log_true = at(self._log_min)
        weight = (fraction + 1) / 2
        log_model = weight * at(self._log_max) + (1 - weight) * log_true
        kl = 0.5 * (log_model - log_true - 1 + torch.exp(log_true - log_model)
                    + mean_error.square() * torch.exp(-log_model))  # fmt: skip
        kl = torch.where(at(torch.arange(1000)) > 0, kl, torch.zeros_like(kl))
        return kl.mean() / math.log(2.0)

    def finish(self, model: nn.Module) -> nn.Module:
        """What is shipped: the same weights with PyTorch's own group normalisation."""
        plain = UNet(CONFIG)
        plain.load_state_dict(model.state_dict())
        return plain.to(memory_format=torch.channels_last)

    def architecture(self) -> dict[str, Any]:
        return CONFIG.model_dump(mode="json")

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """Denoising MSE on held-out pictures, and PSNR of DDIM inversion and reconstruction."""
        shipped.eval()
        generator = torch.Generator().manual_seed(1)
        chosen = torch.randperm(len(self._held_out), generator=generator)[:EVALUATED]
        x0, labels = to_model_range(self._held_out[chosen]), self._held_out_labels[chosen]
        device = next(shipped.parameters()).device
        noise = torch.randn(x0.shape, generator=generator)
        figures: dict[str, float] = {}
        for timestep in EVALUATED_TIMESTEPS:
            abar = self._alphas_cumprod[timestep]
            total = 0.0
            for start in range(0, len(x0), 32):
                part = slice(start, start + 32)
                xt = (abar.sqrt() * x0[part] + (1 - abar).sqrt() * noise[part]).to(device)
                t = torch.full((len(xt),), timestep, device=device)
                eps = shipped(xt, t, labels[part].to(device)).float()[:, :3]
                total += F.mse_loss(eps, noise[part].to(device), reduction="sum").item()
            figures[f"denoising_mse_t{timestep}"] = total / noise.numel()
        few = slice(0, INVERTED)
        figures["ddim_reconstruction_psnr_50_25"] = reconstruction_psnr(
            shipped, x0[few].to(device), labels[few].to(device)
        )
        return figures


def reconstruction_psnr(unet: nn.Module, x0: Tensor, labels: Tensor) -> float:
    """PSNR in dB (peak to peak 2) after DDIM inversion to step 25 of 50 and back.

    Args:
        x0: [B, 3, 64, 64] in [-1, 1].
        labels: [B] classes.
    """
    process = DiffusionProcess(NoiseSchedule.linear(50))

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = unet(x, t, labels)
        return out

    latent = process.invert(denoise, x0, 25)  # to the noise level of step 25
    back = process.reconstruct(denoise, latent, 26)  # steps 25 .. 0
    mse = (back.clamp(-1, 1) - x0).square().mean((1, 2, 3))
    return float((10 * torch.log10(4.0 / mse)).mean())


def windows_of(pixels: corpus.Pixels) -> Tensor:
    """All windows of 64 x 64 in pictures [N, S, S, 3]: a view [N, M, M, 3, 64, 64]."""
    return torch.from_numpy(pixels).unfold(1, corpus.SIZE, 1).unfold(2, corpus.SIZE, 1)


def random_windows(windows: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
    """A window [B, 64, 64, 3] of each chosen picture."""
    top, left = torch.randint(windows.shape[1], (2, len(chosen)), generator=generator)
    return windows[chosen, top, left].permute(0, 2, 3, 1)


def to_model_range(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
