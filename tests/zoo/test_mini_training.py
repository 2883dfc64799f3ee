"""Training of the mini zoo: resumed runs, augmentation, losses, export, the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmark.errors import DataError
from benchmark.zoo.checkpoint_file import file_sha256
from benchmark.zoo.mini import train as command
from benchmark.zoo.mini.augment import Crops, crop_matrices, damage, random_crops, warp
from benchmark.zoo.mini.bank import ANY, PHOTO, Bank, Facts, matches
from benchmark.zoo.mini.clip import PLANS, ClipRecipe, contrastive
from benchmark.zoo.mini.dino import DinoRecipe
from benchmark.zoo.mini.dino_keys import DinoKeysRecipe
from benchmark.zoo.mini.export import export
from benchmark.zoo.mini.face import (
    FaceRecipe,
    held_out_identities,
    verification_auc,
)
from benchmark.zoo.mini.style_teacher import StyleTeacherRecipe
from benchmark.zoo.mini.trainer import Recipe, resume, train
from benchmark.zoo.mini.unet import UNetRecipe
from benchmark.zoo.mini.unet_heads import UNetHeadsRecipe
from benchmark.zoo.mini.vgg import VggRecipe
from benchmark.zoo.mini.worst_near import worst_near
from benchmark.zoo.word_table import TABLE

CPU = torch.device("cpu")
NAMES = (
    "unet-base",
    "unet",
    "clip-guide-base",
    "clip-guide-moved",
    "clip-guide-path",
    "style-teacher",
    "clip-guide",
    "clip-score",
    "sigmoid-guide",
    "vgg",
    "dino-base",
    "dino",
    "face",
)
# what is trained before
BEFORE = {name: (plan.start,) for name, plan in PLANS.items() if plan.start} | {
    "unet": ("unet-base",),
    "dino": ("dino-base",),
    "clip-guide": ("clip-guide-path", "style-teacher"),
}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "bank"


def recipe_of(name: str, corpus: Path, bank: Path, steps: int) -> Recipe:
    for before in BEFORE.get(name, ()):
        if not (bank.parent / before).is_dir():
            train(recipe_of(before, corpus, bank, 1), bank.parent / before, seed=1, device=CPU)
    recipe: Recipe
    if name == "unet-base":
        recipe = UNetRecipe(corpus, bank, steps=steps, copies=1)
    elif name == "unet":
        # the tiny corpus has a cat in the place of dogs
        np.save(bank / "dog-heads-train-68.npy", np.full((3, 68, 68, 3), 90, np.uint8))
        recipe = UNetHeadsRecipe(corpus, bank, steps=steps, copies=1)
    elif name == "style-teacher":
        recipe = StyleTeacherRecipe(corpus, bank, steps=steps, copies=1)
    elif name in PLANS:
        recipe = ClipRecipe(name, corpus, bank, steps=steps, copies=1)
    elif name == "vgg":
        recipe = VggRecipe(corpus, bank, steps=steps, copies=1)
    elif name == "dino-base":
        recipe = DinoRecipe(corpus, bank, steps=steps, copies=1)
    elif name == "dino":
        recipe = DinoKeysRecipe(corpus, bank, steps=steps, copies=1)
    else:
        recipe = FaceRecipe(corpus, bank, steps=steps, held_out=2, unnamed=8, mixtures=4)
    recipe.batch_size = 2 if name.startswith("unet") else 8
    return recipe


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_gives_the_weights_of_an_unbroken_one(
    name: str, tiny_corpus: Path, bank: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(name, tiny_corpus, bank, steps=3)
    whole = train(recipe, tmp_path / "whole", seed=5, device=CPU)
    first = train(recipe, tmp_path / "cut", seed=5, device=CPU, max_seconds=0.0)
    assert first.step == 1
    second = train(recipe, tmp_path / "cut", seed=5, device=CPU)
    assert (second.step, whole.step) == (3, 3)
    start = resume(recipe, tmp_path / "none", CPU).model.state_dict()
    moved = 0
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
        moved += not torch.equal(value, start[key])
    assert moved > 5
    for key, value in whole.ema.state_dict().items():
        assert torch.equal(value, second.ema.state_dict()[key]), key


@pytest.mark.parametrize("name", ["vgg", "face", "dino"])
def test_export_ships_rounded_averaged_weights_and_their_figures(
    name: str, tiny_corpus: Path, bank: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(name, tiny_corpus, bank, steps=2)
    state = train(recipe, tmp_path / "work", seed=0, device=CPU)
    before = {key: value.clone() for key, value in state.ema.state_dict().items()}
    for _ in range(2):  # the second one keeps the first one's figures
        card = export(
            recipe, state, tiny_corpus, command="train it", hardware="a test", folder=tmp_path
        )
    path = tmp_path / f"{name}.safetensors"
    stored = load_file(path)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == card
    assert card["sha256"] == file_sha256(path) and card["bytes"] == path.stat().st_size
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}
    if name == "vgg":
        assert card["parameters"] == sum(t.numel() for t in stored.values())
    assert card["training"]["steps"] == 2 and card["previous"]["figures"] == card["figures"]
    assert card["figures"] and all(math.isfinite(v) for v in card["figures"].values())
    assert card["data"]["domains"].keys() == set(recipe.domains)
    finished = recipe.finish(state.ema).state_dict()
    for key, value in stored.items():
        assert torch.allclose(value.float(), finished[key].float(), rtol=1e-3, atol=1e-4), key
    if name == "vgg":  # its export is a new model; the others share the averaged one
        assert all(torch.equal(before[k], v) for k, v in state.ema.state_dict().items())


def test_the_command_trains_exports_and_explains_what_is_wrong(
    tiny_corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = ["vgg", "--corpus", str(tiny_corpus), "--work-dir", str(tmp_path), "--steps", "1"]
    assert command.main([*base, "--weights-dir", str(tmp_path / "w"), "--export"]) == 0
    card = json.loads((tmp_path / "w" / "vgg.json").read_text())
    assert card["training"]["command"].endswith("train vgg --corpus DIR --work-dir DIR --steps 1 "
                                                "--device cpu --export")  # fmt: skip
    assert str(tmp_path) not in json.dumps(card)
    assert command.main([*base, "--threads", "0"]) == 2
    assert "--steps and --threads must be at least 1" in caplog.text
    elsewhere = ["vgg", "--corpus", str(tmp_path / "no"), "--work-dir", str(tmp_path)]
    assert command.main(elsewhere) == 1
    assert "has no faces-train.parquet" in caplog.text and "--corpus" in caplog.text
    fresh = [
        "dino-base",
        "--corpus",
        str(tiny_corpus),
        "--work-dir",
        str(tmp_path),
        "--export-only",
    ]
    assert command.main(fresh) == 1
    assert "no checkpoint of dino-base" in caplog.text


def test_identity_crop_keeps_an_image_and_a_flip_mirrors_it() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    eye = torch.eye(3).repeat(2, 1, 1)
    assert torch.allclose(warp(images, eye, 16), images, atol=1e-5)
    flip = eye.clone()
    flip[:, 0, 0] = -1
    assert torch.allclose(warp(images, flip, 16), images.flip(3), atol=1e-5)


def test_crops_have_the_asked_area_and_stay_inside() -> None:
    generator = torch.Generator().manual_seed(0)
    crops = Crops(min_area=0.01, max_area=0.3, whole=0.0, perspective=0.0)
    matrices = crop_matrices(500, crops, generator)
    width, height = matrices[:, 0, 0].abs(), matrices[:, 1, 1]
    assert (width * height).min() >= 0.0099 and (width * height).max() <= 0.301
    assert (matrices[:, 0, 2].abs() + width).max() <= 1.0 + 1e-6
    assert 0.3 < (matrices[:, 0, 0] < 0).float().mean() < 0.7


def test_damage_leaves_the_share_it_should_leave() -> None:
    images = torch.rand(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    out = damage(images, 0.5, 0.25, torch.Generator().manual_seed(1))
    untouched = (out == images).flatten(1).all(1).float().mean()
    assert 0.4 < untouched < 0.6


def test_augmentation_depends_on_its_generator_alone() -> None:
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    crops = Crops(grey=0.5, tint=0.2)

    def once(seed: int) -> Tensor:
        return random_crops(images, crops, torch.Generator().manual_seed(seed), 32)

    assert torch.equal(once(1), once(1)) and not torch.equal(once(1), once(2))
    assert once(1).shape == (4, 3, 32, 32)


def test_a_caption_matches_images_it_is_true_of() -> None:
    images = Facts(torch.tensor([3, 3, PHOTO]), torch.tensor([1, 0, 1]), torch.tensor([70, 71, 72]))
    captions = Facts(  # "golden", "golden dog", "a beagle", "a golden beagle", "a painting"
        torch.tensor([3, 3, PHOTO, 3, ANY]), torch.tensor([ANY, 1, 1, 1, 4]),
        torch.tensor([ANY, ANY, 72, 70, ANY]),
    )  # fmt: skip
    expected = [[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert matches(images, captions).int().tolist() == expected


def test_contrastive_loss_is_least_where_positives_share_the_mass() -> None:
    positive = torch.tensor([[True, True, False]])
    best = contrastive(torch.tensor([[9.0, 9.0, -9.0]]), positive)
    assert best.item() == pytest.approx(math.log(2), abs=1e-4)
    assert contrastive(torch.tensor([[9.0, 0.0, -9.0]]), positive) > best
    assert contrastive(torch.tensor([[0.0, 0.0, 9.0]]), positive) > best


def test_captions_say_only_what_is_true(tiny_corpus: Path, bank: Path) -> None:
    pictures = Bank(tiny_corpus, "train", bank, 1)
    rng = np.random.default_rng(0)
    for i in range(len(pictures.pixels)):
        style = int(pictures.facts.style[i])
        for _ in range(20):
            text, said = pictures.say(i, style, rng)
            facts = Facts(*(torch.tensor([value]) for value in said))
            assert matches(pictures.facts[torch.tensor([i])], facts).item(), (text, said)
            if pictures.pictures.labels[i] == "man":
                assert "woman" not in text


def test_verification_auc() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.1], [1, 0], [0, 1], [0.1, 1]]), dim=1
    )
    assert verification_auc(apart, labels) == 1.0
    generator = torch.Generator().manual_seed(0)
    noise = torch.nn.functional.normalize(torch.randn(300, 8, generator=generator), dim=1)
    assert verification_auc(noise, torch.arange(300) % 10) == pytest.approx(0.5, abs=0.02)


def test_held_out_identities_do_not_depend_on_order() -> None:
    names = [f"person {i}" for i in range(50)]
    assert held_out_identities(names, 7) == held_out_identities(names[::-1] * 2, 7)
    assert len(held_out_identities(names, 7)) == 7


def test_pictures_are_moved_to_where_the_loss_is_higher_than_at_random_places_as_near() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 8, 8, generator=generator) - 0.5
    target = torch.randn(3 * 8 * 8, generator=generator)

    def loss(x: Tensor) -> Tensor:
        return (x.flatten(1) @ target).tanh().sum()

    moved = worst_near(images, 0.5, loss, generator)
    assert not moved.requires_grad
    lengths = (moved - images).flatten(1).norm(dim=1)
    assert bool((lengths <= 0.5 + 1e-5).all()) and float(lengths.std()) > 0.05
    for _ in range(20):
        other = torch.randn(images.shape, generator=generator)
        other *= (lengths / other.flatten(1).norm(dim=1))[:, None, None, None]
        assert loss(moved) > loss(images + other)
    outside = worst_near(images.sign(), 4.0, loss, generator)
    assert float(outside.abs().max()) <= 1


def test_what_a_model_starts_from_is_named_if_it_is_not_there(
    tiny_corpus: Path, bank: Path, tmp_path: Path
) -> None:
    recipe = ClipRecipe("clip-guide-path", tiny_corpus, tmp_path / "bank", steps=1, copies=1)
    with pytest.raises(DataError, match=r"starts from clip-guide-moved.*train clip-guide-moved"):
        recipe.build()
    with pytest.raises(DataError, match=r"no .*style-teacher.ckpt.*train style-teacher"):
        ClipRecipe("clip-guide", tiny_corpus, tmp_path / "bank", steps=1, copies=1)
    before = recipe_of("clip-guide", tiny_corpus, bank, steps=1)
    checkpoint = bank.parent / "clip-guide-path" / "clip-guide-path.ckpt"
    start = torch.load(checkpoint, weights_only=True)["ema"]
    for key, value in before.build().state_dict().items():
        assert torch.equal(value, start[key]), key


def test_the_guide_that_ships_is_a_mean_of_its_last_stage_and_of_what_that_began_with(
    tiny_corpus: Path, bank: Path
) -> None:
    recipe = recipe_of("clip-guide", tiny_corpus, bank, steps=1)
    own = recipe.build()
    start = {name: value.clone() for name, value in own.state_dict().items()}
    with torch.no_grad():
        for parameter in own.parameters():
            parameter += 1.0
    shipped = recipe.finish(own).state_dict()
    learnt = {name for name, _ in own.named_parameters() if not name.endswith(TABLE)}
    share = PLANS["clip-guide"].of_start
    assert 0 < share < 1
    for name in learnt:
        torch.testing.assert_close(shipped[name], start[name] + 1 - share)
    other = recipe_of("clip-guide-path", tiny_corpus, bank, steps=1)
    alone = other.finish(own).state_dict()
    assert all(torch.equal(alone[name], own.state_dict()[name]) for name in learnt)
