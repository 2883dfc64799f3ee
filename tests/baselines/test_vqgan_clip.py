"""VQGAN-CLIP against its official script, and its behaviour behind the common interface.

Golden numbers: ``tests/golden/make_vqgan_clip.py`` ran the official ``generate.py``
(nerdyrodent/VQGAN-CLIP 592d555, kornia 0.5.4) around a tiny VQModel of taming-transformers and a
tiny encoder, with the random numbers that it drew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

import baselines.vqgan_clip
from baselines.vqgan_clip import (
    ClampWithGradient,
    VqganClip,
    VqganClipConfig,
    latent_loss,
    prompt_loss,
)
from baselines.vqgan_clip_cutouts import (
    AUGMENTS,
    Augment,
    Cutouts,
    draw_cutouts,
    make_cutouts,
    pooled,
)
from benchmark.errors import UsageError
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.zoo.vqgan import VqGan, VqGanConfig
from tests.golden.make_vqgan_clip import INIT_WEIGHT, JITTER, PROMPTS, source_pixels
from tests.golden.official_format import (
    CLIP_MEAN,
    CLIP_STD,
    EDITOR_CROP_SIZE,
    named_normal,
    picture,
    shapes_of,
)
from tests.golden.vqgan_case import (
    ARCHITECTURE,
    CODES,
    CUTS,
    EMBED_DIM,
    PROMPT,
    RUN,
    SIDE,
    vqgan_state,
)
from tests.golden.zecon_case import prompt_embedding
from tests.tiny_zoo import TinyZoo

GOLDEN = Path(__file__).parents[1] / "golden"
SIZE = EDITOR_CROP_SIZE


class Zoo(TinyZoo):
    """The tiny networks with the VQGAN of the golden numbers."""

    def __init__(self) -> None:
        super().__init__()
        architecture = {**ARCHITECTURE, "embed_dim": EMBED_DIM, "n_embed": CODES}
        with torch.device("meta"):
            shapes = shapes_of(VqGan(VqGanConfig.model_validate(architecture)))
        self._vqgan = VqGan.from_state_dict(vqgan_state(shapes), architecture)

    def vqgan(self) -> VqGan:
        return self._vqgan


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return Zoo()


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "vqgan_clip.safetensors")


def method_for(zoo: Zoo, **changes: Any) -> VqganClip:
    method = VqganClip(VqganClipConfig(**({"n_cuts": CUTS} | changes)))
    method.prepare(zoo)  # type: ignore[arg-type]
    return method


def source() -> Tensor:
    """[1, 3, 32, 32] in [-1, 1], the file that the script read."""
    pixels = torch.from_numpy(source_pixels())
    return pixels.permute(2, 0, 1)[None].float().div(255).mul(2).sub(1)


def official_cutouts(golden: dict[str, Tensor], step: str) -> Cutouts:
    """The random numbers of one official update, in our units."""
    at = {key.removeprefix(f"{step}/"): v for key, v in golden.items() if key.startswith(step)}
    last = SIZE - 1
    corners = torch.tensor([[0, 0], [last, 0], [last, last], [0, last]]).double()
    inward = (at["perspective/end_points"].double() - corners).abs() * 2 / last
    bent = at["perspective/applied"]
    brightness, *factors = (at[f"jitter/{name}_factor"] for name in JITTER)
    erased = None
    if at["erasing/applied"].any():
        left, top, width, height = (
            int(at[f"erasing/{key}"][0]) for key in ("xs", "ys", "widths", "heights")
        )
        erased = left, top, width, height
    return Cutouts(
        angle=at["affine/angle"].double(),
        shear=at["affine/sx"].double(),
        shift=at["affine/translations"].double() / SIZE,
        inward=torch.where(bent[:, None, None], inward, 0.0),
        jitter=torch.stack([brightness - 1, *factors], 1),
        order=tuple(at["order"].tolist()),
        erased=erased,
        warped=at["affine/applied"],
        bent=bent,
        recoloured=at["jitter/applied"],
        level=at["level"],
        grain=at["grain"],
    )


@pytest.fixture
def official_numbers(monkeypatch: pytest.MonkeyPatch, golden: dict[str, Tensor]) -> None:
    """The official draws in place of random ones."""
    monkeypatch.setattr(
        baselines.vqgan_clip, "draw_cutouts",
        lambda noise, purpose, count, side: official_cutouts(
            golden, purpose.removeprefix("cutouts/")
        ),
    )  # fmt: skip


@pytest.mark.parametrize("step", range(RUN + 1))
def test_cutouts_equal_the_official_ones(zoo: Zoo, golden: dict[str, Tensor], step: int) -> None:
    method = method_for(zoo)
    image = method.synthesise(golden[f"{step}/z"])
    cuts = make_cutouts(image, official_cutouts(golden, str(step)), AUGMENTS, SIZE)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    torch.testing.assert_close(cuts, golden[f"{step}/cuts"] * std + mean, atol=2e-5, rtol=0)


def test_gradient_of_an_update_equals_the_official_one(zoo: Zoo, golden: dict[str, Tensor]) -> None:
    method = method_for(zoo)
    z = golden[f"{RUN}/z"].clone().requires_grad_()
    cutouts = official_cutouts(golden, str(RUN))
    loss = method.loss(z, prompt_embedding(PROMPT), cutouts, RUN)
    loss.backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    scale = golden["gradient"].abs().max()
    torch.testing.assert_close(z.grad / scale, golden["gradient"] / scale, atol=1e-4, rtol=0)


@pytest.mark.usefixtures("official_numbers")
def test_updates_equal_the_official_ones(zoo: Zoo, golden: dict[str, Tensor]) -> None:
    """Start, quantisation, Adam and the codebook's range: the latents after each update."""
    target, noise = prompt_embedding(PROMPT), NoiseSource(0, ["a"])
    start = zoo.vqgan().quantize(zoo.vqgan().encode(source()))
    torch.testing.assert_close(start, golden["0/z"], atol=1e-5, rtol=0)
    for updates in range(1, RUN + 1):
        z = method_for(zoo, iterations=updates).optimise(source(), target, noise)
        torch.testing.assert_close(z, golden[f"{updates}/z"], atol=1e-4, rtol=0)
    assert (golden[f"{RUN}/z"] - golden["0/z"]).abs().mean() > 0.1


def test_adamw_and_the_latents_loss_equal_the_official_ones(
    zoo: Zoo, golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        baselines.vqgan_clip, "draw_cutouts", lambda *_: official_cutouts(golden, "adamw/0")
    )
    values = {"optimiser": "adamw", "learning_rate": 0.25, "init_weight": INIT_WEIGHT}
    method = method_for(zoo, iterations=1, **values)
    z = method.optimise(source(), prompt_embedding(PROMPT), NoiseSource(0, ["a"]))
    torch.testing.assert_close(z, golden["adamw/1/z"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("index", range(len(PROMPTS)))
def test_prompt_loss_and_its_gradient_equal_the_official_ones(
    golden: dict[str, Tensor], index: int
) -> None:
    weight, stop = PROMPTS[index]
    embeddings = named_normal("vqgan-clip/embeddings", (CUTS, 24)).requires_grad_()
    loss = prompt_loss(
        embeddings, prompt_embedding(PROMPT), weight, None if stop == float("-inf") else stop
    )
    torch.testing.assert_close(loss.detach(), golden[f"prompt/{index}"], atol=1e-5, rtol=0)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(
        embeddings.grad, golden[f"prompt/{index}/gradient"], atol=1e-6, rtol=0
    )


def test_a_stop_holds_back_near_cutouts_alone(golden: dict[str, Tensor]) -> None:
    still = golden["prompt/2/gradient"].abs().sum(1) == 0
    assert 0 < int(still.sum()) < CUTS  # else the golden numbers would not show it


def test_clamp_lets_gradients_back_in_as_the_official_one(golden: dict[str, Tensor]) -> None:
    values = named_normal("vqgan-clip/clamp", (64,)).requires_grad_()
    clamped = ClampWithGradient.call(values)
    assert torch.equal(clamped, golden["clamp"])
    (clamped * named_normal("vqgan-clip/pull", (64,))).sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert torch.equal(values.grad, golden["clamp/gradient"])
    outside = (values < 0) | (values > 1)
    assert 0 < int((values.grad[outside] != 0).sum()) < int(outside.sum())


def test_latent_loss_draws_to_zero_and_fades() -> None:
    z = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)
    assert latent_loss(z, 0, 2.0).item() == 5.0
    assert latent_loss(z, 2, 2.0).item() == 1.0


def test_defaults_are_those_of_the_script() -> None:
    config = VqganClipConfig()
    assert (config.iterations, config.learning_rate, config.n_cuts) == (500, 0.1, 32)
    assert (config.optimiser, config.init_weight, config.augments) == (
        "adam", 0, ("Af", "Pe", "Ji", "Er"),
    )  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 40), st.integers(5, 40), st.integers(1, 24), st.integers(0, 9))
def test_pooling_is_pytorchs(height: int, width: int, side: int, seed: int) -> None:
    image = torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    image = image.clamp(-0.5, 0.5)  # equal pixels, as clipping leaves them
    mine, theirs = (image.clone().requires_grad_() for _ in range(2))
    expected = (F.adaptive_avg_pool2d(theirs, side) + F.adaptive_max_pool2d(theirs, side)) / 2
    found = pooled(mine, side)
    torch.testing.assert_close(found, expected)
    pull = named_normal("pull", found.shape)
    for value in (found, expected):
        (value * pull).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4)


def drawn(count: int = 400, seed: int = 3, purpose: str = "w") -> Cutouts:
    return draw_cutouts(NoiseSource(seed, ["a"]), purpose, count, 4)


def test_drawn_numbers_fill_kornias_ranges() -> None:
    cutouts = drawn(4000)
    for value, limit in (
        (cutouts.angle, 15), (cutouts.shear, 5), (cutouts.shift[:, 1], 0.1),
        (cutouts.jitter - torch.tensor([0, 1, 1, 0]), 0.1),
    ):  # fmt: skip
        assert 0.99 * limit < value.max() <= limit * (1 + 1e-5)
        assert -limit * (1 + 1e-5) <= value.min() < -0.99 * limit
    assert cutouts.shift[:, 0].abs().max() == 0  # the official translate=0.1 is vertical
    assert cutouts.inward.min() >= 0 and cutouts.inward.max() < 0.7 * 4 / 3
    assert cutouts.level.min() >= 0 and 0.099 < cutouts.level.max() < 0.1
    for chosen in (cutouts.warped, cutouts.bent, cutouts.recoloured):
        assert chosen.float().mean().item() == pytest.approx(0.7, abs=0.03)
    orders = {drawn(1, seed).order for seed in range(200)}
    assert len(orders) == 24


def test_erased_rectangles_have_the_area_and_ratio_asked_for() -> None:
    side = 100
    found = [draw_cutouts(NoiseSource(s, ["a"]), "e", 1, side).erased for s in range(600)]
    some = [rectangle for rectangle in found if rectangle is not None]
    assert len(some) / len(found) == pytest.approx(0.7, abs=0.06)
    for left, top, width, height in some:
        assert 0 <= left <= side - width and 0 <= top <= side - height
        assert 0.09 < width * height / side**2 < 0.41
        assert 0.29 <= height / width <= 3.45
    taller = sum(height > width for *_, width, height in some) / len(some)
    assert taller == pytest.approx(0.5, abs=0.08)


def only(augment: Augment, **values: Any) -> Tensor:
    """One cut-out of a picture of 16x16 under one augmentation."""
    plain: dict[str, Any] = {
        "angle": torch.zeros(1).double(), "shear": torch.zeros(1).double(),
        "shift": torch.zeros(1, 2).double(), "inward": torch.zeros(1, 4, 2).double(),
        "jitter": torch.tensor([[0.0, 1.0, 1.0, 0.0]]), "order": (0, 1, 2, 3), "erased": None,
        "warped": torch.tensor([True]), "bent": torch.tensor([True]),
        "recoloured": torch.tensor([True]), "level": torch.zeros(1),
        "grain": torch.zeros(1, 3, 16, 16),
    }  # fmt: skip
    return make_cutouts(SAMPLE, Cutouts(**(plain | values)), (augment,), 16)


SAMPLE = (picture("cutouts", 16) + 1) / 2


def test_augmentations_that_do_nothing_leave_the_picture() -> None:
    torch.testing.assert_close(only("Af"), SAMPLE, atol=1e-5, rtol=0)
    torch.testing.assert_close(only("Ji"), SAMPLE, atol=1e-5, rtol=0)
    assert torch.equal(only("Er"), SAMPLE)
    unmoved = torch.tensor([False])
    assert torch.equal(only("Af", angle=torch.tensor([9.0]).double(), warped=unmoved), SAMPLE)


def test_each_augmentation_does_what_its_name_says() -> None:
    assert only("Er", erased=(3, 5, 4, 2))[..., 5:7, 3:7].abs().max() == 0
    assert torch.equal(only("Er", erased=(3, 5, 4, 2))[..., 7:, :], SAMPLE[..., 7:, :])
    brighter = only("Ji", jitter=torch.tensor([[0.1, 1.0, 1.0, 0.0]]))
    torch.testing.assert_close(brighter, (SAMPLE + 0.1).clamp(0, 1), atol=1e-5, rtol=0)
    grey = only("Ji", jitter=torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    torch.testing.assert_close(grey, SAMPLE.amax(1, keepdim=True).expand_as(grey))
    # a third of a turn gives red's value to green
    turned = only("Ji", jitter=torch.tensor([[0.0, 1.0, 1.0, 1 / 3]]))
    torch.testing.assert_close(turned, SAMPLE.roll(1, 1), atol=1e-5, rtol=0)
    # a sixteenth of the side up, but for kornia's two measures of a side
    down = only("Af", shift=torch.tensor([[0.0, 1 / 16]]).double())
    torch.testing.assert_close(down[..., 2:, :], SAMPLE[..., 1:-1, :], atol=0.1, rtol=0)
    assert down[..., 0, :].abs().max() < 0.1
    bent = only("Pe", inward=torch.full((1, 4, 2), 0.5).double())
    assert bent[..., :3, :].abs().max() == 0 and bent[..., 8, 8].abs().max() > 0


def batch_of(count: int, size: int = SIDE) -> StyleBatch:
    requests = tuple(
        StyleRequest(f"{i}__p", str(i), "dogs", "p", f"style {i}") for i in range(count)
    )
    return StyleBatch(torch.cat([picture(f"batch {i}", size) for i in range(count)]), requests)


def test_a_sample_does_not_depend_on_its_neighbours_or_on_the_global_generator(zoo: Zoo) -> None:
    batch, method = batch_of(3), method_for(zoo, iterations=3)
    images, state = batch.images.clone(), torch.get_rng_state()
    together = method.stylize(batch, NoiseSource(5, batch.sample_ids))
    assert torch.equal(batch.images, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert together.shape == batch.images.shape and together.dtype == torch.float32
    assert not together.requires_grad
    assert together.min() >= -1 and together.max() <= 1
    torch.manual_seed(99)
    alone = batch.sample(1)
    with torch.no_grad():
        single = method.stylize(alone, NoiseSource(5, alone.sample_ids))
    assert torch.equal(together[1:2], single)
    other = method.stylize(alone, NoiseSource(6, alone.sample_ids))
    assert (single - other).abs().max() > 0.01


def test_a_broken_sample_breaks_alone(zoo: Zoo) -> None:
    batch = batch_of(2)
    images = batch.images.clone()
    images[0, 0, 3, 3] = float("nan")
    out = method_for(zoo, iterations=2).stylize(
        StyleBatch(images, batch.requests), NoiseSource(5, batch.sample_ids)
    )
    assert not out[0].isfinite().all()
    assert out[1].isfinite().all()


def test_updates_bring_the_picture_nearer_to_the_prompt(zoo: Zoo) -> None:
    target, noise = prompt_embedding(PROMPT), NoiseSource(0, ["a"])

    def distance(weight: float) -> float:
        method = method_for(zoo, iterations=15, prompt_weight=weight)
        z = method.optimise(source(), target, noise)
        seen = pooled(method.synthesise(z), SIZE) * 2 - 1
        return prompt_loss(method.clip.encode_image(seen), target).item()

    assert distance(1.0) < distance(0.0) - 0.05
    assert distance(-1.0) > distance(0.0) + 0.05


def test_without_pull_the_picture_is_the_reconstruction(zoo: Zoo) -> None:
    batch = batch_of(1)
    out = method_for(zoo, iterations=2, prompt_weight=0.0).stylize(
        batch, NoiseSource(5, batch.sample_ids)
    )
    torch.testing.assert_close(out, zoo.vqgan()(batch.images).clamp(-1, 1), atol=1e-5, rtol=0)


def test_latents_stay_in_the_codebooks_range(zoo: Zoo) -> None:
    codes = zoo.vqgan().quantize.embedding.weight
    low, high = codes.amin(0)[:, None, None], codes.amax(0)[:, None, None]
    method = method_for(zoo, iterations=3, learning_rate=5.0)
    z = method.optimise(source(), prompt_embedding(PROMPT), NoiseSource(0, ["a"]))
    assert (z >= low).all() and (z <= high).all()
    assert ((z == low) | (z == high)).float().mean() > 0.3  # a rate of 5 would leave it


@pytest.mark.parametrize(("size", "message"), [(33, "multiples of 2, .* they have 33x33 pixels")])
def test_a_resolution_that_does_not_fit_is_explained(zoo: Zoo, size: int, message: str) -> None:
    batch = batch_of(1, size)
    with pytest.raises(UsageError, match=message):
        method_for(zoo).stylize(batch, NoiseSource(0, batch.sample_ids))


@pytest.mark.parametrize(
    "values", [{"augments": ("Sh",)}, {"optimiser": "sgd"}, {"iterations": 0}, {"n_cuts": 0}]
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        VqganClipConfig(**values)
