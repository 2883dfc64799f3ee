"""Writes process.safetensors: schedules, inversion and reverse steps of the official process.

``python -m tests.golden.make_process --zecon DIR`` (see :mod:`tests.golden.upstream`).
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from baselines.official_zecon import official_process
from tests.golden.official_format import EDITOR_UNET, calm, named_normal, picture
from tests.golden.upstream import (
    HERE,
    checkouts,
    contiguous,
    filled_official_unet,
    scripted,
)

RESPACINGS = ("1000", "250", "50", "37", "10,15,20", "ddim50")
ARRAYS = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "alphas_cumprod_next", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
)  # fmt: skip


def main() -> None:
    checkouts("zecon")
    out = {}
    for respacing in RESPACINGS:
        process = official_process(respacing)
        out[f"schedule/{respacing}/timestep_map"] = torch.tensor(process.timestep_map)
        for name in ARRAYS:
            out[f"schedule/{respacing}/{name}"] = torch.from_numpy(getattr(process, name).copy())
    model = filled_official_unet("editor", EDITOR_UNET)
    model.load_state_dict(calm(model.state_dict()))
    process = official_process("50")
    image = picture("process", 16)
    out["inversion"] = process.ddim_reverse_sample_loop(
        model, image, clip_denoised=False, skip_timesteps=25
    )
    noise = named_normal("process/noise", image.shape)
    gradient = named_normal("process/gradient", image.shape)
    for step in (0, 1, 24):
        t = torch.tensor([step])
        xt = process.q_sample(image, t, named_normal("process/xt", image.shape))
        out[f"xt/{step}"] = xt
        # the gradient of a log probability is minus that of a loss
        common = {"clip_denoised": False, "cond_fn": lambda x, t, **kwargs: -gradient}
        with scripted(torch, "randn_like", [noise]):
            result = process.p_sample(model, xt, t, model_kwargs={}, **common)
        out[f"ddpm/{step}"] = result["sample"]
        out[f"x0_hat/{step}"] = result["pred_xstart"]
        for eta in (0.0, 0.7):
            with scripted(torch, "randn_like", [noise]):
                result = process.ddim_sample(model, xt, t, model_kwargs={}, eta=eta, **common)
            out[f"ddim/{eta}/{step}"] = result["sample"]
            out[f"ddim_x0/{eta}/{step}"] = result["pred_xstart"]
    save_file(contiguous(out), HERE / "process.safetensors")


if __name__ == "__main__":
    main()
