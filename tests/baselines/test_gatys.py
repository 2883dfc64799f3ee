"""Gatys et al. against the authors' notebook, and its behaviour behind the common interface.

Golden numbers: ``tests/golden/make_gatys.py`` ran the notebook of
leongatys/PytorchNeuralStyleTransfer at be6c8e2 around a tiny VGG: its losses and their gradient at
one picture, and 40 evaluations of L-BFGS from its content image. All in float64, since float32's
rounding grows to 0.3 over these 40.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from baselines.gatys import Gatys, GatysConfig, gram_matrix
from benchmark.errors import UsageError
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.metrics import style_distances
from benchmark.noise import NoiseSource
from benchmark.zoo.vgg import IMAGENET_STD, VggFeatures
from tests.golden.make_gatys import RUN, input_pixels, tiny_vgg_state
from tests.golden.official_format import named_normal, picture
from tests.tiny_zoo import TinyZoo

GOLDEN = Path(__file__).parents[1] / "golden"
# of red, green, blue; torchvision rounds it to 0.485, 0.456, 0.406
OFFICIAL_MEAN = (0.48501961, 0.45795686, 0.40760392)


class OfficialMeanZoo(TinyZoo):
    """The tiny VGG with the mean that upstream subtracts."""

    def __init__(self) -> None:
        self._vgg = VggFeatures.from_state_dict(tiny_vgg_state())
        self._vgg.mean.copy_(torch.tensor(OFFICIAL_MEAN).view(3, 1, 1))


class PreciseZoo(OfficialMeanZoo):
    """The same in float64."""

    def __init__(self) -> None:
        super().__init__()
        self._vgg.double()
        self._vgg.mean.copy_(torch.tensor(OFFICIAL_MEAN, dtype=torch.float64).view(3, 1, 1))
        self._vgg.std.copy_(torch.tensor(IMAGENET_STD, dtype=torch.float64).view(3, 1, 1))


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "gatys.safetensors")


def prepared(zoo: TinyZoo | None = None, **config: Any) -> Gatys:
    method = Gatys(GatysConfig(**config))
    method.prepare(zoo or OfficialMeanZoo())  # type: ignore[arg-type]
    return method


def given(name: str) -> Tensor:
    """[1, 3, 32, 32] float64 in [0, 1]."""
    return torch.from_numpy(input_pixels(name)).permute(2, 0, 1)[None].double() / 255


def batch_of(*images: str, side: int = 16, style_side: int = 16) -> StyleBatch:
    requests = tuple(StyleRequest(f"{i}__s", i, "dogs", "s", None) for i in images)
    return StyleBatch(
        torch.cat([picture(f"content/{i}", side) for i in images]),
        requests,
        torch.cat([picture(f"style/{i}", style_side) for i in images]),
    )


def noise_of(batch: StyleBatch, seed: int = 0) -> NoiseSource:
    return NoiseSource(seed, batch.sample_ids)


def test_losses_and_gradient_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    method = prepared(PreciseZoo())
    targets = method.targets(given("content"), given("style"))
    for name, target in targets.items():
        torch.testing.assert_close(target, golden[f"target/{name}"], atol=1e-8, rtol=1e-8)
    pixels = (given("content") + given("style")).mul(255 / 2).requires_grad_()
    losses = method.losses(pixels / 255, targets)
    assert {f"loss/{name}" for name in losses} == {n for n in golden if n.startswith("loss/")}
    for name, loss in losses.items():
        torch.testing.assert_close(loss, golden[f"loss/{name}"], atol=0, rtol=1e-6)
    torch.stack(list(losses.values())).sum().backward()
    scale = golden["gradient"].abs().max()
    assert pixels.grad is not None
    torch.testing.assert_close(pixels.grad / scale, golden["gradient"] / scale, atol=1e-6, rtol=0)


def test_optimisation_equals_the_official_one(golden: dict[str, Tensor]) -> None:
    """All of the loop: units, step lengths, memory across calls, and where it ends."""
    method = prepared(PreciseZoo(), evaluations=RUN)
    seen = []
    method.vgg.register_forward_hook(lambda *_: seen.append(1))
    targets = method.targets(given("content"), given("style"))
    seen.clear()
    result = method.optimise(given("content"), targets)
    assert len(seen) == golden["evaluations"].item() == 40
    torch.testing.assert_close(result, golden["result"], atol=1e-5, rtol=0)
    assert (result - given("content")).abs().max() > 0.1


def test_defaults_are_those_of_the_notebook() -> None:
    config = GatysConfig()
    assert (config.evaluations, config.style_weight, config.content_weight) == (500, 1e3, 1)
    assert config.style_layers == style_distances.STYLE_LAYERS
    assert (config.content_layers, config.start) == (("conv4_2",), "content")


def test_gram_matrix_is_that_of_the_metric_and_blind_to_places() -> None:
    maps = named_normal("gatys/maps", (2, 5, 4, 6))
    gram = gram_matrix(maps)
    torch.testing.assert_close(gram.double(), style_distances.gram_matrix(maps))
    torch.testing.assert_close(gram, gram_matrix(maps.flip(3)))


def test_the_style_loss_falls_towards_the_style_and_content_holds_it_back() -> None:
    batch = batch_of("a", side=32, style_side=32)
    assert batch.style_images is not None
    content, style = (batch.images + 1) / 2, (batch.style_images + 1) / 2
    reached = {}
    for weight in (0.0, 1e4):
        method = prepared(evaluations=60, content_weight=weight)
        output = (method.stylize(batch, noise_of(batch)) + 1) / 2
        free = prepared()  # the losses are compared at weight 1
        terms = {n: v.item() for n, v in free.losses(output, free.targets(content, style)).items()}
        reached[weight] = (sum(v for n, v in terms.items() if n.startswith("style")),
                           terms["content/conv4_2"])  # fmt: skip
    start = free.losses(content, free.targets(content, style))
    before = sum(v.item() for n, v in start.items() if n.startswith("style"))
    assert reached[0.0][0] < 0.1 * before
    assert reached[0.0][0] < reached[1e4][0]
    assert reached[1e4][1] < 0.5 * reached[0.0][1]


def test_losses_too_small_for_the_tolerances_leave_the_start() -> None:
    """As upstream; what a new network's weights must be chosen against."""
    batch = batch_of("a")
    output = prepared(style_weight=1e-6, content_weight=0).stylize(batch, noise_of(batch))
    torch.testing.assert_close(output, batch.images, atol=1e-5, rtol=0)


def test_the_memory_layout_of_an_image_does_not_matter() -> None:
    batch = batch_of("a")
    method = prepared(evaluations=0)
    other = StyleBatch(
        batch.images.contiguous(memory_format=torch.channels_last), batch.requests,
        batch.style_images,
    )  # fmt: skip
    output = method.stylize(other, noise_of(other))
    assert torch.equal(output, method.stylize(batch, noise_of(batch)))


def test_a_style_equal_to_the_content_changes_nothing() -> None:
    batch = batch_of("a")
    same = StyleBatch(batch.images, batch.requests, batch.images)
    output = prepared().stylize(same, noise_of(same))
    torch.testing.assert_close(output, batch.images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("start", ["content", "noise"])
def test_a_sample_does_not_depend_on_its_neighbours(start: str) -> None:
    batch = batch_of("a", "b", "c")
    method = prepared(evaluations=10, start=start)
    state = torch.get_rng_state()
    copies = batch.images.clone(), batch.style_images.clone()  # type: ignore[union-attr]
    together = method.stylize(batch, noise_of(batch))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(batch.images, copies[0]) and torch.equal(batch.style_images, copies[1])  # type: ignore[arg-type]
    assert together.shape == batch.images.shape and together.dtype == torch.float32
    assert together.abs().max() <= 1 and not together.requires_grad
    alone = StyleBatch(batch.images[1:2], batch.requests[1:2], copies[1][1:2])
    assert torch.equal(method.stylize(alone, noise_of(alone)), together[1:2])
    other = method.stylize(alone, noise_of(alone, seed=1))
    assert torch.equal(other, together[1:2]) == (start == "content")


def test_it_works_where_gradients_are_switched_off() -> None:
    batch = batch_of("a")
    method = prepared(evaluations=0)
    expected = method.stylize(batch, noise_of(batch))
    with torch.no_grad():
        assert torch.equal(method.stylize(batch, noise_of(batch)), expected)
    assert not torch.equal(expected, batch.images)


def test_a_style_image_may_have_another_size() -> None:
    batch = batch_of("a", side=16, style_side=40)
    output = prepared(evaluations=0).stylize(batch, noise_of(batch))
    assert output.shape == (1, 3, 16, 16) and output.isfinite().all()


def test_a_broken_sample_breaks_alone() -> None:
    batch = batch_of("a", "b")
    images = batch.images.clone()
    images[0, 0, 3, 3] = float("nan")
    broken = StyleBatch(images, batch.requests, batch.style_images)
    output = prepared(evaluations=0).stylize(broken, noise_of(broken))
    assert not output[0].isfinite().all()
    assert output[1].isfinite().all()


def test_no_style_image_is_refused() -> None:
    batch = batch_of("a")
    with pytest.raises(UsageError, match="guided by a style image and there is none"):
        prepared().stylize(StyleBatch(batch.images, batch.requests), noise_of(batch))


@pytest.mark.parametrize(
    ("sides", "what"), [((8, 16), "images have 8x8"), ((16, 8), "style images have 8x8")]
)
def test_images_too_small_for_the_deepest_layer_are_refused(
    sides: tuple[int, int], what: str
) -> None:
    batch = batch_of("a", side=sides[0], style_side=sides[1])
    with pytest.raises(UsageError, match=f"conv5_1 needs sides of at least 16 pixels, .*{what}"):
        prepared().stylize(batch, noise_of(batch))
    shallow = prepared(evaluations=0, style_layers=("conv1_1", "conv3_1"))
    assert np.isfinite(shallow.stylize(batch, noise_of(batch)).numpy()).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"style_layers": ("relu1_1",)}, "unknown VGG layer 'relu1_1': choose among conv1_1"),
        ({"content_layers": ()}, "at least 1 item"),
        ({"style_layers": ("conv1_1", "conv1_1")}, "each layer counts once"),
        ({"style_weight": -1}, "greater than or equal to 0"),
        ({"start": "style"}, "'content' or 'noise'"),
        ({"max_iter": 3}, "Extra inputs are not permitted"),
    ],
)
def test_bad_config_is_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatysConfig(**values)
