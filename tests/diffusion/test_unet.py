"""The U-Net against the official one (openai/guided-diffusion 22e0df8, as in YSerin/ZeCon 51e679e).

Golden outputs and listings were made by ``tests/golden/make_unet.py``: the official class, weights
drawn from parameter names, float32 on a CPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmark.diffusion.schedule import Schedule
from benchmark.diffusion.unet import NoiseOfVelocity, UNet, UNetConfig
from tests.golden.official_format import (
    EDITOR_UNET,
    UNET_LABELS,
    UNET_TIMESTEPS,
    UNETS,
    filled_state,
    picture,
    shapes_of,
)

GOLDEN = Path(__file__).parents[1] / "golden"
SHAPES: dict[str, dict[str, list[int]]] = json.loads(
    (GOLDEN / "unet_shapes.json").read_text(encoding="utf-8")
)
ADM_256 = UNetConfig(
    image_size=256, model_channels=256, channel_mult=(1, 1, 2, 2, 4, 4), num_res_blocks=2,
    attention_resolutions=(32, 16, 8), num_head_channels=64,
)  # fmt: skip
ILVR_256 = ADM_256.model_copy(
    update={"model_channels": 128, "num_res_blocks": 1, "attention_resolutions": (16,)}
)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "unet.safetensors")


def official_checkpoint(name: str, folder: Path) -> Path:
    """A .pt file as the official code saves it: its own names and shapes, random weights."""
    path = folder / f"{name}.pt"
    torch.save(filled_state(SHAPES[name], name), path)
    return path


def loaded(name: str, config: dict[str, Any], folder: Path) -> UNet:
    model = UNet(UNetConfig(**config)).eval().requires_grad_(False)
    state = torch.load(official_checkpoint(name, folder), weights_only=True)
    model.load_state_dict(state, strict=True)
    return model


@pytest.mark.parametrize("name", list(UNETS))
@pytest.mark.parametrize("channels_last", [False, True])
def test_output_equals_the_official_one(
    name: str, channels_last: bool, golden: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model = loaded(name, UNETS[name], tmp_path)
    x = picture(name, 32, 2)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.tensor(UNET_LABELS) if "num_classes" in UNETS[name] else None
    out = model(x, torch.tensor(UNET_TIMESTEPS), labels)
    assert out.abs().mean() > 0.05  # zero-initialised layers were filled
    torch.testing.assert_close(out, golden[name], atol=1e-5, rtol=1e-5)


def test_encoder_features_equal_the_official_ones(
    golden: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model = loaded("editor", EDITOR_UNET, tmp_path)
    blocks = [0, 2, 5, 8, 11]
    features = model.encode(picture("editor", 32, 1), torch.zeros(1), blocks)
    for block, feature in zip(blocks, features, strict=True):
        torch.testing.assert_close(feature, golden[f"editor.block{block}"], atol=1e-5, rtol=1e-5)


def test_encoder_pass_stops_at_the_deepest_block(tmp_path: Path) -> None:
    model = loaded("editor", EDITOR_UNET, tmp_path)
    ran: list[int] = []
    for index, block in enumerate(model.input_blocks):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    model.middle_block.register_forward_hook(lambda *_: ran.append(-1))
    model.encode(picture("editor", 32, 1), torch.zeros(1), [0, 5])
    assert ran == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("listing", "config"), [("adm-256", ADM_256), ("ilvr-256", ILVR_256)]
)  # fmt: skip
def test_full_size_state_dict_equals_the_official_one(listing: str, config: UNetConfig) -> None:
    """ImageNet and LSUN checkpoints have the first architecture, FFHQ and AFHQ-dog the second."""
    with torch.device("meta"):
        model = UNet(config)
    assert shapes_of(model) == SHAPES[listing]


def test_wrong_architecture_is_refused(tmp_path: Path) -> None:
    state = torch.load(official_checkpoint("ffhq", tmp_path), weights_only=True)
    with pytest.raises(RuntimeError, match="output_blocks"):
        UNet(UNetConfig(**UNETS["no_updown"])).load_state_dict(state, strict=True)


def test_bf16_autocast_stays_near_float32(tmp_path: Path) -> None:
    model = loaded("ffhq", UNETS["ffhq"], tmp_path)
    x, t = picture("ffhq", 32, 2), torch.tensor(UNET_TIMESTEPS)
    exact = model(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x, t)
    assert rough.dtype == x.dtype
    assert (rough - exact).abs().mean() < 0.02 * exact.abs().mean()


@pytest.mark.parametrize("blocks", [[], [2, 1], [1, 1], [-1], [99]])
def test_bad_encoder_blocks_are_named(blocks: list[int], tmp_path: Path) -> None:
    model = loaded("ffhq", UNETS["ffhq"], tmp_path)
    with pytest.raises(ValueError, match="encoder blocks must be increasing indices below 6"):
        model.encode(picture("x", 32), torch.zeros(1), blocks)


def test_labels_are_needed_exactly_where_there_are_classes(tmp_path: Path) -> None:
    x, t = picture("x", 32, 2), torch.zeros(2)
    with pytest.raises(ValueError, match="needs class labels"):
        loaded("class_conditional", UNETS["class_conditional"], tmp_path)(x, t)
    with pytest.raises(ValueError, match="does not take class labels"):
        loaded("ffhq", UNETS["ffhq"], tmp_path)(x, t, torch.tensor([0, 1]))


@pytest.mark.parametrize(("groups", "sees_colour"), [(32, False), (8, True)])
def test_fewer_groups_than_channels_let_a_pictures_mean_colour_through(
    groups: int, sees_colour: bool
) -> None:
    """Why the mini model has 8 groups: with as many as channels each loses its own mean."""
    config = UNetConfig(
        image_size=16, model_channels=32, channel_mult=(1, 2), num_res_blocks=1,
        attention_resolutions=(), norm_groups=groups,
    )  # fmt: skip
    model = UNet(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    seen: list[torch.Tensor] = []
    model.out[0].register_forward_hook(lambda _m, _i, output: seen.append(output.mean((0, 2, 3))))
    picture_ = torch.randn(1, 3, 16, 16, generator=generator)
    with torch.no_grad():
        for shift in (0.0, 1.0):
            model(picture_ + shift, torch.tensor([500]))
    assert bool((seen[0] - seen[1]).abs().max() > 0.01) == sees_colour


def test_the_noise_of_a_velocity() -> None:
    """At every noise level, and between two of them; the variance's channels stay."""
    noise_of, generator = NoiseOfVelocity(), torch.Generator().manual_seed(0)
    x0, eps, rest = torch.randn(3, 4, 3, 8, 8, generator=generator)
    t = torch.tensor([0, 400, 750, 999])
    abar = torch.from_numpy(Schedule.linear().alphas_cumprod)[t][:, None, None, None]
    xt = (abar.sqrt() * x0 + (1 - abar).sqrt() * eps).float()
    velocity = (abar.sqrt() * eps - (1 - abar).sqrt() * x0).float()
    out = noise_of(torch.cat([velocity, rest], 1), xt, t)
    torch.testing.assert_close(out, torch.cat([eps, rest], 1), atol=1e-5, rtol=0)
    ends = noise_of(velocity, xt, t.float())
    assert torch.equal(ends, out[:, :3])
    halves = [noise_of(velocity[1:2], xt[1:2], torch.tensor([s])) for s in (400, 400.5, 401)]
    assert (halves[0] != halves[1]).any() and (halves[1] != halves[2]).any()
    torch.testing.assert_close(halves[1], (halves[0] + halves[2]) / 2, atol=1e-5, rtol=0)


def test_a_network_of_velocities_returns_noise_and_keeps_the_official_names() -> None:
    config = UNetConfig(
        image_size=16, model_channels=32, channel_mult=(1, 2), num_res_blocks=1,
        attention_resolutions=(), predicts="velocity",
    )  # fmt: skip
    model = UNet(config).eval()  # its last layer begins with zeros
    plain = UNet(config.model_copy(update={"predicts": "noise"}))
    assert model.state_dict().keys() == plain.state_dict().keys()
    x, t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), [999, 0]
    with torch.no_grad():
        noise, _ = model(x, torch.tensor(t)).chunk(2, dim=1)
    expected = (
        x * (1 - torch.from_numpy(Schedule.linear().alphas_cumprod)[t]).sqrt()[:, None, None, None]
    )
    torch.testing.assert_close(noise, expected.float())
