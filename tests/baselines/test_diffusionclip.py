"""DiffusionCLIP against its official code, and its fine-tuning behind the interface.

The numbers were made by ``tests/golden/make_diffusionclip.py`` with ``gwang-kim/DiffusionCLIP`` at
e4bfb25: its ``clip_finetune`` as it is, around a tiny denoiser and a tiny CLIP.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from baselines.clipstyler import templated
from baselines.diffusionclip import (
    DiffusionClip,
    DiffusionClipConfig,
    clip_loss,
    directional,
    text_direction,
    visited_timesteps,
)
from baselines.training_photos import training_photos
from benchmark.errors import DataError, UsageError
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.tuning import TunedWeights, TuningClock
from tests.golden import make_diffusionclip as case
from tests.runs import picture
from tests.tiny_zoo import TinyZoo

GOLDEN_FILE = Path(__file__).parents[1] / "golden" / "diffusionclip.safetensors"
OFFICIAL: dict[str, Any] = {
    "t0": case.T0, "inversion_steps": case.INVERSION_STEPS, "train_steps": case.TRAIN_STEPS,
    "test_steps": case.INVERSION_STEPS, "learning_rate": case.LEARNING_RATE,
    "learning_rate_growth": case.GROWTH, "rounds": case.ROUNDS, "training_count": case.PHOTOS,
}  # fmt: skip
REQUEST = StyleRequest("a__golden", "a", "dogs", "golden", case.PROMPT, case.SOURCE_PROMPT)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with safe_open(GOLDEN_FILE, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture
def zoo() -> TinyZoo:
    return TinyZoo(calm=0.1)


def method_of(zoo: TinyZoo, cache: Path, **changes: Any) -> DiffusionClip:
    method = DiffusionClip(DiffusionClipConfig(**{**OFFICIAL, **changes}))
    method.prepare(zoo)  # type: ignore[arg-type]
    method._cache = TunedWeights("diffusionclip", 1, cache)
    return method


PHOTOS = torch.cat([case.photo(index) for index in range(case.PHOTOS)])


def test_timesteps_are_upstreams(golden: dict[str, Tensor]) -> None:
    for t0, count in case.SEQUENCES:
        assert visited_timesteps(t0, count) == golden[f"steps/{t0}/{count}"].tolist()


def test_templates_are_upstreams() -> None:
    with safe_open(GOLDEN_FILE, framework="pt") as file:
        wanted = file.metadata()["templates_sha256"]
    found = "\n".join(sorted(templated("{}")))
    assert hashlib.sha256(found.encode()).hexdigest() == wanted


def test_inversion_and_sampling_are_upstreams(
    zoo: TinyZoo, tmp_path: Path, golden: dict[str, Tensor]
) -> None:
    method = method_of(zoo, tmp_path)
    for index in range(case.PHOTOS):
        with torch.no_grad():
            latent = method.invert(case.photo(index), None)
            back = method.sample(latent, None, case.INVERSION_STEPS)
        torch.testing.assert_close(latent, golden[f"latent/{index}"], atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(back, golden[f"reconstruction/{index}"], atol=1e-4, rtol=1e-4)


def test_directional_loss_is_upstreams(zoo: TinyZoo, golden: dict[str, Tensor]) -> None:
    clip = zoo.clip("guide")
    direction = text_direction(clip, case.SOURCE_PROMPT, case.PROMPT, templates=True)
    torch.testing.assert_close(direction, golden["direction"], atol=1e-6, rtol=1e-5)
    source, edited = (clip.encode_image(clip.resize(case.photo(i))) for i in (0, 1))
    distance = directional(edited, source, direction)
    torch.testing.assert_close(distance, golden["directional"], atol=1e-5, rtol=1e-5)
    assert clip_loss(torch.tensor(0.0)) == 0 and clip_loss(torch.tensor(1.0)) > 0


def test_a_whole_fine_tuning_is_upstreams(
    zoo: TinyZoo, tmp_path: Path, golden: dict[str, Tensor]
) -> None:
    for round_ in range(case.ROUNDS):
        method = method_of(zoo, tmp_path, rounds=round_ + 1)
        state = method.fine_tune(REQUEST, PHOTOS)
        for name in case.KEPT:
            before = zoo.denoiser().unet.state_dict()[name]
            wanted = golden[f"tuned/{round_}/{name}"]
            # Adam moves every weight by about the learning rate, whatever its gradient
            moved = (wanted - before).abs().max()
            assert moved > case.LEARNING_RATE
            off = (state[f"unet.{name}"] - wanted).abs()
            assert off.mean() < 0.01 * moved, name
    method.tuned.load_state_dict(state)
    with torch.no_grad():
        edited = method.sample(golden["latent/0"], None, case.INVERSION_STEPS)
    torch.testing.assert_close(edited, golden["edited"], atol=1e-3, rtol=1e-3)


SMALL: dict[str, Any] = {
    "t0": 300, "inversion_steps": 4, "train_steps": 2, "test_steps": 4, "training_count": 1,
    "rounds": 1, "templates": False, "learning_rate": 1e-3,
}  # fmt: skip
BATCH = StyleBatch(
    torch.cat([case.photo(0), case.photo(1), case.photo(0)]),
    (
        REQUEST,
        StyleRequest("b__golden", "b", "dogs", "golden", "golden", "Photo"),
        StyleRequest("a__clay", "a", "dogs", "clay", "clay", "Photo"),
    ),
)


def run(method: DiffusionClip, batch: StyleBatch) -> Tensor:
    return method.stylize(batch, NoiseSource(0, batch.sample_ids))


def test_weights_are_tuned_once_a_prompt_and_reused(zoo: TinyZoo, tmp_path: Path) -> None:
    rng = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    frozen = {name: value.clone() for name, value in zoo.denoiser().state_dict().items()}
    with TuningClock().active() as clock:
        out = run(method_of(zoo, tmp_path, **SMALL), BATCH)
    assert len(clock.trained) == 2
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    assert (out[0] - out[2]).abs().max() > 1e-3
    again = method_of(zoo, tmp_path, **SMALL)
    again.fine_tune = None  # type: ignore[method-assign,assignment]
    for index in (2, 0, 1):
        torch.testing.assert_close(run(again, BATCH.sample(index))[0], out[index])
    after = zoo.denoiser().state_dict()
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())
    assert torch.equal(rng[0], torch.get_rng_state()) and rng[1] == random.getstate()
    assert (rng[2] == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("change", "shared"),
    [({"test_steps": 3}, True), ({"model_ratio": 0.5}, True), ({"learning_rate": 2e-3}, False),
     ({"tuning_seed": 1}, False), ({"clip": 2.0}, False)],
)  # fmt: skip
def test_only_what_the_tuning_reads_asks_for_new_weights(
    zoo: TinyZoo, tmp_path: Path, change: dict[str, Any], shared: bool
) -> None:
    first = BATCH.sample(0)
    run(method_of(zoo, tmp_path, **SMALL), first)
    run(method_of(zoo, tmp_path, **{**SMALL, **change}), first)
    assert len(list(tmp_path.rglob("*.safetensors"))) == (1 if shared else 2)


def test_tuning_moves_towards_the_prompt(zoo: TinyZoo, tmp_path: Path) -> None:
    clip = zoo.clip("guide")
    direction = text_direction(clip, "Photo", "golden", templates=False)
    method = method_of(zoo, tmp_path, **{**SMALL, "rounds": 12, "l1": 0.1})
    with torch.no_grad():
        source = clip.encode_image(clip.resize(case.photo(0)))
        latent = method.invert(case.photo(0), None)

        def distance(ratio: float) -> float:
            out = method.sample(latent, None, 2, ratio)
            return float(directional(clip.encode_image(clip.resize(out)), source, direction))

        before = distance(1.0)
    method.tuned.load_state_dict(method.fine_tune(REQUEST, case.photo(0)))
    with torch.no_grad():
        after, half = distance(1.0), distance(0.0)
    assert after < before - 0.02
    assert half == pytest.approx(before, abs=1e-5)


def test_the_l1_term_holds_the_content(zoo: TinyZoo, tmp_path: Path) -> None:
    def change(weight: float) -> float:
        method = method_of(zoo, tmp_path, **{**SMALL, "rounds": 8, "l1": weight})
        method.tuned.load_state_dict(method.fine_tune(REQUEST, case.photo(0)))
        with torch.no_grad():
            latent = method.invert(case.photo(0), None)
            return float((method.sample(latent, None, 2) - case.photo(0)).abs().mean())

    assert change(100.0) < change(0.0)


def test_the_identity_term_needs_the_face_model(zoo: TinyZoo, tmp_path: Path) -> None:
    assert method_of(zoo, tmp_path).face is None
    with pytest.raises(AttributeError, match="face"):
        method_of(zoo, tmp_path, identity=1.0)  # the tiny zoo has none


def test_training_photos_are_seeded_windows() -> None:
    photos = training_photos(None, count=9, size=32, seed=0)
    assert photos.images.shape == (9, 3, 32, 32) and photos.images.abs().max() <= 1
    same = training_photos(None, count=9, size=32, seed=0)
    assert same.sha256 == photos.sha256
    assert training_photos(None, count=9, size=32, seed=1).sha256 != photos.sha256


def test_a_folder_of_photographs_is_taken_by_content(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            Image.fromarray(picture(name, 40)).save(tmp_path / folder / f"{name}.png")
    found = [
        training_photos(tmp_path / folder, count=2, size=32, seed=0) for folder in ("one", "two")
    ]
    assert found[0].sha256 == found[1].sha256
    with pytest.raises(UsageError, match="holds 2 images, fewer than training_count=5"):
        training_photos(tmp_path / "one", count=5, size=32, seed=0)
    with pytest.raises(DataError, match="nowhere"):
        training_photos(tmp_path / "nowhere", count=5, size=32, seed=0)


def test_a_sample_without_a_prompt_is_refused(zoo: TinyZoo, tmp_path: Path) -> None:
    request = StyleRequest("a__x", "a", "dogs", "x", None)
    with pytest.raises(UsageError, match="guided by prompts"):
        run(method_of(zoo, tmp_path, **SMALL), StyleBatch(case.photo(0), (request,)))


def test_more_steps_than_timesteps_are_a_config_error() -> None:
    with pytest.raises(ValueError, match=r"inversion_steps \(40\) cannot exceed t0 \+ 1 \(31\)"):
        DiffusionClipConfig(t0=30)
