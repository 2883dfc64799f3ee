"""StyleCLIP against its official script, the inversion, and both behind the common interface.

Golden numbers: ``tests/golden/make_styleclip.py`` ran ``optimization/run_optimization.py``
(orpatashnik/StyleCLIP f87a47f) around tiny networks (``tests/golden/stylegan2_case.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from baselines.styleclip import StyleClip, StyleClipConfig
from baselines.stylegan_inversion import (
    InversionConfig,
    Inverter,
    area_resize,
    perceptual_distance,
    ramped_rate,
    unit_features,
)
from benchmark.interface import StyleBatch
from benchmark.noise import NoiseSource
from tests.baselines.stylegan_zoo import (
    StyleGanZoo,
    batch,
    official_generator,
    small_generator,
)
from tests.golden.official_format import named_normal, picture
from tests.golden.stylegan2_case import (
    CLIP_SIDE,
    CLIP_STEPS,
    EDIT_ARCHITECTURE,
    EDIT_SIZE,
    ID_WEIGHT,
    TARGET,
    edit_pictures,
    edit_start,
    text_embedding,
)

GOLDEN = Path(__file__).parents[1] / "golden"
QUICK = {"inversion_steps": 4, "steps": 4}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "styleclip.safetensors")


@pytest.fixture(scope="module")
def official() -> StyleClip:
    method = StyleClip(StyleClipConfig(steps=CLIP_STEPS, identity=ID_WEIGHT))
    method.prepare(StyleGanZoo(official_generator(EDIT_ARCHITECTURE), CLIP_SIDE))  # type: ignore[arg-type]
    return method


def small(encoder: bool = False, **config: Any) -> StyleClip:
    method = StyleClip(StyleClipConfig(**{**QUICK, **config}))
    method.prepare(StyleGanZoo(small_generator(encoder), 32))  # type: ignore[arg-type]
    return method


def noise_for(samples: StyleBatch, seed: int = 0) -> NoiseSource:
    return NoiseSource(seed, samples.sample_ids)


def text() -> Tensor:
    return F.normalize(text_embedding(TARGET), dim=1)


def test_losses_equal_the_official_ones(official: StyleClip, golden: dict[str, Tensor]) -> None:
    """CLIP reads [-1, 1] without its normalisation; the face window is cut out of 256 pixels."""
    a, b = edit_pictures("a"), edit_pictures("b")
    assert torch.allclose(official.clip_loss(a, text()), golden["clip"], atol=1e-6)
    alike = (official.identity(a) * official.identity(b)).sum(1)
    assert torch.allclose((1 - alike).mean(), golden["identity"], atol=1e-6)


def test_a_whole_optimisation_equals_the_official_one(
    official: StyleClip, golden: dict[str, Tensor]
) -> None:
    latent, shown = official.edit(edit_start(), text())
    moved = (golden["latent"] - edit_start()).norm()
    assert moved > 5
    assert (latent - golden["latent"]).norm() < 3e-4 * moved
    assert torch.allclose(shown, golden["pictures"][1:], atol=5e-4, rtol=1e-4)
    assert torch.allclose(
        official.generator(edit_start()), golden["pictures"][:1], atol=1e-5, rtol=1e-5
    )


def test_rates_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    found = torch.tensor([ramped_rate(i / 20, 0.1) for i in range(20)])
    assert torch.allclose(found, golden["rates"], atol=1e-8)


def test_pictures_come_to_clip_as_upstream_pools_them(golden: dict[str, Tensor]) -> None:
    assert EDIT_SIZE == 32
    big = torch.cat([edit_pictures("a")] * 2, 3).repeat(1, 1, 2, 1) * torch.linspace(0, 1, 64)
    found = area_resize(big, CLIP_SIDE)[:, :, ::16, ::7]
    assert torch.allclose(found, golden["view"], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40))
def test_area_resizing_keeps_the_mean_and_equals_pooling(length: int, side: int) -> None:
    images = picture("area", length)
    found = area_resize(images, side)
    assert found.shape[2:] == (side, side)
    assert torch.allclose(found.mean((2, 3)), images.mean((2, 3)), atol=1e-5)
    repeated = images.repeat_interleave(side, 2).repeat_interleave(side, 3)
    # in double precision: float32 pooling adds up to 1,600 values
    assert torch.allclose(found.double(), F.avg_pool2d(repeated.double(), length), atol=1e-5)


def test_the_inversion_finds_a_picture_of_the_generator() -> None:
    generator = small_generator()
    zoo = StyleGanZoo(generator, 32)
    truth = generator.map(named_normal("inversion", (1, 16)))
    with torch.no_grad():
        image = generator(truth)
    config = InversionConfig(inversion_steps=200, inversion_mse=1.0)
    latent = Inverter(generator, zoo.vgg(), config)(image, "i", NoiseSource(0, ["i__p"]))
    start = generator(generator.latent_avg[None])
    assert F.mse_loss(generator(latent), image) < 0.05 * F.mse_loss(start, image)


def test_the_inversion_belongs_to_the_image_and_starts_at_the_encoder() -> None:
    images = batch().images
    generator = small_generator(encoder=True)
    zoo = StyleGanZoo(generator, 32)
    still = Inverter(generator, zoo.vgg(), InversionConfig(inversion_steps=0))
    found = still(images, "i", NoiseSource(0, ["i__p"]))
    assert torch.equal(found, generator.encode(images))
    # without the encoder there is noise in the search: it depends on the seed and on the image
    search = Inverter(generator, zoo.vgg(), InversionConfig(inversion_steps=3, encoder=False))
    first = search(images, "i", NoiseSource(0, ["i__p"]))
    assert torch.equal(first, search(images, "i", NoiseSource(0, ["i__another-prompt"])))
    assert not torch.equal(first, search(images, "i", NoiseSource(1, ["i__p"])))
    assert not torch.equal(first, search(images, "j", NoiseSource(0, ["j__p"])))
    assert not torch.equal(first, search(images * 0.9, "i", NoiseSource(0, ["i__p"])))


def test_the_perceptual_distance_is_zero_at_the_picture_alone() -> None:
    vgg = StyleGanZoo(small_generator(), 32).vgg()
    images = picture("a", 32, batch=2)
    wanted = unit_features(vgg, images, ("conv1_2", "conv3_4"))
    assert perceptual_distance(vgg, images, wanted).abs().max() < 1e-9
    assert perceptual_distance(vgg, images.flip(0), wanted).min() > 1e-3


def test_samples_do_not_depend_on_the_batch_and_nothing_else_is_touched() -> None:
    method, samples = small(), batch(2)
    before, global_state = samples.images.clone(), torch.random.get_rng_state()
    together = method.stylize(samples, noise_for(samples))
    assert together.shape == samples.images.shape
    assert torch.equal(samples.images, before)
    assert torch.equal(torch.random.get_rng_state(), global_state)
    for place in range(2):
        one = samples.sample(place)
        assert torch.equal(small().stylize(one, noise_for(one))[0], together[place])


def test_outputs_have_the_size_of_the_images() -> None:
    samples = batch(1, side=24)
    assert small().stylize(samples, noise_for(samples)).shape == (1, 3, 24, 24)


def test_the_prompt_is_approached_and_the_latent_term_holds_back() -> None:
    method = small(steps=40, identity=0.0, l2=0.0)
    start = method.generator.map(named_normal("edit", (1, 16)))[:, None].expand(-1, 6, -1)
    free, shown = method.edit(start, text())
    assert method.clip_loss(shown, text()) < method.clip_loss(method.generator(start), text())
    held, _ = small(steps=40, identity=0.0, l2=1.0).edit(start, text())
    assert (held - start).norm() < 0.5 * (free - start).norm()


def test_identity_counts_on_faces_only() -> None:
    """Two configs that differ in its weight give one picture where there is no face."""
    outputs = {}
    for domain in ("faces", "dogs"):
        for weight in (0.0, 50.0):
            method = small(identity=weight, steps=8)
            samples = batch(domain=domain)
            outputs[domain, weight] = method.stylize(samples, noise_for(samples))
    assert torch.equal(outputs["dogs", 0.0], outputs["dogs", 50.0])
    assert not torch.equal(outputs["faces", 0.0], outputs["faces", 50.0])


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"learning_rate": 0}, {"rampup": 0}, {"nonsense": 1}]
)
def test_config_errors(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StyleClipConfig(**bad)
