"""Noising, inversion and reverse steps of the (respaced) diffusion process. No guidance in here.

Equations: Ho et al. 2020 (DDPM), Song et al. 2021 (DDIM), Dhariwal & Nichol 2021 (learned
variance, conditioning); numbers follow ``openai/guided-diffusion`` at commit 22e0df8. All samples
of a batch are at the same respaced step ``i`` (0 is the least noisy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, 3, H, W], timesteps [B] on the 0..999 scale) -> [B, 3 or 6, H, W]."""


@dataclass(frozen=True)
class Prediction:
    """What the denoiser says about x_t; all tensors [B, 3, H, W].

    ``log_variance`` is the learned one, None for a model with fixed variance.
    """

    eps: Tensor
    x0_hat: Tensor
    log_variance: Tensor | None


class DiffusionProcess:
    """The process over one schedule.

    Args:
        schedule: the respaced schedule.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._log_betas = np.log(schedule.betas)

    def __len__(self) -> int:
        return len(self.schedule)

    def timesteps(self, i: int, x: Tensor) -> Tensor:
        """[B] training timesteps of step ``i``."""
        return torch.full((len(x),), self.schedule.timestep_map[i], device=x.device)

    def alpha_bar(self, i: int) -> float:
        return float(self.schedule.alphas_cumprod[i])

    def q_sample(self, x0: Tensor, i: int, noise: Tensor) -> Tensor:
        """x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps."""
        abar = self.alpha_bar(i)
        return float(np.sqrt(abar)) * x0 + float(np.sqrt(1.0 - abar)) * noise

    def x0_from_eps(self, xt: Tensor, i: int, eps: Tensor) -> Tensor:
        """xhat_0 = (x_t - sqrt(1 - abar) eps) / sqrt(abar)."""
        abar = self.alpha_bar(i)
        return float(np.sqrt(1.0 / abar)) * xt - float(np.sqrt(1.0 / abar - 1)) * eps

    def eps_from_x0(self, xt: Tensor, i: int, x0: Tensor) -> Tensor:
        """The noise that x_0 implies at x_t."""
        abar = self.alpha_bar(i)
        return (float(np.sqrt(1.0 / abar)) * xt - x0) / float(np.sqrt(1.0 / abar - 1))

    def predict(self, denoise: Denoise, xt: Tensor, i: int) -> Prediction:
        """One pass of the denoiser at step ``i``. xhat_0 is not clipped, as in ZeCon's editor."""
        output = denoise(xt, self.timesteps(i, xt)).float()
        eps, variance = output[:, :3], output[:, 3:]
        log_variance = None
        if variance.shape[1]:
            low = float(self.schedule.posterior_log_variance_clipped[i])
            high = float(self._log_betas[i])
            fraction = (variance + 1) / 2
            log_variance = fraction * high + (1 - fraction) * low
        return Prediction(eps, self.x0_from_eps(xt, i, eps), log_variance)

    def posterior_mean(self, x0: Tensor, xt: Tensor, i: int) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0)."""
        return (
            float(self.schedule.posterior_mean_coef1[i]) * x0
            + float(self.schedule.posterior_mean_coef2[i]) * xt
        )

    def posterior_variance(self, i: int) -> float:
        """Variance of q(x_{t-1} | x_t, x_0); that of step 1 at step 0, where it would vanish."""
        return float(np.exp(self.schedule.posterior_log_variance_clipped[i]))

    def ddim_sigma(self, i: int, eta: float) -> float:
        """eta sqrt((1 - abar_{t-1}) / (1 - abar_t)) sqrt(1 - abar_t / abar_{t-1}).

        0 at step 0. eta = 1 is the posterior's standard deviation, the paper's DDPM sigma.
        """
        return eta * float(np.sqrt(self.schedule.posterior_variance[i]))

    def x0_guidance_scale(self, i: int, reverse: Literal["ddpm", "ddim"]) -> float:
        """How far xhat_0 is moved for each unit of a gradient taken at xhat_0.

        Chosen so that the move acts on x_{t-1} as the same gradient would in upstream's
        conditioning:

        - DDPM: ``condition_mean`` shifts the posterior mean by -v g with v the posterior variance
          beta (1 - abar') / (1 - abar), abar' = abar_{t-1}. Moving xhat_0 by -s g shifts the mean
          coef1 xhat_0 + coef2 x_t by -coef1 s g, with coef1 = beta sqrt(abar') / (1 - abar). Both
          are equal for s = v / coef1 = (1 - abar') / sqrt(abar').
        - DDIM: ``condition_score`` makes the noise eps + sqrt(1 - abar) g, and xhat_0 follows it by
          -(1 - abar) / sqrt(abar) g, so s = (1 - abar) / sqrt(abar).
        """
        if reverse == "ddpm":
            return self.posterior_variance(i) / float(self.schedule.posterior_mean_coef1[i])
        abar = self.alpha_bar(i)
        return (1.0 - abar) / float(np.sqrt(abar))

    def ddpm_step(
        self, mean: Tensor, i: int, log_variance: Tensor | float, noise: Tensor
    ) -> Tensor:
        """x_{t-1} = mean + exp(log_variance / 2) z, without noise at step 0."""
        if i == 0:
            return mean
        half = 0.5 * log_variance
        std = torch.exp(half) if isinstance(half, Tensor) else float(np.exp(half))
        return mean + std * noise

    def implicit_step(
        self, x0: Tensor, eps: Tensor, i: int, sigma: float, noise: Tensor | None
    ) -> Tensor:
        """sqrt(abar') x_0 + sqrt(1 - abar' - sigma^2) eps + sigma z, with abar' = abar_{t-1}.

        Song et al. 2021, eq. 12; see :meth:`ddim_sigma`.
        """
        previous = float(self.schedule.alphas_cumprod_prev[i])
        beside = float(np.sqrt(max(0.0, 1 - previous - sigma**2)))
        mean = float(np.sqrt(previous)) * x0 + beside * eps
        return mean if noise is None or i == 0 or sigma == 0 else mean + sigma * noise

    def conditioned_ddpm_step(
        self, xt: Tensor, x0_hat: Tensor, i: int, gradient: Tensor, log_variance: Tensor | float,
        noise: Tensor,
    ) -> Tensor:  # fmt: skip
        """DDPM step whose mean is shifted by minus variance times ``gradient`` (of a loss at x_t).

        Upstream's ``condition_mean`` with the gradient of a log probability, which is minus ours.
        """
        variance = (
            torch.exp(log_variance)
            if isinstance(log_variance, Tensor)
            else float(np.exp(log_variance))
        )
        mean = self.posterior_mean(x0_hat, xt, i) - variance * gradient
        return self.ddpm_step(mean, i, log_variance, noise)

    def conditioned_ddim_step(
        self, xt: Tensor, x0_hat: Tensor, i: int, gradient: Tensor, eta: float, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """DDIM step with a conditioned score: eps + sqrt(1 - abar) ``gradient`` (of a loss at x_t).

        Upstream's ``condition_score``, there with the gradient of a log probability.

        Returns:
            x_{t-1} and the x_0 that the conditioned noise implies.
        """
        beside = float(np.sqrt(1 - self.alpha_bar(i)))
        eps = self.eps_from_x0(xt, i, x0_hat) + beside * gradient
        moved = self.x0_from_eps(xt, i, eps)
        return self.implicit_step(moved, eps, i, self.ddim_sigma(i, eta), noise), moved

    @torch.no_grad()
    def invert(self, denoise: Denoise, x0: Tensor, count: int) -> Tensor:
        """DDIM inversion through steps 0 .. count - 1 (upstream's ``ddim_reverse_sample_loop``).

        Upstream takes the clean image for x at step 0, so ``count`` passes end at the noise level
        of step ``count``.

        Returns:
            The latent, [B, 3, H, W].
        """
        x = x0
        for i in range(count):
            prediction = self.predict(denoise, x, i)
            following = float(self.schedule.alphas_cumprod_next[i])
            eps = self.eps_from_x0(x, i, prediction.x0_hat)
            x = float(np.sqrt(following)) * prediction.x0_hat + float(np.sqrt(1 - following)) * eps
        return x

    @torch.no_grad()
    def reconstruct(self, denoise: Denoise, latent: Tensor, count: int) -> Tensor:
        """Deterministic DDIM through steps count - 1 .. 0, without guidance.

        Args:
            latent: at the noise level of step ``count - 1``.
        """
        x = latent
        for i in reversed(range(count)):
            prediction = self.predict(denoise, x, i)
            x = self.implicit_step(prediction.x0_hat, prediction.eps, i, 0.0, None)
        return x
