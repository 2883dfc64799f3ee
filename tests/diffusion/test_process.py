"""Schedule, inversion and reverse steps against the official process.

Golden numbers: ``tests/golden/make_process.py`` (YSerin/ZeCon 51e679e, whose gaussian_diffusion.py
is openai/guided-diffusion 22e0df8 with a DDIM inversion loop), respaced to 50 steps, with a tiny
random U-Net.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from benchmark.diffusion.process import DiffusionProcess
from benchmark.diffusion.schedule import Schedule, respaced_timesteps
from benchmark.diffusion.unet import UNet, UNetConfig
from tests.golden.official_format import EDITOR_UNET, calm, filled_state, named_normal, picture

GOLDEN = Path(__file__).parents[1] / "golden"
RESPACINGS = ("1000", "250", "50", "37", "10,15,20", "ddim50")
ARRAYS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "alphas_cumprod_next", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "process.safetensors")


@pytest.fixture(scope="module")
def unet() -> UNet:
    shapes = json.loads((GOLDEN / "unet_shapes.json").read_text(encoding="utf-8"))["editor"]
    model = UNet(UNetConfig.model_validate(EDITOR_UNET)).eval().requires_grad_(False)
    model.load_state_dict(calm(filled_state(shapes, "editor")))
    return model


@pytest.fixture(scope="module")
def process() -> DiffusionProcess:
    return DiffusionProcess(Schedule.linear(50))


@pytest.mark.parametrize("respacing", RESPACINGS)
def test_schedule_is_the_official_one_to_the_last_bit(
    respacing: str, golden: dict[str, Tensor]
) -> None:
    schedule = Schedule.linear(respacing)
    assert list(schedule.timestep_map) == golden[f"schedule/{respacing}/timestep_map"].tolist()
    for name in ARRAYS:
        expected = golden[f"schedule/{respacing}/{name}"].numpy()
        assert np.array_equal(getattr(schedule, name), expected), name


@given(st.integers(2, 1000))
def test_respacing_spans_the_chain(count: int) -> None:
    steps = respaced_timesteps(1000, count)
    assert len(steps) == count
    assert steps[0] == 0 and steps[-1] == 999
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("respacing", ["0", "1001", "600,600", "ddim999"])
def test_impossible_respacing_is_refused(respacing: str) -> None:
    with pytest.raises(ValueError, match=f"respacing='{respacing}'"):
        respaced_timesteps(1000, respacing)


def test_inversion_equals_the_official_loop(
    process: DiffusionProcess, unet: UNet, golden: dict[str, Tensor]
) -> None:
    latent = process.invert(unet, picture("process", 16), 25)
    torch.testing.assert_close(latent, golden["inversion"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("step", [0, 1, 24])
def test_ddpm_step_with_gradient_equals_the_official_one(
    step: int, process: DiffusionProcess, unet: UNet, golden: dict[str, Tensor]
) -> None:
    image = picture("process", 16)
    xt = process.q_sample(image, step, named_normal("process/xt", image.shape))
    torch.testing.assert_close(xt, golden[f"xt/{step}"], atol=1e-6, rtol=1e-6)
    prediction = process.predict(unet, xt, step)
    torch.testing.assert_close(prediction.x0_hat, golden[f"x0_hat/{step}"], atol=1e-5, rtol=1e-5)
    assert prediction.log_variance is not None
    sample = process.conditioned_ddpm_step(
        xt, prediction.x0_hat, step, named_normal("process/gradient", image.shape),
        prediction.log_variance, named_normal("process/noise", image.shape),
    )  # fmt: skip
    torch.testing.assert_close(sample, golden[f"ddpm/{step}"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("step", [0, 1, 24])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_step_with_gradient_equals_the_official_one(
    eta: float, step: int, process: DiffusionProcess, unet: UNet, golden: dict[str, Tensor]
) -> None:
    xt = golden[f"xt/{step}"]
    prediction = process.predict(unet, xt, step)
    sample, x0 = process.conditioned_ddim_step(
        xt, prediction.x0_hat, step, named_normal("process/gradient", xt.shape), eta,
        named_normal("process/noise", xt.shape),
    )  # fmt: skip
    torch.testing.assert_close(sample, golden[f"ddim/{eta}/{step}"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x0, golden[f"ddim_x0/{eta}/{step}"], atol=1e-5, rtol=1e-5)


@given(st.integers(1, 49), st.integers(0, 10))
@settings(max_examples=25, deadline=None)
def test_moving_x0_acts_as_conditioning_with_the_same_gradient(step: int, seed: int) -> None:
    """The derivation of ``x0_guidance_scale``: both reverse processes land at the same point."""
    process = DiffusionProcess(Schedule.linear(50))
    xt, x0, gradient, noise = (
        named_normal(f"scale/{seed}/{name}", (1, 3, 4, 4)).double() for name in "abcd"
    )
    log_variance = float(process.schedule.posterior_log_variance_clipped[step])
    expected = process.conditioned_ddpm_step(xt, x0, step, gradient, log_variance, noise)
    moved = x0 - process.x0_guidance_scale(step, "ddpm") * gradient
    mean = process.posterior_mean(moved, xt, step)
    torch.testing.assert_close(process.ddpm_step(mean, step, log_variance, noise), expected)

    expected, expected_x0 = process.conditioned_ddim_step(xt, x0, step, gradient, 0.4, noise)
    moved = x0 - process.x0_guidance_scale(step, "ddim") * gradient
    torch.testing.assert_close(moved, expected_x0)
    eps = process.eps_from_x0(xt, step, moved)
    sigma = process.ddim_sigma(step, 0.4)
    torch.testing.assert_close(process.implicit_step(moved, eps, step, sigma, noise), expected)


@given(st.integers(0, 49), st.integers(0, 10))
@settings(max_examples=25, deadline=None)
def test_noise_and_x0_are_two_views_of_one_prediction(step: int, seed: int) -> None:
    process = DiffusionProcess(Schedule.linear(50))
    x0, noise = (named_normal(f"views/{seed}/{n}", (2, 3, 4, 4)).double() for n in "ab")
    xt = process.q_sample(x0, step, noise)
    torch.testing.assert_close(process.x0_from_eps(xt, step, noise), x0, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(process.eps_from_x0(xt, step, x0), noise, atol=1e-4, rtol=1e-4)


def test_aligned_inversion_is_undone_by_the_reverse_process() -> None:
    """With a denoiser that knows the image exactly, count - 1 inversion passes lead to the level of
    step count - 1, and DDIM leads back. One pass more, as upstream, ends one level above."""
    process = DiffusionProcess(Schedule.linear(50))
    image = picture("undo", 8).double()

    def denoise(xt: Tensor, t: Tensor) -> Tensor:
        step = process.schedule.timestep_map.index(int(t[0]))
        return process.eps_from_x0(xt, step, image)

    start = process.q_sample(image, 0, named_normal("undo", image.shape).double())
    latent = process.invert(denoise, start, 24)
    noise = process.eps_from_x0(latent, 24, image)
    torch.testing.assert_close(noise, named_normal("undo", image.shape).double(), atol=1e-5, rtol=0)
    back = process.reconstruct(denoise, latent, 25)
    torch.testing.assert_close(back, image, atol=1e-5, rtol=0)
