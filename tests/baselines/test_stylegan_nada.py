"""StyleGAN-NADA against its official code, and its behaviour behind the common interface.

Golden numbers: ``tests/golden/make_stylegan_nada.py`` ran ``ZSSGAN`` and ``CLIPLoss``
(rinongal/StyleGAN-nada dc8406a) around tiny networks (``tests/golden/stylegan2_case.py``). Ours
draws latents and noise in the order of the official code, so one seed gives both the same numbers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from baselines.stylegan_nada import StyleGanNada, StyleGanNadaConfig
from benchmark.errors import UsageError
from benchmark.interface import StyleBatch
from benchmark.noise import NoiseSource
from tests.baselines.stylegan_zoo import (
    StyleGanZoo,
    batch,
    official_generator,
    small_generator,
)
from tests.golden.stylegan2_case import (
    NADA_ARCHITECTURE,
    NADA_BATCH,
    NADA_CHOICE,
    NADA_K,
    NADA_SEED,
    NADA_STEPS,
    SOURCE,
    TARGET,
    TINY_SIDE,
    edit_pictures,
    edit_start,
)

GOLDEN = Path(__file__).parents[1] / "golden"
QUICK = {"inversion_steps": 2, "iterations": 2, "auto_layer_batch": 2}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "stylegan_nada.safetensors")


@pytest.fixture(scope="module")
def official_zoo() -> StyleGanZoo:
    return StyleGanZoo(official_generator(NADA_ARCHITECTURE), TINY_SIDE)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEBENCH_CACHE", str(tmp_path / "cache"))


def like_official(zoo: StyleGanZoo, **config: Any) -> StyleGanNada:
    method = StyleGanNada(
        StyleGanNadaConfig(
            iterations=NADA_STEPS, batch=NADA_BATCH, auto_layer_batch=NADA_CHOICE,
            tuning_seed=NADA_SEED, **config,
        )
    )  # fmt: skip
    method.prepare(zoo)  # type: ignore[arg-type]
    return method


def small(encoder: bool = False, **config: Any) -> StyleGanNada:
    method = StyleGanNada(StyleGanNadaConfig(**{**QUICK, **config}))
    method.prepare(StyleGanZoo(small_generator(encoder), TINY_SIDE))  # type: ignore[arg-type]
    return method


def noise_for(samples: StyleBatch, seed: int = 0) -> NoiseSource:
    return NoiseSource(seed, samples.sample_ids)


def test_losses_equal_the_official_ones(
    official_zoo: StyleGanZoo, golden: dict[str, Tensor]
) -> None:
    """On pictures of 32 pixels, which come to CLIP's 16 without antialiasing."""
    method = like_official(official_zoo)
    direction = method.text_direction(SOURCE, TARGET)
    assert torch.allclose(direction, golden["text_direction"], atol=1e-6)
    a, b = edit_pictures("a"), edit_pictures("b")
    loss = method.direction_loss(b, method.embed(a), direction)
    assert torch.allclose(loss, golden["direction"], atol=1e-5)
    far = (1 - method.embed(a) @ method.unit_text(TARGET).T).mean()
    assert torch.allclose(far, golden["global"], atol=1e-6)


def test_the_layers_that_upstream_chooses(
    official_zoo: StyleGanZoo, golden: dict[str, Tensor]
) -> None:
    method = like_official(official_zoo, auto_layer_k=NADA_K, auto_layer_iters=2)
    model = method.frozen
    draws = torch.Generator().manual_seed(NADA_SEED)
    chosen = method.choose_layers(model, method.unit_text(TARGET), draws)
    layers = [model.conv1, model.to_rgb1, *model.convs]
    found = [next(i for i, layer in enumerate(layers) if layer is c) for c in chosen]
    assert found == golden["chosen"].tolist()


@pytest.mark.parametrize(
    ("case", "config"),
    [("adaptive", {"auto_layer_k": NADA_K}), ("all", {"auto_layer_iters": 0})],
)
def test_a_few_steps_of_tuning_equal_the_official_ones(
    case: str, config: dict[str, Any], official_zoo: StyleGanZoo, golden: dict[str, Tensor]
) -> None:
    """Which tensors move, how far, and what the tuned generator draws.

    The noises' weights are single numbers that begin at zero: Adam's first steps take the sign of
    their gradients, which on another processor is now and then another.
    """
    method = like_official(official_zoo, **config)
    tuned = method.tune(method.text_direction(SOURCE, TARGET), method.unit_text(TARGET))
    with torch.no_grad():
        shown = tuned(edit_start(6))
        plain = method.frozen(edit_start(6))
    assert torch.allclose(shown, golden[f"{case}/picture"], atol=8e-3)
    assert (shown - plain).abs().max() > 30 * 8e-3  # what is compared is a change, not the start
    pairs = zip(tuned.named_parameters(), method.frozen.parameters(), strict=True)
    for (name, after), before in pairs:
        moved = (after - before).abs().mean()
        within = 0.1 if name.endswith("noise.weight") else 2e-3
        official = golden[f"{case}/moved/{name}"].item()
        assert moved.item() == pytest.approx(official, rel=within), name


def test_mapping_colours_and_an_unchosen_layer_stay_as_they_are() -> None:
    method = small(encoder=True, auto_layer_k=1, iterations=1)
    tuned = method.tune(method.text_direction(SOURCE, TARGET), method.unit_text(TARGET))
    moved = {
        name.split(".")[0] + "." + name.split(".")[1]
        for (name, after), before in zip(
            tuned.named_parameters(), method.frozen.parameters(), strict=True
        )
        if not torch.equal(after, before)
    }
    assert len({name for name in moved if not name.startswith("conv1.")}) <= 1
    assert moved and not any(n.startswith(("style", "to_rgbs", "encoder", "input")) for n in moved)


def test_tuning_turns_pictures_into_the_direction_of_the_prompts() -> None:
    method = small(iterations=100, auto_layer_iters=0, learning_rate=0.02)
    direction = method.text_direction(SOURCE, TARGET)
    tuned = method.tune(direction, method.unit_text(TARGET))
    w = method.frozen.map(torch.randn(8, 16, generator=torch.Generator().manual_seed(9)))
    with torch.no_grad():
        before = method.embed(method.frozen(w))
        loss = method.direction_loss(tuned(w), before, direction)
    assert loss < 0.9  # changes without a direction have 1


def test_weights_are_tuned_once_for_a_prompt_and_shared_between_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = batch(2)
    first = small().stylize(samples, noise_for(samples))
    files = list((tmp_path / "cache" / "tuned" / "stylegan-nada").glob("*.safetensors"))
    assert len(files) == 1

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("tuned again")

    again = small(inversion_mse=0.0)
    monkeypatch.setattr(again, "tune", never)
    # another run seed and another inversion leave the weights alone
    assert torch.equal(again.stylize(samples, noise_for(samples)), first)
    again.stylize(samples, noise_for(samples, seed=5))
    for change in ({"tuning_seed": 1}, {"iterations": 3}):
        with monkeypatch.context() as patch:
            other = small(**change)
            patch.setattr(other, "tune", never)
            with pytest.raises(AssertionError, match="tuned again"):
                other.stylize(samples, noise_for(samples))


def test_samples_do_not_depend_on_the_batch_and_nothing_else_is_touched() -> None:
    method, samples = small(), batch(2)
    weights = {k: v.clone() for k, v in method.frozen.state_dict().items()}
    before, global_state = samples.images.clone(), torch.random.get_rng_state()
    together = method.stylize(samples, noise_for(samples))
    assert torch.equal(samples.images, before)
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert all(torch.equal(weights[k], v) for k, v in method.frozen.state_dict().items())
    for place in range(2):
        one = samples.sample(place)
        assert torch.equal(small().stylize(one, noise_for(one))[0], together[place])


def test_a_prompt_without_direction_is_refused() -> None:
    with pytest.raises(UsageError, match=r"both 'photo'.*no direction"):
        small().text_direction("photo", "photo")
    silent = replace(batch(), requests=(replace(batch().requests[0], prompt=None),))
    with pytest.raises(UsageError, match="guided by a prompt and there is none"):
        small().stylize(silent, noise_for(silent))
    with pytest.raises(UsageError, match="is empty"):
        small().text_direction("photo", " ")


@pytest.mark.parametrize(
    "bad", [{"iterations": 0}, {"batch": 0}, {"auto_layer_k": 0}, {"mixing": 1}]
)
def test_config_errors(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StyleGanNadaConfig(**bad)
