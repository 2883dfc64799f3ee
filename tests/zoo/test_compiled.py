"""Compiled passes compute what the eager ones do, with the weights of the model they belong to."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchmark.diffusion.unet import UNet, UNetConfig
from benchmark.zoo.clip import ClipEncoder, build_clip, tokenizer_of
from benchmark.zoo.compiled import compile_networks
from benchmark.zoo.denoiser import Denoiser

CPU = torch.device("cpu")
# traces and differentiates as the real one, which spends minutes in the C++ compiler
BACKEND = "aot_eager"
BLOCKS = (1, 3)


@pytest.fixture(scope="module")
def denoisers() -> tuple[Denoiser, Denoiser]:
    """The same random U-Net, eager and to be compiled."""
    config = UNetConfig(
        image_size=16, model_channels=32, channel_mult=(1, 2), num_res_blocks=1,
        attention_resolutions=(8,), num_head_channels=16,
    )  # fmt: skip
    torch.manual_seed(0)
    eager = Denoiser(UNet(config).eval().requires_grad_(False))
    for weights in eager.parameters():
        if not weights.any():
            nn.init.normal_(weights, std=0.1)
    compiled = copy.deepcopy(eager)
    compile_networks([compiled], CPU, BACKEND)
    return eager, compiled


def passes(denoiser: Denoiser, x: Tensor) -> list[Tensor]:
    """The prediction, two layers of features, and the gradient of the deeper one."""
    x = x.clone().requires_grad_()
    features = denoiser.encode(x, torch.zeros(len(x)), BLOCKS)
    (gradient,) = torch.autograd.grad(features[-1].square().sum(), x)
    with torch.no_grad():
        return [denoiser(x, torch.full((len(x),), 250.0)), *features, gradient]


def test_the_denoiser_predicts_and_encodes_as_before(
    denoisers: tuple[Denoiser, Denoiser],
) -> None:
    eager, compiled = denoisers
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 3, 16, 16, generator=generator)
    kernels = torch._dynamo.utils.counters["frames"]["ok"]
    for ours, expected in zip(passes(compiled, x), passes(eager, x), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    assert torch._dynamo.utils.counters["frames"]["ok"] > kernels

    # fine-tuned copies (DiffusionCLIP's) must not answer with the weights they came from
    with torch.no_grad():
        for weights in (tuned := copy.deepcopy(compiled)).parameters():
            weights.mul_(1.1)
        plain = copy.deepcopy(eager)
        plain.load_state_dict(tuned.state_dict())
    for ours, expected in zip(passes(tuned, x), passes(plain, x), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_clip_sees_what_it_saw() -> None:
    clip = ClipEncoder(build_clip("clip-guide"), tokenizer_of("clip-guide"), "guide")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    expected = clip.encode_image(images)
    compile_networks([clip], CPU, BACKEND)
    torch.testing.assert_close(clip.encode_image(images), expected, atol=1e-4, rtol=1e-4)
