"""Our sampler on tiny networks with fixed random weights."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.guidance.losses import spherical_distance
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.ours import QSAttnStyleTransfer
from benchmark.ours_config import QSAttnConfig
from tests.golden.official_format import picture
from tests.golden.zecon_case import prompt_embedding
from tests.tiny_zoo import TinyZoo

# the tiny encoders answer to pixels far more violently than trained ones
SMALL: dict[str, Any] = {
    "respacing": 10, "t0": 3, "n_patches": 3, "anchors": 20, "window": 3,
    "clip_global_patch": 20.0, "clip_dir_patch": 40.0, "contrastive": 1.0, "mse": 200.0, "vgg": 5.0,
    "range": 0.1,
}  # fmt: skip
NO_LOSS = dict.fromkeys(
    ("clip_global_patch", "clip_dir_patch", "contrastive", "mse", "vgg", "range"), 0.0
)


@pytest.fixture(scope="module")
def zoo() -> TinyZoo:
    return TinyZoo(calm=0.1)


def method_of(zoo: TinyZoo, **changes: Any) -> QSAttnStyleTransfer:
    method = QSAttnStyleTransfer(QSAttnConfig(**{**SMALL, **changes}))
    method.prepare(zoo)  # type: ignore[arg-type]
    return method


def batch_of(*samples: tuple[str, str]) -> StyleBatch:
    """Samples (image id, prompt)."""
    requests = tuple(StyleRequest(f"{i}__{p}", i, "dogs", p, p) for i, p in samples)
    return StyleBatch(torch.cat([picture(f"ours/{i}", 32) for i, _ in samples]), requests)


def stylize(method: QSAttnStyleTransfer, batch: StyleBatch, seed: int = 0) -> Tensor:
    return method.stylize(batch, NoiseSource(seed, batch.sample_ids))


FOUR = batch_of(("a", "gold"), ("a", "brick"), ("b", "gold"), ("c", "clay"))


@pytest.mark.parametrize(
    ("forward", "reverse", "gradient", "variance"),
    itertools.product(("ddim", "ddpm"), ("ddpm", "ddim"), ("x0", "xt"), ("posterior", "learned")),
)
def test_every_process_is_deterministic_and_keeps_samples_apart(
    zoo: TinyZoo, forward: str, reverse: str, gradient: str, variance: str
) -> None:
    method = method_of(
        zoo, forward_process=forward, reverse_process=reverse, gradient=gradient, variance=variance
    )
    out = stylize(method, FOUR)
    assert out.shape == FOUR.images.shape and out.dtype == torch.float32
    assert out.isfinite().all() and not out.requires_grad
    assert torch.equal(out, stylize(method, FOUR))
    one = StyleBatch(FOUR.images[1:2], FOUR.requests[1:2])
    torch.testing.assert_close(stylize(method, one), out[1:2], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "global"}, {"attention": "local"}, {"attention": "none"},
        {"window_layout": "upstream"}, {"attention_from": 0}, {"start": "renoised"},
        {"inversion": "upstream"}, {"clip_crops": "separate"}, {"augment": False},
        {"variance": "learned"}, {"reverse_process": "ddim", "eta": 1.0}, {"temperature": 0.5},
        {"clip_global": 5.0}, {"clip_dir": 5.0}, {"mse": 0.0}, {"vgg": 0.0}, {"contrastive": 0.0},
        {"clip_global_patch": 0.0}, {"clip_dir_patch": 0.0}, {"guidance_scale": 0.5},
        {"loss_gradients": "unit"},
        {"vgg_layers": ("conv1_2",)}, {"encoder_blocks": (2, 8)}, {"n_patches": 5},
        {"patch_max": 0.9}, {"t0": 4}, {"respacing": 11}, {"mse_tone": 0.0}, {"crop_noise": 0.4},
    ],
    ids=lambda changes: ",".join(f"{k}={v}" for k, v in changes.items()),
)  # fmt: skip
def test_every_knob_changes_the_picture(zoo: TinyZoo, changes: dict[str, Any]) -> None:
    batch = batch_of(("a", "gold"))
    usual = stylize(method_of(zoo, attention_from=1), batch)
    changed = stylize(method_of(zoo, **{"attention_from": 1, **changes}), batch)
    assert changed.isfinite().all()
    assert (usual - changed).abs().max() > 1e-4


def test_seed_prompt_and_image_change_the_picture(zoo: TinyZoo) -> None:
    method = method_of(zoo)
    out = stylize(method, FOUR)
    assert (out - stylize(method, FOUR, seed=1)).abs().amax((1, 2, 3)).min() > 1e-2
    assert (out[0] - out[1]).abs().max() > 1e-2


class Passes:
    """Counts what runs: forward and backward passes, and the size of forward batches."""

    def __init__(self, zoo: TinyZoo) -> None:
        unet, clip, vgg = zoo.denoiser().unet, zoo.clip("guide"), zoo.vgg()
        self.sizes: dict[str, list[int]] = {}
        self.backward: dict[str, int] = {}
        # the last layer runs in full passes only, the first one in encoder passes as well
        self._watch("denoiser", unet.out[2])
        self._watch("input block", unet.input_blocks[0][0])
        self._watch("clip", clip.encoder.layers[0])
        self._watch("vgg", vgg.features[0])

    def _watch(self, name: str, module: nn.Module) -> None:
        self.sizes[name], self.backward[name] = [], 0

        def forward(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.sizes[name].append(len(output))
            if output.requires_grad:
                output.register_hook(backward)

        def backward(_gradient: Tensor) -> None:
            self.backward[name] += 1

        module.register_forward_hook(forward)


def test_one_pass_of_each_network_a_step_and_none_back_through_the_denoiser() -> None:
    zoo = TinyZoo(calm=0.1)
    method = method_of(zoo, t0=3)
    passes = Passes(zoo)
    stylize(method, FOUR)  # four samples of three images
    assert passes.sizes["denoiser"] == [3, 3] + 3 * [4]  # inversion of distinct images, then steps
    encoder = len(passes.sizes["input block"]) - len(passes.sizes["denoiser"])
    assert encoder == 1 + 3
    assert passes.sizes["clip"] == [3] + 3 * [4 * 3]  # sources once, then N crops a sample
    assert passes.sizes["vgg"] == [3] + 3 * [4]
    assert passes.backward == {"denoiser": 0, "input block": 3, "clip": 3, "vgg": 3}


def test_prompts_of_an_image_share_its_inversion_in_batches_of_one() -> None:
    zoo = TinyZoo(calm=0.1)
    method = method_of(zoo, t0=3)
    passes = Passes(zoo)
    alone = [stylize(method_of(zoo, t0=3), FOUR.sample(index)) for index in range(3)]
    passes.sizes["denoiser"].clear()
    shared = [stylize(method, FOUR.sample(index)) for index in range(3)]  # images a, a, b
    assert passes.sizes["denoiser"] == [1] * (5 + 3 + 5)
    assert all(torch.equal(x, y) for x, y in zip(alone, shared, strict=True))


def test_gradient_xt_goes_through_the_denoiser() -> None:
    zoo = TinyZoo(calm=0.1)
    method = method_of(zoo, t0=3, gradient="xt")
    passes = Passes(zoo)
    stylize(method, FOUR)
    assert passes.backward["denoiser"] == 3
    assert len(passes.sizes["denoiser"]) == 2 + 3


def test_losses_without_weight_cost_nothing() -> None:
    zoo = TinyZoo(calm=0.1)
    method = method_of(zoo, t0=3, **NO_LOSS)
    passes = Passes(zoo)
    stylize(method, FOUR)
    assert passes.sizes["vgg"] == []
    assert len(passes.sizes["input block"]) == len(passes.sizes["denoiser"])
    assert passes.sizes["clip"] == [3]


def test_guidance_leads_towards_the_prompt_and_content_losses_hold_the_source(zoo: TinyZoo) -> None:
    batch = batch_of(("a", "gold"), ("b", "brick"))
    target = torch.cat([prompt_embedding("gold"), prompt_embedding("brick")])

    def distances(**weights: float) -> tuple[Tensor, Tensor]:
        method = method_of(zoo, **{**NO_LOSS, "t0": 5, **weights})
        out = stylize(method, batch)
        clip = zoo.clip("guide")
        style = spherical_distance(clip.encode_image(clip.resize(out)), target)
        return style, (out - batch.images).square().mean((1, 2, 3))

    free_style, free_content = distances()
    styled, _ = distances(clip_global=200.0)
    assert (styled < free_style - 0.02).all()
    _, held = distances(mse=4000.0)
    assert (held < 0.5 * free_content).all()


def test_no_guidance_and_ddim_reconstructs_the_source() -> None:
    zoo = TinyZoo(calm=0.02)
    batch = batch_of(("a", "gold"))
    errors = {}
    for inversion in ("aligned", "upstream"):
        method = method_of(
            zoo, reverse_process="ddim", respacing=50, t0=25, inversion=inversion, **NO_LOSS
        )
        errors[inversion] = (stylize(method, batch) - batch.images).square().mean().item()
    assert errors["aligned"] < 1e-3
    assert (
        errors["aligned"] < errors["upstream"]
    )  # whose latent is one level noisier than the start


def test_domain_chooses_the_class() -> None:
    zoo = TinyZoo(classes=("dogs", "faces", "unconditional"), calm=0.1)
    method = method_of(zoo)
    dogs = batch_of(("a", "gold"))
    outs = []
    for domain in ("dogs", "faces", "horses", "unconditional"):
        request = StyleRequest("a__gold", "a", domain, "gold", "gold")
        outs.append(stylize(method, StyleBatch(dogs.images, (request,))))
    assert (outs[0] - outs[1]).abs().max() > 1e-3
    assert torch.equal(outs[2], outs[3])  # an unknown domain falls back to the class for it


def test_nan_in_one_sample_stays_there(zoo: TinyZoo) -> None:
    images = FOUR.images.clone()
    images[3, 1, 5, 5] = float("nan")
    broken = stylize(method_of(zoo), StyleBatch(images, FOUR.requests))
    assert not broken[3].isfinite().all()
    torch.testing.assert_close(broken[:3], stylize(method_of(zoo), FOUR)[:3], atol=1e-3, rtol=1e-3)


def test_inputs_and_global_random_state_are_left_alone(zoo: TinyZoo) -> None:
    before, state = FOUR.images.clone(), torch.get_rng_state()
    stylize(method_of(zoo), FOUR)
    assert torch.equal(FOUR.images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_bfloat16_stays_near_float32(zoo: TinyZoo) -> None:
    method = method_of(zoo)
    exact = stylize(method, FOUR)
    with torch.autocast("cpu", torch.bfloat16):
        rough = stylize(method, FOUR)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.05


def test_each_loss_is_logged_at_debug_level(zoo: TinyZoo, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="benchmark.guidance"):
        stylize(method_of(zoo, t0=2), FOUR)
    assert [record.message.split(":")[0] for record in caplog.records] == ["step 1", "step 0"]
    for name in ("clip_global_patch", "clip_dir_patch", "contrastive", "mse", "vgg", "range"):
        assert f" {name} " in caplog.records[0].message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"t0": 51}, "t0 \\(51\\) cannot exceed respacing \\(50\\)"),
        ({"window": 4}, "window must be odd, got 4"),
        ({"patch_min": 0.5}, "patch_min \\(0.5\\) cannot exceed patch_max \\(0.3\\)"),
        ({"start": "renoised", "forward_process": "ddpm"}, "start=renoised needs"),
        ({"encoder_blocks": (5, 2)}, "encoder_blocks must be increasing, got \\[5, 2\\]"),
        ({"gradient": "x1"}, "'x0' or 'xt'"),
        ({"patches": 4}, "Extra inputs are not permitted"),
    ],
)
def test_bad_config_is_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QSAttnConfig(**values)


def test_every_knob_is_documented() -> None:
    for name, field in QSAttnConfig.model_fields.items():
        assert field.description and len(field.description) > 10, name
