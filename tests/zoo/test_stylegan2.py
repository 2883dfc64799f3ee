"""StyleGAN2 against rosinality/stylegan2-pytorch (bef283a), its files, and the mini training.

Golden numbers: ``tests/golden/make_stylegan2.py`` ran the official generator with weights that are
drawn from names (``tests/golden/stylegan2_case.py``).
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import ModelZoo
from benchmark.zoo.loading import load_state
from benchmark.zoo.mini import stylegan2 as command
from benchmark.zoo.mini import stylegan2_training as training
from benchmark.zoo.mini.bank import CONTENT, CONTENT_PROMPTS
from benchmark.zoo.mini.stylegan2_figures import samples
from benchmark.zoo.mini.stylegan2_parts import augment, sliced_wasserstein
from benchmark.zoo.mini.stylegan2_recipes import DogsRecipe, FacesRecipe
from benchmark.zoo.stylegan2 import StyleGan2, StyleGan2Config
from benchmark.zoo.stylegan2_encoder import EncoderConfig
from tests.golden.official_format import named_normal, picture, shapes_of
from tests.golden.stylegan2_case import (
    ARCHITECTURE,
    FULL_SIZES,
    generator_state,
    mean_latent,
    noise,
    w_plus,
    z,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def official_state(architecture: dict[str, Any]) -> dict[str, Tensor]:
    """What an official file of this architecture holds under ``g_ema``."""
    model = StyleGan2(StyleGan2Config(**architecture))
    state = {name: value for name, value in model.state_dict().items() if name != "latent_avg"}
    return state | generator_state({name: list(value.shape) for name, value in state.items()})


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        return official_state(ARCHITECTURE)


@pytest.fixture(scope="module")
def generator(state: dict[str, Tensor]) -> StyleGan2:
    return StyleGan2.from_state_dict({**state, "latent_avg": mean_latent()}, ARCHITECTURE)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "stylegan2.safetensors")


def test_pictures_equal_the_official_ones(generator: StyleGan2, golden: dict[str, Tensor]) -> None:
    """Mapping, truncation, constant and given noise, w and W+; pictures spread by 1.5."""
    w = generator.map(z())
    truncated = generator.truncate(w, 0.7)
    found = {
        "mapped": w,
        "constant_noise": generator(w),
        "w_plus": generator(w_plus(), noise()),
        "truncated": generator(truncated),
        "truncated_latent": generator.broadcast(truncated),
    }
    for name, value in found.items():
        assert torch.allclose(value, golden[name], atol=1e-5, rtol=1e-5), name


@pytest.mark.parametrize("size", FULL_SIZES)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_names_and_shapes_equal_the_official_ones(size: int, multiplier: int) -> None:
    """config-e and config-f at the sizes of the published files; built without memory."""
    with torch.device("meta"):
        model = StyleGan2(StyleGan2Config(size=size, channel_multiplier=multiplier))
    shapes = {name: shape for name, shape in shapes_of(model).items() if name != "latent_avg"}
    wanted = json.loads((GOLDEN / "stylegan2_shapes.json").read_text())[f"{size}-{multiplier}"]
    digest = hashlib.sha256(json.dumps(sorted(shapes.items())).encode()).hexdigest()
    assert (len(shapes), digest) == (wanted["tensors"], wanted["sha256"])


def test_files_of_the_official_converter_load(
    tmp_path: Path, state: dict[str, Tensor], generator: StyleGan2
) -> None:
    """Those of ``convert_weight.py``, and of ``train.py`` with the state of the training."""
    path = tmp_path / "stylegan2.pt"
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    others = {"d": {"w": torch.ones(1)}, "g_optim": optimizer.state_dict(), "ada_aug_p": 0.3}
    torch.save({"g_ema": state, "latent_avg": mean_latent()[0], **others}, path)
    loaded = StyleGan2.from_state_dict(load_state(path), ARCHITECTURE)
    assert not loaded.training
    assert torch.equal(loaded.latent_avg, mean_latent()[0])
    assert torch.equal(loaded(w_plus()), generator(w_plus()))


def test_a_missing_mean_latent_is_the_mean_of_mapped_ones(state: dict[str, Tensor]) -> None:
    before = torch.random.get_rng_state()
    model = StyleGan2.from_state_dict(state, ARCHITECTURE)
    assert torch.equal(torch.random.get_rng_state(), before)
    draws = torch.Generator().manual_seed(5)
    w = model.map(torch.randn(4000, 24, generator=draws))
    # two independent means of 4,000 draws
    allowed = 5 * math.sqrt(2 / 4000) * w.std(0)
    assert ((w.mean(0) - model.latent_avg).abs() < allowed).all()
    assert torch.equal(model.truncate(w, 0.0), model.latent_avg.expand_as(w))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 48}, "48 is not a power of two"),
        ({"channels": (8, 8)}, r"16 pixels have 3 levels \(4, 8, ... 16\)"),
        ({"depth": 3}, "depth"),
        ({"size": 32}, "fewer layers|another depth"),
        ({"style_dim": 32}, "of another shape"),
    ],
)
def test_wrong_architectures_say_what_is_wrong(
    change: dict[str, Any], message: str, state: dict[str, Tensor]
) -> None:
    with pytest.raises(WeightsError, match=message):
        StyleGan2.from_state_dict(state, ARCHITECTURE | change)


def test_latents_of_another_shape_and_a_missing_encoder_are_refused(
    generator: StyleGan2,
) -> None:
    with pytest.raises(UsageError, match=r"takes \[N, 24\] or \[N, 6, 24\]"):
        generator(torch.zeros(1, 5, 24))
    with pytest.raises(UsageError, match="has no encoder"):
        generator.encode(torch.zeros(1, 3, 16, 16))


def test_the_encoder_points_to_rows_around_the_mean_latent() -> None:
    config = StyleGan2Config(
        size=16, style_dim=8, n_mlp=1, channels=(8, 8, 8), encoder=EncoderConfig(channels=(4, 8, 8))
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = StyleGan2(config)
    model.latent_avg.fill_(3.0)
    images = picture("encoder", 16, batch=2)
    shared, offsets = model.encoder.parts(images)  # type: ignore[union-attr]
    rows = model.encode(images)
    assert rows.shape == (2, 6, 8)
    assert torch.allclose(rows, 3.0 + shared[:, None] + offsets, atol=1e-6)


def test_sliced_wasserstein_of_a_shift_is_its_mean_square() -> None:
    """Every projection is shifted by the shift's projection: the mean square is |v|^2 / D."""
    draws = torch.Generator().manual_seed(0)
    a = named_normal("sliced", (64, 12))
    shift = 0.3 * named_normal("shift", (1, 12))
    found = sliced_wasserstein(a + shift, a, draws, slices=20_000)
    assert float(found) == pytest.approx(float(shift.square().sum()) / 12, rel=0.05)
    assert float(sliced_wasserstein(a.flip(0), a, draws)) < 1e-12


def test_augmentation_moves_and_recolours_and_lets_gradients_through() -> None:
    images = picture("augment", 64, batch=8).requires_grad_()
    first = augment(images, torch.Generator().manual_seed(3))
    assert torch.equal(first, augment(images, torch.Generator().manual_seed(3)))
    # a shift by an eighth of the side leaves at most two borders of 8 empty pixels
    empty = (first == 0).all(1).float().mean((1, 2))
    assert 0 < empty.max() <= 1 - (56 / 64) ** 2
    assert not torch.allclose(first.mean((2, 3)), images.mean((2, 3)), atol=0.02)
    (gradient,) = torch.autograd.grad(first.sum(), images)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_training_learns_resumes_exactly_and_exports_what_it_learned(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint on the way, and the shift of the mean latent on export."""
    monkeypatch.setattr(FacesRecipe, "batch_size", 4)
    monkeypatch.setattr(training, "QUEUE", 16)
    monkeypatch.setattr(training, "NEW", 4)
    recipe = FacesRecipe(tiny_corpus, tmp_path)
    recipe.config = StyleGan2Config(
        size=64, style_dim=16, n_mlp=2, channels=(16, 16, 8, 8, 8),
        encoder=EncoderConfig(channels=(8, 8, 8, 8, 16)),
    )  # fmt: skip
    cpu = torch.device("cpu")
    whole = training.Training(recipe, 30, cpu)
    first = whole.advance()
    whole.advance()
    whole.save(tmp_path / "half.ckpt")
    resumed = training.Training(recipe, 30, cpu)
    resumed.restore(tmp_path / "half.ckpt")
    for _ in range(2):
        again, once = resumed.advance(), whole.advance()
        assert again == once and all(math.isfinite(value) for value in once.values())
    for part in ("model", "ema", "critic"):
        states = getattr(whole, part).state_dict(), getattr(resumed, part).state_dict()
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), (part, name)
    for _ in range(20):
        last = whole.advance()
    assert last["pixels"] < 0.8 * first["pixels"]
    assert last["real"] > 0 > last["fake_new"]  # the critic tells them apart
    shipped = recipe.finish(whole.ema)
    assert isinstance(shipped, StyleGan2) and shipped.latent_avg.abs().sum() > 0
    photos = recipe.photos(torch.Generator().manual_seed(0))
    assert torch.allclose(shipped.encode(photos), whole.ema.encode(photos), atol=1e-5)
    assert recipe.architecture()["encoder"]["channels"] == [8, 8, 8, 8, 16]


def test_dogs_begin_as_the_shipped_faces_with_an_encoder_of_their_own(tmp_path: Path) -> None:
    large = np.zeros((5, 68, 68, 3), np.uint8)
    large[:, :2], large[:, -2:] = 255, 255  # the margin, of which windows see a part
    np.save(tmp_path / "dog-heads-train-68.npy", large)
    np.save(tmp_path / "dog-heads-test-64.npy", large[:, 2:66, 2:66])
    recipe = DogsRecipe(tmp_path / "no corpus is read", tmp_path)
    assert recipe.pixels.shape == (5, 64, 64, 3) and recipe.pixels.max() == 0
    photos = torch.cat([recipe.photos(torch.Generator().manual_seed(i)) for i in range(4)])
    assert photos.shape == (48, 3, 64, 64) and photos.min() == -1 and photos.max() == 1
    faces = ModelZoo({"generator": "mini-stylegan2"}).generator().state_dict()
    dogs = recipe.build().state_dict()
    assert not dogs["latent_avg"].any()  # training centres the latents on 0
    assert not torch.equal(dogs["encoder.stem.weight"], faces["encoder.stem.weight"])
    own = [name for name in dogs if name.startswith("encoder.") or name == "latent_avg"]
    for name in dogs.keys() - set(own):
        assert torch.equal(dogs[name], faces[name]), name


def test_the_command_refuses_what_it_cannot_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    common = ["--corpus", str(tmp_path), "--work-dir", str(tmp_path)]
    assert command.main([*common, "--steps", "0"]) == 2
    assert command.main(common) == 1
    assert "faces-train.parquet" in caplog.text
    assert command.main([*common, "--subject", "dogs"]) == 1
    assert "dogs-train.parquet" in caplog.text


@pytest.mark.parametrize(
    ("generator", "domain", "told_right", "come_back"),
    [("mini-stylegan2", "faces", 0.95, 0.9), ("mini-stylegan2-dogs", "dogs", 0.8, 0.65)],
)
def test_the_shipped_generators_draw_different_faces_and_dogs(
    generator: str, domain: str, told_right: float, come_back: float
) -> None:
    """Told from the other domains by the judge's CLIP, which they never saw."""
    zoo = ModelZoo({"generator": generator, "judge": "mini-clip-score"})
    model, judge = zoo.generator(), zoo.clip("judge")
    assert model.encoder is not None
    assert model.latent_avg.abs().sum() > 0
    pictures = samples(model, 40, torch.Generator().manual_seed(3))
    with torch.no_grad():
        texts = torch.nn.functional.normalize(judge.encode_text(CONTENT_PROMPTS), dim=1)
        told = (judge.encode_image(pictures) @ texts.T).argmax(1)
    assert told.eq(CONTENT.index(domain)).float().mean() >= told_right
    others = torch.cdist(pictures.flatten(1), pictures.flatten(1)) + 1e9 * torch.eye(40)
    # root mean square difference to the most similar of the others, on a scale of 2
    assert others.min() / pictures[0].numel() ** 0.5 > 0.05
    # a picture comes back as itself rather than as one of the others
    with torch.no_grad():
        back = model(model.encode(pictures))
    errors = torch.cdist(back.flatten(1), pictures.flatten(1))
    assert errors.argmin(1).eq(torch.arange(40)).float().mean() >= come_back
    # truncated ones are nearer to the average picture, and at 0 it itself
    with torch.no_grad():
        average = model(model.latent_avg[None]).clamp(-1, 1)
    halfway = samples(model, 40, torch.Generator().manual_seed(3), psi=0.5)
    assert (halfway - average).square().mean() < 0.7 * (pictures - average).square().mean()
    at_zero = samples(model, 2, torch.Generator().manual_seed(3), psi=0.0)
    torch.testing.assert_close(at_zero, average.expand_as(at_zero), rtol=1e-4, atol=1e-4)
