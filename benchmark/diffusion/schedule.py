"""The noise schedule of the training process and its respacing.

Everything is float64 numpy, as in ``openai/guided-diffusion`` (commit 22e0df8), so that numbers are
equal to the last bit; tensors are cut from it where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

TRAIN_STEPS = 1000


def linear_betas(num_steps: int = TRAIN_STEPS) -> FloatArray:
    """Linear schedule of Ho et al. 2020, scaled so that any number of steps ends at equal noise."""
    scale = 1000 / num_steps
    return np.linspace(scale * 1e-4, scale * 0.02, num_steps, dtype=np.float64)


def respaced_timesteps(num_steps: int, respacing: int | str) -> list[int]:
    """Which training timesteps a shorter process visits.

    Args:
        num_steps: length of the training process (1000).
        respacing: a count (``50``), counts of equal sections (``"10,15,20"``), or the fixed stride
            of the DDIM paper (``"ddim50"``).

    Returns:
        Increasing training timesteps.

    Raises:
        ValueError: if the process cannot be cut that way.
    """
    text = str(respacing)
    if text.startswith("ddim"):
        count = int(text.removeprefix("ddim"))
        for stride in range(1, num_steps):
            if len(range(0, num_steps, stride)) == count:
                return list(range(0, num_steps, stride))
        raise ValueError(f"no whole stride gives {count} of {num_steps} steps (respacing={text!r})")
    counts = [int(part) for part in text.split(",")]
    size, extra = divmod(num_steps, len(counts))
    steps: list[int] = []
    start = 0
    for index, count in enumerate(counts):
        length = size + (1 if index < extra else 0)
        if not 0 < count <= length:
            raise ValueError(
                f"cannot take {count} steps of a section of {length} (respacing={text!r})"
            )
        stride_f = (length - 1) / (count - 1) if count > 1 else 1.0
        position = 0.0
        for _ in range(count):  # repeated addition, as upstream: rounding depends on it
            steps.append(start + round(position))
            position += stride_f
        start += length
    return sorted(set(steps))


@dataclass(frozen=True)
class Schedule:
    """A respaced process of T' steps.

    ``timestep_map[i]`` is the training timestep of respaced step ``i``; the arrays have length T'.
    """

    timestep_map: tuple[int, ...]
    betas: FloatArray
    alphas_cumprod: FloatArray
    alphas_cumprod_prev: FloatArray
    alphas_cumprod_next: FloatArray
    posterior_variance: FloatArray
    posterior_log_variance_clipped: FloatArray
    posterior_mean_coef1: FloatArray
    posterior_mean_coef2: FloatArray

    @classmethod
    def linear(cls, respacing: int | str = TRAIN_STEPS, num_steps: int = TRAIN_STEPS) -> Schedule:
        """The linear schedule respaced to fewer steps (``respacing=50`` in the paper)."""
        base = np.cumprod(1.0 - linear_betas(num_steps), axis=0)
        timestep_map = tuple(respaced_timesteps(num_steps, respacing))
        kept = base[list(timestep_map)]
        betas = 1 - kept / np.append(1.0, kept[:-1])
        alphas = 1.0 - betas
        cumprod = np.cumprod(alphas, axis=0)
        previous = np.append(1.0, cumprod[:-1])
        variance = betas * (1.0 - previous) / (1.0 - cumprod)
        # the variance of step 0 is zero; upstream takes the logarithm of step 1's there
        clipped = np.log(np.append(variance[1], variance[1:])) if len(betas) > 1 else np.log(betas)
        return cls(
            timestep_map=timestep_map,
            betas=betas,
            alphas_cumprod=cumprod,
            alphas_cumprod_prev=previous,
            alphas_cumprod_next=np.append(cumprod[1:], 0.0),
            posterior_variance=variance,
            posterior_log_variance_clipped=clipped,
            posterior_mean_coef1=betas * np.sqrt(previous) / (1.0 - cumprod),
            posterior_mean_coef2=(1.0 - previous) * np.sqrt(alphas) / (1.0 - cumprod),
        )

    def __len__(self) -> int:
        return len(self.timestep_map)

    def truncated_step(self, step: int) -> int:
        """The step that ZeCon's and DiffuseIT's guidance takes itself to be at.

        Their code multiplies the training timestep by T' / 1000 in float32 and cuts the fraction,
        which does not return ``step`` for every T'.
        """
        ratio = np.float32(len(self) / TRAIN_STEPS)
        return int(np.float32(self.timestep_map[step]) * ratio)
