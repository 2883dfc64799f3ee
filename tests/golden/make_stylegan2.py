"""Writes stylegan2.safetensors and stylegan2_shapes.json with the official generator.

``python -m tests.golden.make_stylegan2 --stylegan2 DIR`` with a checkout of
github.com/rosinality/stylegan2-pytorch at bef283a. On the CPU its operations take their native
branch; the CUDA extensions that it compiles when it is imported are replaced by nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
import torch.utils.cpp_extension
from safetensors.torch import save_file

from tests.golden.official_format import shapes_of
from tests.golden.stylegan2_case import (
    FULL_SIZES,
    LAYERS,
    SIZE,
    STYLE_DIM,
    generator_state,
    mean_latent,
    noise,
    w_plus,
    z,
)
from tests.golden.upstream import HERE, checkouts, contiguous, official


def official_model(module: str) -> Any:
    """The official module, without its compiler."""
    target: Any = torch.utils.cpp_extension
    target.load = lambda *args, **kwargs: None
    return official(module)


def filled(generator: Any, label: str = "g") -> Any:
    """An official generator with the weights that tests draw as well."""
    missing, unexpected = generator.load_state_dict(
        generator_state(shapes_of(generator), label), strict=False
    )
    if unexpected or any(not name.endswith(".kernel") for name in missing):
        raise RuntimeError(f"names differ: {missing} {unexpected}")
    return generator.eval().requires_grad_(False)


def digest(shapes: dict[str, list[int]]) -> str:
    """SHA-256 of the sorted names and shapes."""
    return hashlib.sha256(json.dumps(sorted(shapes.items())).encode()).hexdigest()


def main() -> None:
    checkouts("stylegan2")
    model = official_model("model")
    generator = filled(model.Generator(SIZE, STYLE_DIM, LAYERS))
    truncated, latent = generator(
        [z()], truncation=0.7, truncation_latent=mean_latent(), randomize_noise=False,
        return_latents=True,
    )  # fmt: skip
    out = {
        "mapped": generator.get_latent(z()),
        "constant_noise": generator([z()], randomize_noise=False)[0],
        "w_plus": generator([w_plus()], input_is_latent=True, noise=noise())[0],
        "truncated": truncated,
        "truncated_latent": latent,
    }
    save_file(contiguous(out), HERE / "stylegan2.safetensors")
    full = {}
    for size in FULL_SIZES:
        for multiplier in (1, 2):
            with torch.device("meta"):
                shapes = shapes_of(model.Generator(size, 512, 8, channel_multiplier=multiplier))
            full[f"{size}-{multiplier}"] = {"tensors": len(shapes), "sha256": digest(shapes)}
    text = json.dumps(full, indent=1) + "\n"
    (HERE / "stylegan2_shapes.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
