"""Training recipe of the mini U-Net: guided diffusion at 64x64 on photos and stylised photos."""

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
CONFIG = UNetConfig(
    image_size=64,
    model_channels=32,
    channel_mult=(1, 2, 3, 4),
    num_res_blocks=2,
    attention_resolutions=(16, 8),
    num_head_channels=32,
    num_classes=len(CLASSES),
    # the official 32 groups would leave each of the first level's 32 channels alone with its mean
    # taken away, and the network could not say how bright or how red a whole picture is
    norm_groups=8,
)
# a picture is laid out above DETAIL_TIMESTEPS, and that takes most of the training
DETAIL_TIMESTEPS = 350
LAYOUT_SHARE = 0.8
# style transfer stays below this timestep: what is drawn from noise is laid out as a photograph
TRANSFER_TIMESTEPS = 620
STYLISED_SHARE = 0.5  # below TRANSFER_TIMESTEPS
UNCONDITIONAL_SHARE = 0.15
# 1 / alphas_cumprod makes the noise error that of v (Salimans & Ho 2022, arXiv 2202.00512, app. D);
# without it a wrong layout costs a thousandth of what wrong grain costs. Bounded, for bfloat16.
MAX_WEIGHT = 1000.0
EVALUATED_TIMESTEPS = (50, 250, 500, 750, 900)
EVALUATED, INVERTED = 128, 32  # held-out pictures of each figure
VLB_WEIGHT = 1e-3  # "rescaled" hybrid loss of Nichol & Dhariwal 2021, section 3.1


def class_index(domain: str) -> int:
    """Label of a corpus domain; interiors count as bedrooms."""
    return CLASSES.index("bedrooms" if domain == "interiors" else domain)


class UNetRecipe:
    """Hybrid loss (error of v + variational bound for the variance) on uint8 picture banks."""

    name = "unet"
    kind = "unet"
    seed = 0
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 32, copies: int = 2
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
        photos = corpus.load(folder, "train")
        self._photos = torch.from_numpy(photos.pixels)
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

    def _batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, their labels and timesteps."""
        count = self.batch_size // self.schedule.shares
        t = self._timesteps(count, generator)
        a = torch.randint(len(self._photos), (count,), generator=generator)
        b = torch.randint(len(self._styled), (count,), generator=generator)
        styled = torch.rand(count, generator=generator) < STYLISED_SHARE
        styled &= t < TRANSFER_TIMESTEPS
        pixels = torch.where(styled[:, None, None, None], self._styled[b], self._photos[a])
        labels = torch.where(styled, self._styled_labels[b], self._photo_labels[a])
        flip = torch.rand(len(pixels), generator=generator) < 0.5
        pixels = torch.where(flip[:, None, None, None], pixels.flip(2), pixels)
        drop = torch.rand(len(labels), generator=generator) < UNCONDITIONAL_SHARE
        labels = torch.where(drop, CLASSES.index("unconditional"), labels)
        return to_model_range(pixels), labels, t

    def _timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        detail = torch.randint(0, DETAIL_TIMESTEPS, (count,), generator=generator)
        layout = torch.randint(DETAIL_TIMESTEPS, 1000, (count,), generator=generator)
        return torch.where(torch.rand(count, generator=generator) < LAYOUT_SHARE, layout, detail)

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        device = next(model.parameters()).device
        x0, labels, t = self._batch(generator)
        noise = torch.randn(x0.shape, generator=generator)
        abar = self._alphas_cumprod[t][:, None, None, None]
        xt = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
        x0, xt, noise = (v.to(device) for v in (x0, xt, noise))
        output = model(
            xt.contiguous(memory_format=torch.channels_last), t.to(device), labels.to(device)
        )
        eps, fraction = output.float().chunk(2, dim=1)
        error = (eps - noise).square().mean((1, 2, 3))
        mse = error.mean()
        v_error = (error / abar.flatten().to(device).clamp_min(1 / MAX_WEIGHT)).mean()
        vlb = self._variational_bound(x0, xt, t, eps.detach(), fraction)
        parts = {"mse": mse, "v_error": v_error, "vlb": vlb}
        return v_error + VLB_WEIGHT * vlb, {name: float(v.detach()) for name, v in parts.items()}

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


def to_model_range(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
