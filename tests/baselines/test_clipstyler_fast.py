"""CLIPstyler's fast variant against its official script, and its behaviour behind the interface.

Golden numbers: ``tests/golden/make_clipstyler_fast.py`` ran the official ``train_fast.py``
(cyclomon/CLIPstyler 4843cec) around tiny networks with given crops and given warps.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import baselines.clipstyler_fast
from baselines.clipstyler import embed_images, embed_prompt
from baselines.clipstyler_fast import ClipStylerFast, ClipStylerFastConfig
from baselines.clipstyler_network import Windows, cut_windows
from baselines.clipstyler_photos import PhotoFolder, own_crops
from benchmark.errors import UsageError
from benchmark.guidance.style import StyleTarget
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.tuning import TuningClock
from benchmark.zoo.adain import AdaInDecoder, NormalisedVgg
from tests.golden import make_clipstyler_fast as golden_case
from tests.golden.adain_case import decoder_state, image, vgg_state
from tests.golden.make_clipstyler import PROMPT, SOURCE_PROMPT
from tests.golden.make_clipstyler_fast import BATCH, CROP, PHOTO, RUN, SIZE, WARPS
from tests.golden.official_format import picture
from tests.tiny_zoo import TinyClip

GOLDEN = Path(__file__).parents[1] / "golden"
OFFICIAL = {
    "crop_size": CROP, "batch_size": BATCH, "threshold": golden_case.THRESHOLD,
    "learning_rate": golden_case.RATE, "learning_rate_decay": golden_case.DECAY,
}  # fmt: skip
SHORT = {"crop_size": CROP, "batch_size": 2, "n_patches": 3, "steps": 2, "learning_rate": 1e-2}


class FastZoo:
    """The networks of the golden numbers, in the roles of the zoo."""

    def __init__(self, decoder: str = "d0") -> None:
        self._clip = TinyClip()
        self._hashes = {"guide": "c0", "adain-encoder": "e0", "adain": decoder}

    def clip(self, role: str) -> Any:
        assert role == "guide", "the judge must not guide"
        return self._clip

    def adain_encoder(self) -> NormalisedVgg:
        return NormalisedVgg.from_state_dict(vgg_state())

    def adain_decoder(self) -> AdaInDecoder:
        return AdaInDecoder.from_state_dict(decoder_state())

    def verified_hashes(self, roles: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        return {role: {"sha256": self._hashes[role]} for role in roles}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STYLEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tuned" / "clipstyler-fast"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "clipstyler_fast.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(golden_case.photo_pixels(number)).save(folder / f"{number}.png")
    (folder / "readme.txt").write_text("no photograph")
    return folder


@pytest.fixture
def given_warps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines.clipstyler_fast, "draw_windows", warps_of)


def warps_of(noise: NoiseSource, purpose: str, count: int, **_: Any) -> Windows:
    inward = golden_case.inward(int(purpose.removeprefix("windows/")))
    assert count == len(inward) == WARPS
    return Windows(torch.zeros(count, 2, dtype=torch.int64), inward)


def crops_of(step: int) -> Tensor:
    crops = []
    for number, (x, y) in enumerate(golden_case.corners(step)):
        pixels = torch.from_numpy(golden_case.photo_pixels(number)).permute(2, 0, 1)
        crops.append(pixels[:, y : y + CROP, x : x + CROP].float() / 255)
    return torch.stack(crops)


def method_for(zoo: FastZoo | None = None, **config: Any) -> ClipStylerFast:
    method = ClipStylerFast(ClipStylerFastConfig(**config))
    method.prepare(zoo or FastZoo())  # type: ignore[arg-type]
    return method


def golden_style(method: ClipStylerFast) -> StyleTarget:
    return StyleTarget(*(embed_prompt(method.clip, p, True) for p in (PROMPT, SOURCE_PROMPT)))


def batch_of(*names: str, size: int = SIZE, prompt: str = "golden") -> StyleBatch:
    requests = tuple(StyleRequest(f"{n}__p", n, "dogs", "p", prompt) for n in names)
    return StyleBatch(torch.cat([picture(f"batch {n}", size) for n in names]), requests)


def stylised(method: ClipStylerFast, batch: StyleBatch, seed: int = 5) -> Tensor:
    return method.stylize(batch, NoiseSource(seed, batch.sample_ids))


def test_losses_and_gradients_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    method = method_for(**OFFICIAL)
    crops = crops_of(0)
    torch.testing.assert_close(crops, golden["photos"])
    features = method.encoder(crops, ("conv4_1",))["conv4_1"]
    decoder = AdaInDecoder.from_state_dict(decoder_state()).requires_grad_(True)
    output = decoder(features)
    torch.testing.assert_close(output, golden["output"], atol=1e-5, rtol=0)
    source = embed_images(method.clip, crops, "bicubic")
    windows = warps_of(NoiseSource(0, ["a"]), "windows/0", WARPS)
    total = method.losses(output, golden_style(method), source, features, windows)
    assert len(total.values) == 4
    for name, values in total.values.items():
        torch.testing.assert_close(
            values.sum(), golden[f"loss/{name}"], atol=0, rtol=1e-4,
            msg=lambda m, n=name: f"{n}: {m}",
        )  # fmt: skip
    output.backward(total.total)
    for name, parameter in decoder.named_parameters():
        expected = golden[f"gradient/{name}"]
        scale = expected.abs().max()
        assert parameter.grad is not None and scale > 0
        torch.testing.assert_close(parameter.grad / scale, expected / scale, atol=1e-4, rtol=0)


def test_warps_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    windows = warps_of(NoiseSource(0, ["a"]), "windows/0", WARPS)
    official = golden["warps"].view(WARPS, BATCH, 3, CROP, CROP)
    for k in range(BATCH):
        mine = cut_windows(golden["output"][k : k + 1], windows, CROP)
        torch.testing.assert_close(mine, official[:, k], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("given_warps")
def test_training_equals_the_official_one_and_shows_its_picture(golden: dict[str, Tensor]) -> None:
    """Updates, falling learning rate, contrast and stretching."""
    method = method_for(**OFFICIAL, steps=RUN)
    state = method.fine_tune(crops_of, golden_style(method), NoiseSource(0, ["a"]))
    moved = 0.0
    for name, before in decoder_state().items():
        expected = golden[f"trained/{name}"]
        torch.testing.assert_close(state[name], expected, atol=1e-4, rtol=0)
        moved = max(moved, float((expected - before).abs().max()))
    assert moved > 2e-3
    method._weights_for = lambda *_: state  # type: ignore[method-assign]
    request = StyleRequest("i__p", "i", "dogs", "p", PROMPT, SOURCE_PROMPT)
    batch = StyleBatch(image("content", SIZE) * 2 - 1, (request,))
    shown = (stylised(method, batch) + 1) / 2
    torch.testing.assert_close(shown, golden["shown"], atol=1e-4, rtol=0)
    assert golden["rate"].item() == pytest.approx(golden_case.RATE / (1 + 0.1 * (RUN - 1)))


def test_defaults_are_those_of_the_script() -> None:
    config = ClipStylerFastConfig()
    assert (config.steps, config.batch_size, config.crop_size) == (200, 4, 224)
    assert (config.content, config.clip_dir_patch, config.clip_dir, config.tv) == (1, 10, 1, 1e-4)
    assert (config.learning_rate, config.learning_rate_decay) == (1e-4, 5e-5)
    assert (config.n_patches, config.threshold, config.distortion) == (16, 0.7, 0.5)


def test_own_crops_lie_in_the_picture_and_half_are_mirrored() -> None:
    columns, rows = torch.arange(24.0).expand(20, 24), torch.arange(20.0)[:, None].expand(20, 24)
    ramp = torch.stack([columns, rows, torch.zeros(20, 24)])[None]
    crops = own_crops(ramp, NoiseSource(0, ["a"]), 0, 600, 16)
    assert crops.shape == (600, 3, 16, 16)
    mirrored = crops[:, 0, 0, 0] > crops[:, 0, 0, -1]
    assert 0.4 < mirrored.float().mean() < 0.6
    left, top = crops[:, 0].amin((1, 2)), crops[:, 1].amin((1, 2))
    assert left.unique().tolist() == list(range(9)) and top.unique().tolist() == list(range(5))
    again = own_crops(ramp, NoiseSource(0, ["a"]), 0, 600, 16)
    other = own_crops(ramp, NoiseSource(0, ["a"]), 1, 600, 16)
    assert torch.equal(crops, again) and not torch.equal(crops, other)


def test_every_photograph_comes_once_before_one_repeats(photos: Path) -> None:
    folder = PhotoFolder.at(photos, PHOTO)  # crops are whole
    noise = NoiseSource(3, ["t"])
    seen = torch.cat([folder.crops(noise, step, 2) for step in range(6)])
    sources = [
        torch.from_numpy(golden_case.photo_pixels(n)).permute(2, 0, 1) / 255 for n in range(3)
    ]
    found = [next(n for n, s in enumerate(sources) if torch.allclose(s, crop)) for crop in seen]
    for start in range(0, 12, 3):
        assert sorted(found[start : start + 3]) == [0, 1, 2]
    assert len({tuple(found[start : start + 3]) for start in range(0, 12, 3)}) > 1


def test_crops_of_a_folder_are_windows_of_its_photographs(photos: Path) -> None:
    for crop in PhotoFolder.at(photos, CROP).crops(NoiseSource(0, ["t"]), 0, 8):
        windows = [
            (torch.from_numpy(golden_case.photo_pixels(n)).permute(2, 0, 1) / 255)
            .unfold(1, CROP, 1).unfold(2, CROP, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
            for n in range(3)
        ]  # fmt: skip
        assert any((window == crop).flatten(1).all(1).any() for window in windows)


def test_a_folders_hash_is_that_of_its_contents(photos: Path, tmp_path: Path) -> None:
    first = PhotoFolder.at(photos, CROP).sha256
    moved = shutil.copytree(photos, tmp_path / "elsewhere")
    assert PhotoFolder.at(moved, CROP).sha256 == first
    Image.fromarray(golden_case.photo_pixels(9)).save(moved / "1.png")
    assert PhotoFolder.at(moved, CROP).sha256 != first


def test_weights_for_a_prompt_are_kept_and_serve_every_picture(photos: Path, cache: Path) -> None:
    method = method_for(**SHORT, training_images=photos)
    clock = TuningClock()
    with clock.active():
        both = stylised(method, batch_of("a", "b"))
    (stored,) = cache.glob("*.safetensors")
    assert list(clock.trained) == [f"clipstyler-fast/{stored.stem}"] and clock.spent > 0
    # another process, another run seed: the file serves, and the seed has no say
    with TuningClock().active() as later:
        again = stylised(method_for(**SHORT, training_images=photos), batch_of("b"), seed=8)
    torch.testing.assert_close(again, both[1:], atol=1e-5, rtol=0)
    assert later.trained == clock.trained
    method.cache.get = lambda *_: pytest.fail("trained again")  # type: ignore[method-assign]
    untrained = method_for(**SHORT | {"learning_rate": 1e-9})
    assert (stylised(untrained, batch_of("b")) - again).abs().max() > 0.01


def test_whatever_moves_the_weights_makes_new_ones(photos: Path, cache: Path) -> None:
    common: dict[str, Any] = {**SHORT, "training_images": photos}
    batch = batch_of("a")

    def files(zoo: FastZoo | None = None, batch: StyleBatch = batch, **changes: Any) -> int:
        stylised(method_for(zoo, **common | changes), batch)
        return len(list(cache.glob("*.safetensors")))

    assert files() == 1
    assert files(contrast=1.0, stretch=False) == 1
    assert files(batch=batch_of("b", size=24)) == 1
    assert files(steps=1) == 2
    assert files(tuning_seed=1) == 3
    assert files(batch=batch_of("a", prompt="red bricks")) == 4
    assert files(FastZoo(decoder="d1")) == 5
    Image.fromarray(golden_case.photo_pixels(9)).save(photos / "3.png")
    assert files() == 6


def test_without_a_folder_a_picture_is_trained_on_itself_and_nothing_is_kept(cache: Path) -> None:
    with TuningClock().active() as clock:
        stylised(method_for(**SHORT), batch_of("a"))
    assert not cache.exists() and not clock.trained and clock.spent == 0


@pytest.mark.parametrize("folder", [False, True])
def test_a_sample_does_not_depend_on_its_neighbours(folder: bool, photos: Path) -> None:
    method = method_for(**SHORT, training_images=photos if folder else None)
    batch = batch_of("a", "b", "c")
    images, state = batch.images.clone(), torch.get_rng_state()
    weights = {name: value.clone() for name, value in method.decoder.state_dict().items()}
    together = stylised(method, batch)
    assert torch.equal(batch.images, images)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in method.decoder.state_dict().items():
        assert torch.equal(value, weights[name])
    assert together.shape == batch.images.shape and together.dtype == torch.float32
    assert not together.requires_grad
    assert together.min() >= -1 and together.max() <= 1
    torch.manual_seed(99)
    alone = StyleBatch(batch.images[1:2], batch.requests[1:2])
    with torch.no_grad():
        single = stylised(method, alone)
    assert torch.equal(together[1:2], single)
    other = stylised(method, alone, seed=6)
    assert torch.equal(single, other) == folder


def test_a_broken_sample_breaks_alone() -> None:
    batch = batch_of("a", "b")
    images = batch.images.clone()
    images[0, 0, 3:30, 3:30] = float("nan")
    out = stylised(method_for(**SHORT), StyleBatch(images, batch.requests))
    assert not out[0].isfinite().all()
    assert out[1].isfinite().all()


def test_a_loss_without_weight_has_no_say() -> None:
    nothing = dict.fromkeys(("clip_dir_patch", "clip_dir", "content", "tv"), 0.0)
    noise = NoiseSource(0, ["a"])
    start = decoder_state()

    def moved(**weights: float) -> float:
        method = method_for(**SHORT, **nothing | weights)
        state = method.fine_tune(crops_of, golden_style(method), noise)
        return max(float((state[name] - start[name]).abs().max()) for name in start)

    assert moved() == 0
    for name in nothing:
        assert moved(**{name: 1.0}) > 1e-3, name


@pytest.mark.parametrize(
    ("size", "config", "message"),
    [
        (36, {}, "multiples of 8 and at least 16, but they have 36x36 pixels"),
        (16, {"crop_size": 24}, "crop_size=24 is more than the images of 16x16 pixels have"),
        (32, {"crop_size": 20}, "crop_size=20 must be a multiple of 8 and at least 16"),
        (32, {"crop_size": 8}, "crop_size=8 must be a multiple of 8 and at least 16"),
    ],
)
def test_sizes_that_cannot_work_are_explained(
    size: int, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        stylised(method_for(**SHORT | config), batch_of("a", size=size))


def test_a_missing_prompt_is_refused() -> None:
    batch = batch_of("a")
    requests = (StyleRequest("a__p", "a", "dogs", "p", None),)
    with pytest.raises(UsageError, match="guided by a prompt and there is none"):
        stylised(method_for(**SHORT), StyleBatch(batch.images, requests, batch.images))


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="is empty: describe the style in words"):
        stylised(method_for(**SHORT), batch_of("a", prompt=" "))


def test_folders_that_cannot_be_used_are_explained(photos: Path, tmp_path: Path) -> None:
    def message(folder: Path, **config: Any) -> str:
        with pytest.raises(UsageError) as error:
            method_for(**SHORT | config, training_images=folder)
        return str(error.value)

    assert "nowhere is no folder" in message(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no images (.bmp, " in message(tmp_path / "empty")
    assert "0.png has 24x24 pixels, fewer than crop_size=32" in message(photos, crop_size=32)
    (photos / "1.png").write_bytes(b"no picture")
    assert "1.png cannot be read" in message(photos)


@pytest.mark.parametrize("values", [{"steps": 0}, {"crop_size": 1}, {"clip_weight": 10.0}])
def test_bad_config_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        ClipStylerFastConfig(**values)
