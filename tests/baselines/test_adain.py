"""AdaIN against the code it follows, and its behaviour behind the common interface.

Golden numbers: ``tests/golden/make_adain.py`` ran ``test.py`` and ``function.py`` of
naoto0804/pytorch-AdaIN at 47950d0 with tiny networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from baselines.adain import AdaIn, AdaInConfig, coral
from benchmark.errors import UsageError
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.zoo.adain import AdaInDecoder, NormalisedVgg
from tests.golden.adain_case import ALPHA, decoder_state, image, vgg_state
from tests.golden.official_format import picture

GOLDEN = Path(__file__).parents[1] / "golden"
SIZE = 32


class AdaInZoo:
    """The networks of the golden numbers, in the roles of the zoo."""

    def __init__(self) -> None:
        self.encoder = NormalisedVgg.from_state_dict(vgg_state())
        self.decoder = AdaInDecoder.from_state_dict(decoder_state())

    def adain_encoder(self) -> NormalisedVgg:
        return self.encoder

    def adain_decoder(self) -> AdaInDecoder:
        return self.decoder


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "adain.safetensors")


def prepared(zoo: AdaInZoo | None = None, **config: Any) -> AdaIn:
    method = AdaIn(AdaInConfig(**config))
    method.prepare(zoo or AdaInZoo())  # type: ignore[arg-type]
    return method


def batch_of(*images: str, side: int = SIZE, style_side: int = SIZE) -> StyleBatch:
    requests = tuple(StyleRequest(f"{i}__s", i, "dogs", "s", None) for i in images)
    return StyleBatch(
        torch.cat([picture(f"content/{i}", side) for i in images]),
        requests,
        torch.cat([picture(f"style/{i}", style_side) for i in images]),
    )


def stylised(method: AdaIn, batch: StyleBatch) -> Tensor:
    return method.stylize(batch, NoiseSource(0, batch.sample_ids))


@pytest.mark.parametrize(
    ("config", "name"),
    [({}, "shown"), ({"alpha": ALPHA}, "shown/alpha"),
     ({"preserve_color": True}, "shown/preserve_color")],
)  # fmt: skip
def test_a_whole_pass_equals_the_official_one(
    golden: dict[str, Tensor], config: dict[str, Any], name: str
) -> None:
    request = (StyleRequest("c__s", "c", "dogs", "s", None),)
    batch = StyleBatch(image("content") * 2 - 1, request, image("style") * 2 - 1)
    output = (stylised(prepared(**config), batch) + 1) / 2
    # the script's file is clipped by torchvision when it is saved
    torch.testing.assert_close(output, golden[name].clamp(0, 1), atol=1e-5, rtol=0)
    inside = (golden[name] > 0) & (golden[name] < 1)
    assert inside.float().mean() > 0.2
    if config:
        assert (golden[name] - golden["shown"]).abs().max() > 0.01


def test_colours_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    recoloured = coral(image("style")[0].double(), image("content")[0].double())
    torch.testing.assert_close(recoloured.float(), golden["coral"], atol=1e-5, rtol=0)


def test_recoloured_pictures_have_the_targets_colours() -> None:
    """Means and deviations, and nearly the correlations: the added identity is one of N pixels."""
    source, target = image("style", 64)[0].double(), image("content", 48)[0].double()
    moved = coral(source, target).flatten(1)
    wanted = target.flatten(1)
    torch.testing.assert_close(moved.mean(1), wanted.mean(1))
    torch.testing.assert_close(moved.corrcoef(), wanted.corrcoef(), atol=0.01, rtol=0)
    before = (source.flatten(1).corrcoef() - wanted.corrcoef()).abs().max()
    assert before > 0.1
    same = coral(source, source)
    torch.testing.assert_close(same, source)


def test_a_picture_of_one_colour_is_recoloured_without_nan() -> None:
    flat = torch.full((3, 16, 16), 0.3, dtype=torch.float64)
    target = image("content")[0].double()
    moved = coral(flat, target)
    assert moved.isfinite().all()
    torch.testing.assert_close(moved.mean((1, 2)), target.mean((1, 2)))
    batch = batch_of("a")
    grey = StyleBatch(batch.images, batch.requests, torch.zeros(1, 3, 16, 16))
    assert stylised(prepared(preserve_color=True), grey).isfinite().all()


def test_without_style_the_decoder_gets_the_contents_features() -> None:
    zoo = AdaInZoo()
    batch = batch_of("a")
    output = stylised(prepared(zoo, alpha=0.0), batch)
    features = zoo.encoder((batch.images + 1) / 2, ("conv4_1",))["conv4_1"]
    torch.testing.assert_close((output + 1) / 2, zoo.decoder(features).clamp(0, 1))
    same = StyleBatch(batch.images, batch.requests, batch.images)
    torch.testing.assert_close(stylised(prepared(zoo), same), output, atol=1e-4, rtol=0)


def test_stylised_features_have_the_statistics_of_the_style() -> None:
    zoo, batch = AdaInZoo(), batch_of("a", style_side=48)
    seen = []
    zoo.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    stylised(prepared(zoo), batch)
    assert batch.style_images is not None
    style = zoo.encoder((batch.style_images + 1) / 2, ("conv4_1",))["conv4_1"]
    content = zoo.encoder((batch.images + 1) / 2, ("conv4_1",))["conv4_1"]
    varied = (style.std((2, 3)) > 0.05) & (content.std((2, 3)) > 0.05)
    assert varied.sum() >= 3
    mixed = seen[-1]
    torch.testing.assert_close(mixed.mean((2, 3)), style.mean((2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        mixed.std((2, 3))[varied], style.std((2, 3))[varied], atol=0, rtol=1e-2
    )


@pytest.mark.parametrize("preserve_color", [False, True])
def test_a_sample_does_not_depend_on_its_neighbours(preserve_color: bool) -> None:
    batch = batch_of("a", "b", "c")
    method = prepared(preserve_color=preserve_color)
    state = torch.get_rng_state()
    assert batch.style_images is not None
    copies = batch.images.clone(), batch.style_images.clone()
    together = stylised(method, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(batch.images, copies[0]) and torch.equal(batch.style_images, copies[1])
    assert together.shape == batch.images.shape and together.dtype == torch.float32
    assert together.abs().max() <= 1 and not together.requires_grad
    alone = StyleBatch(batch.images[1:2], batch.requests[1:2], copies[1][1:2])
    torch.testing.assert_close(stylised(method, alone), together[1:2], atol=1e-5, rtol=0)
    swapped = StyleBatch(batch.images[1:2], batch.requests[1:2], copies[1][:1])
    assert (stylised(method, swapped) - together[1:2]).abs().max() > 0.01
    # nothing in it is drawn
    other = method.stylize(alone, NoiseSource(7, alone.sample_ids))
    assert torch.equal(other, stylised(method, alone))


@pytest.mark.parametrize("preserve_color", [False, True])
@pytest.mark.parametrize("where", ["images", "style_images"])
def test_a_broken_sample_breaks_alone(preserve_color: bool, where: str) -> None:
    batch = batch_of("a", "b")
    pictures = {name: getattr(batch, name).clone() for name in ("images", "style_images")}
    pictures[where][0, :, 3, 3] = float("nan")
    broken = StyleBatch(pictures["images"], batch.requests, pictures["style_images"])
    output = stylised(prepared(preserve_color=preserve_color), broken)
    assert not output[0].isfinite().all()
    assert output[1].isfinite().all()


def test_no_style_image_is_refused() -> None:
    batch = batch_of("a")
    with pytest.raises(UsageError, match="guided by a style image and there is none"):
        stylised(prepared(), StyleBatch(batch.images, batch.requests))


@pytest.mark.parametrize(
    ("side", "style_side", "message"),
    [
        (36, 32, "multiples of 8 and at least 16, but they have 36x36 pixels"),
        (8, 32, "multiples of 8 and at least 16, but they have 8x8 pixels"),
        (32, 15, "style images with sides of at least 16 pixels, but they have 15x15"),
    ],
)
def test_images_that_do_not_fit_are_refused(side: int, style_side: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        stylised(prepared(), batch_of("a", side=side, style_side=style_side))


def test_a_style_image_may_have_another_size() -> None:
    output = stylised(prepared(), batch_of("a", style_side=45))
    assert output.shape == (1, 3, SIZE, SIZE) and output.isfinite().all()


def test_networks_that_were_not_trained_together_are_refused() -> None:
    zoo = AdaInZoo()
    with torch.random.fork_rng(devices=[]):
        zoo.decoder = AdaInDecoder((7, 4, 4, 3))
    message = r"reads 7 channels of conv2_1, but the encoder \(role 'adain-encoder'\) gives 6"
    with pytest.raises(UsageError, match=message):
        prepared(zoo)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 1.5}, "less than or equal to 1"),
        ({"alpha": -0.1}, "greater than or equal to 0"),
        ({"style_weight": 1}, "Extra inputs are not permitted"),
    ],
)
def test_bad_config_is_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaInConfig(**values)


def test_defaults_are_those_of_the_script() -> None:
    assert AdaInConfig() == AdaInConfig(alpha=1.0, preserve_color=False)
