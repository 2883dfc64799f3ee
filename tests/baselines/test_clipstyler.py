"""CLIPstyler against its official script, and its behaviour behind the common interface.

Golden numbers: ``tests/golden/make_clipstyler.py`` ran the official ``train_CLIPstyler.py``
(cyclomon/CLIPstyler 4843cec) around tiny networks with given crops and given initial weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms import functional as tv
from torchvision.utils import make_grid

import baselines.clipstyler
from baselines.clipstyler import (
    ClipStyler,
    ClipStylerConfig,
    learning_rate,
    rejecting_mean,
    shown,
    templated,
    total_variation,
)
from baselines.clipstyler_network import (
    StyleNetwork,
    Windows,
    cut_windows,
    draw_windows,
    fresh_network,
    resize,
)
from benchmark.errors import UsageError
from benchmark.guidance.crops import perspective_map
from benchmark.guidance.style import StyleTarget
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from tests.golden import make_clipstyler as golden_case
from tests.golden.make_clipstyler import CHANNELS, CROP, CROPS, RUN, SIZE
from tests.golden.official_format import filled_state, picture, shapes_of
from tests.tiny_zoo import TinyZoo

GOLDEN = Path(__file__).parents[1] / "golden"
REQUEST = StyleRequest("i__p", "i", "dogs", "p", golden_case.PROMPT, golden_case.SOURCE_PROMPT)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def zoo() -> TinyZoo:
    return TinyZoo()


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "clipstyler.safetensors")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The crops and initial weights of the official runs in place of random ones."""
    monkeypatch.setattr(baselines.clipstyler, "draw_windows", given_windows)
    monkeypatch.setattr(baselines.clipstyler, "fresh_network", lambda *_: given_network())


def given_windows(noise: NoiseSource, purpose: str, count: int, **_: Any) -> Windows:
    corners, inward = golden_case.windows(int(purpose.removeprefix("windows/")))
    assert count == len(corners)
    return Windows(corners, inward)


def given_network() -> StyleNetwork:
    network = StyleNetwork(CHANNELS)
    network.load_state_dict(filled_state(shapes_of(network), "clipstyler"))
    return network


def source() -> Tensor:
    """[1, 3, 32, 32] in [-1, 1]."""
    pixels = torch.from_numpy(golden_case.source_pixels())
    return pixels.permute(2, 0, 1)[None].float().div(255).mul(2).sub(1)


def method_for(zoo: TinyZoo, **changes: Any) -> ClipStyler:
    values = {
        "n_patches": CROPS, "patch_side": CROP / SIZE, "channels": CHANNELS,
        "threshold": golden_case.THRESHOLD,
    }  # fmt: skip
    method = ClipStyler(ClipStylerConfig(**(values | changes)))
    method.prepare(zoo)
    return method


def golden_style(method: ClipStyler) -> StyleTarget:
    return StyleTarget(
        method._embed_text(golden_case.PROMPT), method._embed_text(golden_case.SOURCE_PROMPT)
    )


def test_losses_and_gradients_equal_the_official_ones(
    zoo: TinyZoo, golden: dict[str, Tensor]
) -> None:
    method = method_for(zoo)
    style, image = golden_style(method), (source() + 1) / 2
    network = given_network()
    output = network(image)
    torch.testing.assert_close(output, golden["output/0"], atol=1e-5, rtol=0)
    wanted = method.vgg(image, method.config.vgg_layers)
    windows = given_windows(NoiseSource(0, ["a"]), "windows/0", CROPS)
    total = method.losses(output, style, method._embed(image, "bicubic"), wanted, windows, CROP)
    for name, value in total.values.items():
        torch.testing.assert_close(
            value[0], golden[f"loss/{name}"], atol=0, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert len(total.values) == 4
    output.backward(total.total)
    names = [key.removeprefix("gradient/") for key in golden if key.startswith("gradient/")]
    assert sorted(names) == sorted(golden_case.GRADIENTS)
    for name in names:
        expected = golden[f"gradient/{name}"]
        mine, scale = network.get_parameter(name).grad, expected.abs().max()
        torch.testing.assert_close(mine / scale, expected / scale, atol=1e-4, rtol=0)


def test_warped_crops_and_text_direction_equal_the_official_ones(
    zoo: TinyZoo, golden: dict[str, Tensor]
) -> None:
    windows = given_windows(NoiseSource(0, ["a"]), "windows/0", CROPS)
    crops = resize(cut_windows(golden["output/0"], windows, CROP), 16, "bilinear")
    torch.testing.assert_close(crops, golden["crops"], atol=1e-5, rtol=0)
    style = golden_style(method_for(zoo))
    direction = F.normalize(style.target - style.source, dim=-1)
    torch.testing.assert_close(direction, golden["text_direction"], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("given")
def test_training_steps_equal_the_official_ones(zoo: TinyZoo, golden: dict[str, Tensor]) -> None:
    """The network's answer after each of the first updates."""
    image = (source() + 1) / 2
    for steps in range(1, RUN + 1):
        method = method_for(zoo, steps=steps)
        style = golden_style(method)
        network = method.optimise(image, style, NoiseSource(0, ["a"]), CROP)
        expected = golden[f"output/{steps}"]
        torch.testing.assert_close(network(image), expected, atol=1e-4, rtol=0)
        # it would mean nothing if an update did nothing
        assert (expected - golden[f"output/{steps - 1}"]).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures("given")
def test_the_whole_run_shows_the_official_picture(zoo: TinyZoo, golden: dict[str, Tensor]) -> None:
    """200 updates, halved rates, contrast and stretching.

    The first updates are compared to 1e-4 above. By the last one another processor's rounding has
    grown to a tenth of what the updates change; the picture is the same to the eye.
    """
    out = method_for(zoo).stylize(StyleBatch(source(), (REQUEST,)), NoiseSource(0, ["i__p"]))
    expected = golden["shown/200"] * 2 - 1
    start = golden["shown/0"] * 2 - 1
    changed = (expected - start).abs().mean()
    assert changed > 0.5
    assert (out - expected).abs().mean() < changed / 4

    def likeness(picture: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([picture.flatten(), expected.flatten()]))[0, 1])

    assert likeness(out) > 0.95 > 0.5 > likeness(start)


def test_learning_rates_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    mine = torch.tensor([learning_rate(ClipStylerConfig(), k) for k in range(201)]).double()
    torch.testing.assert_close(mine, golden["rates"], atol=0, rtol=1e-6)
    assert golden["rates"][98] == 2 * golden["rates"][99]


def test_prompts_fill_all_but_one_of_openais_templates() -> None:
    sentences = templated("Golden")
    assert len(sentences) == len(set(sentences)) == 79
    assert {"a bad photo of a Golden.", "a tattoo of the Golden."} < set(sentences)
    assert "a photo of many Golden." not in sentences


def test_prompt_embedding_is_the_unit_mean_over_the_templates(zoo: TinyZoo) -> None:
    mean = zoo.clip("guide").encode_text(templated("x")).mean(0, keepdim=True)
    torch.testing.assert_close(method_for(zoo)._embed_text("x"), mean / mean.norm())
    plain = zoo.clip("guide").encode_text(["x"])
    torch.testing.assert_close(
        method_for(zoo, templates=False)._embed_text("x"), plain / plain.norm()
    )


def test_defaults_are_those_of_the_script() -> None:
    config = ClipStylerConfig()
    assert (config.clip_dir_patch, config.clip_dir, config.content, config.tv) == (
        9000, 500, 150, 2e-3,
    )  # fmt: skip
    assert (config.n_patches, config.threshold, config.steps) == (64, 0.7, 200)
    assert (config.learning_rate, config.channels) == (5e-4, 16)
    assert config.patch_side * 512 == 128


def test_near_crops_are_rejected_and_pull_no_more() -> None:
    distances = torch.tensor([[0.2, 0.7, 1.1, 0.69]], requires_grad=True)
    loss = rejecting_mean(distances, 0.7)
    torch.testing.assert_close(loss, torch.tensor([1.8 / 4]))
    loss.sum().backward()
    assert distances.grad is not None
    assert distances.grad.tolist() == [[0, 0.25, 0.25, 0]]


def test_total_variation_is_the_sum_of_four_norms_for_each_image() -> None:
    ramp = torch.arange(5.0).expand(1, 3, 4, 5)  # one more at each column
    right, down, diagonal = 3 * 4 * 4, 0, 3 * 3 * 4
    expected = right**0.5 + down + 2 * diagonal**0.5
    torch.testing.assert_close(
        total_variation(torch.cat([ramp, 0 * ramp, 2 * ramp])),
        torch.tensor([expected, 0, 2 * expected]),
    )


def test_shown_picture_is_torchvisions_contrast_and_range() -> None:
    image = picture("shown", 24) * 0.4 + 0.4
    expected = make_grid(tv.adjust_contrast(image.clamp(0, 1), 1.5), normalize=True)
    torch.testing.assert_close(shown(image, 1.5, True)[0], expected)
    torch.testing.assert_close(shown(image, 1.0, False), image.clamp(0, 1))
    both = torch.cat([image, 0.3 * image])
    torch.testing.assert_close(shown(both, 1.5, True)[:1], shown(image, 1.5, True))


@pytest.mark.parametrize(("size", "target", "mode"), [(12, 16, "bilinear"), (40, 16, "bicubic")])
def test_resize_is_the_interpolation_without_antialiasing(
    size: int, target: int, mode: str
) -> None:
    image = picture("resize", size)
    expected = F.interpolate(image, (target, target), mode=mode, align_corners=False)
    torch.testing.assert_close(resize(image, target, mode), expected, atol=1e-5, rtol=0)


def test_unwarped_window_is_the_crop_moved_by_half_a_pixel() -> None:
    ramp = torch.arange(20.0).expand(1, 3, 20, 20).contiguous()
    windows = Windows(torch.tensor([[5, 2], [8, 8]]), torch.zeros(2, 4, 2))
    crops = cut_windows(ramp, windows, 8)
    assert crops.shape == (2, 3, 8, 8)
    # column k shows k + 1/2 - 1/2: torchvision's corners are pixel indices, its grid has centres
    columns = torch.arange(5.0, 13.0)
    torch.testing.assert_close(crops[0, :, 3], columns.expand(3, 8), atol=1e-4, rtol=0)


def test_a_horizon_through_a_crop_leaves_it_finite() -> None:
    inward = torch.tensor([[[0, 2], [3, 1], [3, 1], [3, 3]]]).double()  # NaN in torchvision
    centres = (2 * torch.arange(12).double() + 1) / 11 - 1
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    points = torch.stack([u, v, torch.ones_like(u)]).flatten(1)
    depth = (perspective_map(2 * inward / 11) @ points)[:, 2]
    assert depth.abs().min() < 1e-6
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    crops = cut_windows(image, Windows(torch.tensor([[3, 4]]), inward), 12)
    crops.pow(2).sum().backward()
    assert image.grad is not None
    assert crops.isfinite().all() and image.grad.isfinite().all()
    assert crops[0, :, 11, 0].abs().max() == 0  # beyond the horizon


def test_drawn_windows_lie_in_the_image_and_reach_its_borders() -> None:
    windows = draw_windows(NoiseSource(3, ["a"]), "w", 4000, image=(24, 40), side=8, distortion=0.5)
    assert windows.corners.amin(0).tolist() == [0, 0]
    assert windows.corners.amax(0).tolist() == [40 - 8, 24 - 8]
    assert windows.inward.unique().tolist() == [0, 1, 2]
    still = draw_windows(NoiseSource(3, ["a"]), "w", 9, image=(24, 40), side=8, distortion=0.0)
    assert still.inward.abs().max() == 0


def test_initial_weights_are_pytorchs_default_but_the_samples_own() -> None:
    before = torch.get_rng_state()
    network = fresh_network(16, NoiseSource(1, ["a"]))
    assert torch.equal(before, torch.get_rng_state())
    for name, value in StyleNetwork(16).named_parameters():
        mine = network.get_parameter(name)
        assert mine.requires_grad and mine.shape == value.shape
        mine, value = mine.detach(), value.detach()
        if value.numel() > 1000:
            assert mine.abs().max() == pytest.approx(value.abs().max().item(), rel=0.01)
            assert mine.std() == pytest.approx(value.std().item(), rel=0.05)
    again, other = (fresh_network(16, NoiseSource(1, [name])) for name in ("a", "b"))
    assert torch.equal(again.conv_fin.weight, network.conv_fin.weight)
    assert not torch.equal(other.conv_fin.weight, network.conv_fin.weight)


def batch_of(count: int, size: int = SIZE) -> StyleBatch:
    requests = tuple(
        StyleRequest(f"{i}__p", str(i), "dogs", "p", f"style {i}") for i in range(count)
    )
    return StyleBatch(torch.cat([picture(f"batch {i}", size) for i in range(count)]), requests)


def test_a_sample_does_not_depend_on_its_neighbours_or_on_the_global_generator(
    zoo: TinyZoo,
) -> None:
    batch, method = batch_of(3), method_for(zoo, steps=3)
    images, state = batch.images.clone(), torch.get_rng_state()
    together = method.stylize(batch, NoiseSource(5, batch.sample_ids))
    assert torch.equal(batch.images, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert together.shape == batch.images.shape and together.dtype == torch.float32
    assert not together.requires_grad
    assert together.min() >= -1 and together.max() <= 1
    torch.manual_seed(99)
    alone = StyleBatch(batch.images[1:2], batch.requests[1:2])
    with torch.no_grad():
        single = method.stylize(alone, NoiseSource(5, alone.sample_ids))
    assert torch.equal(together[1:2], single)
    other = method.stylize(alone, NoiseSource(6, alone.sample_ids))
    assert (single - other).abs().max() > 0.01


def test_a_broken_sample_breaks_alone(zoo: TinyZoo) -> None:
    batch = batch_of(2)
    images = batch.images.clone()
    images[0, 0, 3, 3] = float("nan")
    out = method_for(zoo, steps=2).stylize(
        StyleBatch(images, batch.requests), NoiseSource(5, batch.sample_ids)
    )
    assert not out[0].isfinite().all()
    assert out[1].isfinite().all()


def test_a_loss_without_weight_has_no_say(zoo: TinyZoo) -> None:
    """With no loss at all the network stays as it was drawn."""
    nothing = dict.fromkeys(("clip_dir_patch", "clip_dir", "content", "tv"), 0.0)
    batch = batch_of(1)
    style = golden_style(method_for(zoo))
    noise = NoiseSource(5, batch.sample_ids)
    image = (batch.images + 1) / 2
    untrained = fresh_network(CHANNELS, noise)(image)
    still = method_for(zoo, steps=2, **nothing).optimise(image, style, noise, CROP)(image)
    assert torch.equal(still, untrained)
    for name in nothing:
        method = method_for(zoo, steps=2, **(nothing | {name: 1.0}))
        moved = method.optimise(image, style, noise, CROP)(image)
        assert (moved - untrained).abs().max() > 1e-4, name


@pytest.mark.parametrize(
    ("size", "changes", "message"),
    [
        (20, {}, "multiples of 8 and at least 16, but they have 20x20 pixels"),
        (8, {}, "multiples of 8 and at least 16, but they have 8x8 pixels"),
        (32, {"patch_side": 0.02}, "gives crops of 1 pixels: set it to 0.0625 or more"),
        (32, {"vgg_layers": ("conv9_9",)}, "unknown VGG layer 'conv9_9'"),
    ],
)
def test_what_cannot_work_is_explained(
    zoo: TinyZoo, size: int, changes: dict[str, Any], message: str
) -> None:
    batch = batch_of(1, size)
    with pytest.raises(UsageError, match=message):
        method_for(zoo, steps=1, **changes).stylize(batch, NoiseSource(5, batch.sample_ids))


def test_an_empty_prompt_is_refused_although_templates_have_words(zoo: TinyZoo) -> None:
    request = StyleRequest("i__p", "i", "dogs", "p", " ")
    with pytest.raises(UsageError, match="is empty: describe the style in words"):
        method_for(zoo, steps=1).stylize(StyleBatch(source(), (request,)), NoiseSource(0, ["i__p"]))


@pytest.mark.parametrize("values", [{"patch_side": 0}, {"steps": 0}, {"lambda_tv": 1.0}])
def test_bad_config_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        ClipStylerConfig(**values)
