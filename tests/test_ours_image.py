"""Ours towards a style image and towards mixtures, on tiny networks with fixed random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.image_guided import ImageGuidedConfig, ImageGuidedDiffusion
from benchmark.errors import UsageError
from benchmark.guidance.gram import gram_distance, gram_matrix
from benchmark.interface import StyleBatch, StylePart, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.ours import QSAttnStyleTransfer
from benchmark.ours_config import QSAttnConfig
from benchmark.ours_image import (
    QSAttnImageConfig,
    QSAttnImageStyleTransfer,
    QSAttnMultiStyleTransfer,
)
from tests.golden.official_format import picture
from tests.tiny_zoo import TinyZoo

# a weak guide on tiny random networks: they answer to pixels far more violently than trained ones
SMALL: dict[str, Any] = {
    "respacing": 10, "t0": 3, "reverse_process": "ddim", "n_patches": 3, "anchors": 20, "window": 3,
    "clip_global_patch": 20.0, "clip_dir_patch": 40.0, "contrastive": 1.0, "mse": 200.0, "vgg": 5.0,
    "range": 0.1,
}  # fmt: skip
IMAGE = {**SMALL, "gram": 5.0}


@pytest.fixture(scope="module")
def zoo() -> TinyZoo:
    return TinyZoo(calm=0.1)


def request(image: str, style: str, prompt: str | None = None) -> StyleRequest:
    return StyleRequest(f"{image}__{style}", image, "dogs", style, prompt, "Photo")


CONTENT = torch.cat([picture(f"ours/{i}", 32) for i in ("a", "a", "b")])
STYLES = torch.cat([picture(f"style/{i}", 32) for i in ("waves", "night", "waves")])
SHOWN = StyleBatch(
    CONTENT, (request("a", "waves"), request("a", "night"), request("b", "waves")), STYLES
)


def prepared(method: Any, zoo: TinyZoo) -> Any:
    method.prepare(zoo)
    return method


def run(method: Any, batch: StyleBatch) -> Tensor:
    out: Tensor = method.stylize(batch, NoiseSource(0, batch.sample_ids))
    return out


def image_method(zoo: TinyZoo, **changes: Any) -> Any:
    config = QSAttnImageConfig(**{**IMAGE, **changes})
    return prepared(QSAttnImageStyleTransfer(config), zoo)


def multi_method(zoo: TinyZoo, **changes: Any) -> Any:
    config = QSAttnImageConfig(**{**IMAGE, **changes})
    return prepared(QSAttnMultiStyleTransfer(config), zoo)


@pytest.mark.parametrize("changes", [{}, {"style_view": "whole"}, {"gram": 0.0}, {"vgg": 0.0}])
def test_a_sample_does_not_depend_on_its_batch(zoo: TinyZoo, changes: dict[str, Any]) -> None:
    method = image_method(zoo, **changes)
    before = [CONTENT.clone(), STYLES.clone(), torch.get_rng_state()]
    together = run(method, SHOWN)
    assert together.isfinite().all() and not together.requires_grad
    for index in range(3):
        alone = run(method, SHOWN.sample(index))
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-3, rtol=1e-3)
    after = [SHOWN.images, SHOWN.style_images, torch.get_rng_state()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_style_image_decides(zoo: TinyZoo) -> None:
    method = image_method(zoo)
    out = run(method, SHOWN)
    # the same sample with the same noise, towards another picture
    swapped = StyleBatch(CONTENT[:1], SHOWN.requests[:1], STYLES[1:2])
    assert (run(method, swapped)[0] - out[0]).abs().max() > 0.1


def test_a_mixture_of_one_image_is_the_run_by_that_image(zoo: TinyZoo) -> None:
    mixed = StyleBatch(
        CONTENT, SHOWN.requests, mixtures=tuple((StylePart(1.0, image=s),) for s in STYLES)
    )
    assert torch.equal(run(multi_method(zoo), mixed), run(image_method(zoo), SHOWN))


def test_a_mixture_of_one_prompt_is_our_run_by_that_prompt(zoo: TinyZoo) -> None:
    requests = tuple(request(i, "gold", "gold") for i in ("a", "b"))
    images = CONTENT[[0, 2]]
    ours = prepared(QSAttnStyleTransfer(QSAttnConfig(**SMALL)), zoo)
    mixed = StyleBatch(images, requests, mixtures=((StylePart(1.0, "gold"),),) * 2)
    assert torch.equal(run(multi_method(zoo), mixed), run(ours, StyleBatch(images, requests)))


def mixture(*parts: StylePart) -> StyleBatch:
    return StyleBatch(CONTENT[:1], (request("a", "mix"),), mixtures=(parts,))


def test_the_order_of_the_parts_does_not_matter_and_the_weights_do(zoo: TinyZoo) -> None:
    method = multi_method(zoo)
    gold, waves = StylePart(0.7, "gold"), StylePart(0.3, image=STYLES[0])
    out = run(method, mixture(gold, waves))
    torch.testing.assert_close(run(method, mixture(waves, gold)), out, atol=1e-3, rtol=1e-3)
    other = run(method, mixture(StylePart(0.3, "gold"), StylePart(0.7, image=STYLES[0])))
    assert (other - out).abs().max() > 1e-2


def test_a_part_in_two_halves_is_the_part(zoo: TinyZoo) -> None:
    method = multi_method(zoo)
    whole = run(method, mixture(StylePart(0.5, "gold"), StylePart(0.5, "brick")))
    halves = mixture(StylePart(0.25, "gold"), StylePart(0.25, "gold"), StylePart(0.5, "brick"))
    torch.testing.assert_close(run(method, halves), whole, atol=1e-3, rtol=1e-3)


def test_samples_of_a_batch_may_have_mixtures_of_different_lengths(zoo: TinyZoo) -> None:
    method = multi_method(zoo)
    parts = (
        (StylePart(1.0, "gold"),),
        (StylePart(0.2, "brick"), StylePart(0.3, image=STYLES[1]), StylePart(0.5, "clay")),
        (StylePart(0.5, image=STYLES[0]), StylePart(0.5, "gold")),
    )
    batch = StyleBatch(CONTENT, SHOWN.requests, mixtures=parts)
    together = run(method, batch)
    for index in range(3):
        torch.testing.assert_close(
            run(method, batch.sample(index)), together[index : index + 1], atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("weights", [(0.5, 0.4), (0.9, 0.9)])
def test_weights_off_the_simplex_are_refused(zoo: TinyZoo, weights: tuple[float, float]) -> None:
    parts = [StylePart(w, p) for w, p in zip(weights, ("gold", "brick"), strict=True)]
    with pytest.raises(UsageError, match="not to 1"):
        run(multi_method(zoo), mixture(*parts))


def test_a_part_is_either_a_prompt_or_an_image() -> None:
    for parts in ({}, {"prompt": "gold", "image": STYLES[0]}):
        with pytest.raises(ValueError, match="either a prompt or a style image"):
            StylePart(1.0, **parts)  # type: ignore[arg-type]


def test_each_method_refuses_the_wrong_kind_of_guidance(zoo: TinyZoo) -> None:
    by_prompt = StyleBatch(CONTENT[:1], (request("a", "gold", "gold"),))
    for method, words in ((image_method(zoo), "--style-images"), (multi_method(zoo), "--mix")):
        with pytest.raises(UsageError, match=words):
            run(method, by_prompt)
    ours = prepared(QSAttnStyleTransfer(QSAttnConfig(**SMALL)), zoo)
    with pytest.raises(UsageError, match="--prompt"):
        run(ours, SHOWN)


def test_gram_distance_is_frobenius_over_channels_and_forgets_places() -> None:
    maps = {"x": torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))}
    shuffled = {"x": maps["x"].flatten(2)[..., torch.arange(15, -1, -1)].view(2, 3, 4, 4)}
    wanted = {"x": gram_matrix(shuffled["x"])}
    torch.testing.assert_close(gram_distance(maps, wanted), torch.zeros(2), atol=1e-6, rtol=0)
    target = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1))
    by_hand = [
        float(torch.linalg.matrix_norm(maps["x"][i].flatten(1) @ maps["x"][i].flatten(1).T / 16
                                       - target[i], "fro") / 3)
        for i in range(2)
    ]  # fmt: skip
    assert gram_distance(maps, {"x": target}).tolist() == pytest.approx(by_hand, rel=1e-5)


def test_guidance_lowers_the_gram_distance_to_the_style(zoo: TinyZoo) -> None:
    quiet = dict.fromkeys(
        ("clip_global_patch", "clip_dir_patch", "contrastive", "mse", "vgg", "range"), 0.0
    )
    layers = QSAttnImageConfig().gram_layers

    def distance(out: Tensor) -> Tensor:
        wanted = {k: gram_matrix(v) for k, v in zoo.vgg()(STYLES, layers).items()}
        return gram_distance(zoo.vgg()(out, layers), wanted)

    # no noise in the reverse process: what differs is the guidance
    plain, weak, strong = (
        distance(run(image_method(zoo, **quiet, gram=weight, t0=6), SHOWN))
        for weight in (0.0, 0.1, 0.3)
    )
    assert (weak < plain).all() and (strong < weak).all()


def test_image_guided_diffusion_uses_the_posters_losses(zoo: TinyZoo) -> None:
    config = ImageGuidedConfig()
    assert (config.clip_global_patch, config.clip_dir_patch, config.clip_dir) == (0, 0, 0)
    assert min(config.mse, config.vgg, config.contrastive, config.clip_global, config.gram) > 0
    small = {**IMAGE, "clip_global": 20.0, "clip_global_patch": 0.0, "clip_dir_patch": 0.0}
    method = prepared(ImageGuidedDiffusion(ImageGuidedConfig(**small)), zoo)
    out = run(method, SHOWN)
    assert out.isfinite().all() and (out[0] - out[1]).abs().max() > 1e-3


def test_an_unknown_layer_is_a_config_error() -> None:
    with pytest.raises(ValueError, match=r"unknown VGG layer 'relu4_1': choose among conv1_1"):
        QSAttnImageConfig(gram_layers=("relu4_1",))
