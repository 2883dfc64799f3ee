"""The VQGAN against taming-transformers' class, and its checkpoints in the official format.

Golden numbers: ``tests/golden/make_vqgan.py`` ran ``VQModel`` (CompVis/taming-transformers 3ba01b2)
with weights that are drawn here as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import ModelCheckpoint
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import ModelZoo
from benchmark.zoo.loading import load_state
from benchmark.zoo.mini.trainer import train
from benchmark.zoo.mini.vqgan import VqGanRecipe
from benchmark.zoo.registry import model_card
from benchmark.zoo.vqgan import VqGan, VqGanConfig
from tests.golden.official_format import picture, shapes_of
from tests.golden.vqgan_case import (
    ARCHITECTURE,
    CODES,
    EMBED_DIM,
    PUBLISHED,
    digest,
    images,
    vqgan_state,
)

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parents[1] / "golden"
TINY: dict[str, Any] = {**ARCHITECTURE, "n_embed": CODES, "embed_dim": EMBED_DIM}


def tiny_state() -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = shapes_of(VqGan(VqGanConfig.model_validate(TINY)))
    return vqgan_state(shapes)


@pytest.fixture(scope="module")
def vqgan() -> VqGan:
    return VqGan.from_state_dict(tiny_state(), TINY)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "vqgan.safetensors")


def test_encoding_codes_and_decoding_equal_the_official_ones(
    vqgan: VqGan, golden: dict[str, Tensor]
) -> None:
    z = vqgan.encode(images())
    torch.testing.assert_close(z, golden["z"], atol=1e-5, rtol=0)
    indices = vqgan.quantize.indices(z)
    assert torch.equal(indices.flatten(), golden["indices"])
    assert len(set(indices.flatten().tolist())) > CODES // 4
    torch.testing.assert_close(vqgan.quantize(z), golden["quantised"], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        vqgan.decode(golden["quantised"]), golden["decoded"], atol=1e-5, rtol=0
    )
    torch.testing.assert_close(vqgan(images()), golden["decoded"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_checkpoints_fit_by_name_and_shape(name: str) -> None:
    expected = json.loads((GOLDEN / "vqgan_shapes.json").read_text())[name]
    published = PUBLISHED[name]
    keys = {**published["ddconfig"], "n_embed": published["n_embed"], "embed_dim": 256}
    with torch.device("meta"):
        shapes = shapes_of(VqGan(VqGanConfig.model_validate(keys)))
    assert len(shapes) == expected["tensors"]
    assert digest(shapes) == expected["sha256"]


def test_the_registered_checkpoint_has_the_published_architecture() -> None:
    card = model_card("vqgan-imagenet-f16-16384")
    published = PUBLISHED["vqgan_imagenet_f16_16384"]
    expected = {**published["ddconfig"], "n_embed": published["n_embed"], "embed_dim": 256}
    assert VqGanConfig.model_validate(card.architecture) == VqGanConfig.model_validate(expected)
    assert VqGanConfig.model_validate(card.architecture).downsampling == 16


def lightning_checkpoint(state: dict[str, Tensor]) -> dict[str, Any]:
    """What the trainer of taming-transformers writes (pytorch-lightning 1.0.8)."""
    return {
        "epoch": 12,
        "global_step": 3456,
        "pytorch-lightning_version": "1.0.8",
        "callbacks": {
            ModelCheckpoint: {"best_model_score": torch.tensor(0.5), "dirpath": "logs/x"}
        },
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}}],
        "lr_schedulers": [],
        "state_dict": {**state, "loss.discriminator.main.0.weight": torch.zeros(4, 3, 4, 4)},
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_a_lightning_checkpoint_loads_without_its_losses(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(lightning_checkpoint(tiny_state()), path, _use_new_zipfile_serialization=not legacy)
    loaded = VqGan.from_state_dict(load_state(path), TINY).state_dict()
    assert loaded.keys() == tiny_state().keys()
    assert all(torch.equal(loaded[name], value) for name, value in tiny_state().items())


class _Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("this ran",)


def test_code_in_a_lightning_checkpoint_is_still_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({**lightning_checkpoint(tiny_state()), "hyper_parameters": _Evil()}, path)
    with pytest.raises(WeightsError, match=r"builtin\w*\.print"):
        load_state(path)
    assert "this ran" not in capsys.readouterr().out


def test_a_lightning_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(lightning_checkpoint({"classifier.weight": torch.zeros(3, 3)}), path)
    with pytest.raises(WeightsError, match="another kind of model"):
        VqGan.from_state_dict(load_state(path), TINY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embed": 64}, "quantize.embedding.weight"),
        ({"num_res_blocks": 2}, "missing"),
        ({"attn_resolutions": ()}, "unexpected"),
        ({"ch": 40}, "40 channels do not fall into 32 groups"),
        ({"double_z": True}, "architecture in its card is wrong: double_z"),
        ({"width": 3}, "architecture in its card is wrong: width"),
    ],
)
def test_what_does_not_fit_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        VqGan.from_state_dict(tiny_state(), {**TINY, **changes})


def test_a_card_without_architecture_is_explained() -> None:
    with pytest.raises(WeightsError, match="architecture in its card is wrong"):
        VqGan.from_state_dict(tiny_state(), None)


def test_every_latent_gets_its_nearest_code(vqgan: VqGan) -> None:
    z = 2 * picture("latents", 5, batch=4)[:, :1].expand(-1, EMBED_DIM, -1, -1)
    z = z + torch.linspace(-1, 1, EMBED_DIM).view(1, -1, 1, 1)
    codes = vqgan.quantize.embedding.weight
    flat = z.permute(0, 2, 3, 1).reshape(-1, EMBED_DIM)
    nearest = torch.cdist(flat.double(), codes.double()).argmin(1)
    assert torch.equal(vqgan.quantize.indices(z).flatten(), nearest)
    quantised = vqgan.quantize(z).permute(0, 2, 3, 1).reshape(-1, EMBED_DIM)
    assert torch.equal(quantised, codes[nearest])


def test_gradients_pass_the_quantisation_unchanged(vqgan: VqGan) -> None:
    z = torch.randn(1, EMBED_DIM, 3, 3, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    pull = torch.arange(9.0 * EMBED_DIM).view_as(z)
    (vqgan.quantize(z) * pull).sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert torch.equal(z.grad, pull)


def test_what_is_no_number_stays_so(vqgan: VqGan) -> None:
    z = torch.zeros(2, EMBED_DIM, 2, 2)
    z[0, 1, 0, 1] = float("nan")
    out = vqgan.quantize(z)
    assert out[0].isnan().sum() == 1
    assert out[1].isfinite().all()


@pytest.mark.parametrize("size", [(15, 16), (16, 13)])
def test_sides_that_do_not_fit_are_explained(vqgan: VqGan, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of 2"):
        vqgan.encode(torch.zeros(1, 3, *size))


def test_the_mini_model_loads_frozen_and_reconstructs_photographs(photos: dict[str, Any]) -> None:
    state = torch.get_rng_state()
    zoo = ModelZoo({"vqgan": "mini-vqgan"})
    model = zoo.vqgan()
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.downsampling == 4
    pixels = torch.stack([torch.tensor(photo) for photo in photos.values()])
    images = F.avg_pool2d(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, 2)
    made = model(images).clamp(-1, 1)
    errors = (made - images).square().mean((1, 2, 3))
    # the card says 21.8 dB; a picture's mean colour alone gives these 14.6
    assert 10 * torch.log10(4 / errors).mean() > 19
    assert len(set(model.quantize.indices(model.encode(images)).flatten().tolist())) > 300


def test_a_file_of_another_resolution_is_refused(tmp_path: Path) -> None:
    card = model_card("mini-vqgan")
    path = tmp_path / card.file
    save_file(tiny_state(), path)
    with pytest.raises(WeightsError, match="does not fit the VQGAN architecture in its card"):
        VqGan.from_state_dict(load_state(path), card.architecture)


@pytest.fixture(scope="module")
def recipe(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> VqGanRecipe:
    return VqGanRecipe(tiny_corpus, tmp_path_factory.mktemp("bank"), steps=3, copies=1)


def test_a_resumed_training_gives_the_weights_of_an_unbroken_one(
    recipe: VqGanRecipe, tmp_path: Path
) -> None:
    """Three steps: one without codes, one that places them, one that moves them."""
    recipe.continuous_until = 1
    whole = train(recipe, tmp_path / "whole", seed=5, device=CPU).model.state_dict()
    for _ in range(3):
        state = train(recipe, tmp_path / "cut", seed=5, device=CPU, max_seconds=0.0)
    assert state.step == 3
    start = recipe.build().state_dict()
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, whole[name]), name
    moved = {name for name, value in whole.items() if not torch.equal(value, start[name])}
    parts = ("vqgan.encoder", "vqgan.decoder", "vqgan.quantize", "counts", "sums")
    assert all(any(name.startswith(part) for name in moved) for part in parts)
    figures = recipe.evaluate(recipe.finish(state.ema), state.ema)
    assert figures.keys() == {
        f"{figure}_{pictures}"
        for figure in ("psnr", "lpips_vgg") for pictures in ("photos", "paintings", "stylised")
    } | {"codes_used"}  # fmt: skip
    assert all(value == value for value in figures.values())


def test_codes_move_to_the_mean_of_their_latents_and_dead_ones_to_a_latent(
    recipe: VqGanRecipe,
) -> None:
    model = recipe.build()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(8, 16, 16, 16, generator=generator)
    model.place_codes(z, generator)
    codes = model.vqgan.quantize.embedding.weight
    latents = z.movedim(1, -1).flatten(0, -2)
    assert torch.cdist(codes, latents).amin(1).max() < 0.02
    shifted = z + 1  # code 0 gets all of them from here on
    indices = torch.zeros(8, 16, 16, dtype=torch.int64)
    for _ in range(900):
        used = model.move_codes(shifted, indices, generator)
    mean = shifted.movedim(1, -1).flatten(0, -2).mean(0)
    torch.testing.assert_close(codes[0], mean, atol=2e-3, rtol=0)
    assert torch.cdist(codes[1:], latents + 1).amin(1).max() < 0.02
    assert 0 < used <= 1
