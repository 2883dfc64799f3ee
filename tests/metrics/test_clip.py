from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmark.metrics.clip_directional import ClipDirectional
from benchmark.metrics.clip_score import ClipScore
from benchmark.metrics.clip_score_patch import ClipScorePatch, grid_crops
from benchmark.metrics.clip_space import cosine
from benchmark.metrics.pixels import to_float
from benchmark.metrics.style_retrieval import StyleRetrieval, nearest_is_target

PROMPTS = ["Golden", "Pop art", "Clay", "Wooden", "Red bricks"]


def np_cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / (np.sqrt((a**2).sum()) * np.sqrt((b**2).sum())))


def values(metric: Any) -> list[float]:
    return [score.value for score in metric.per_sample()]


vectors = st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=4)


@given(vectors, vectors, st.floats(0.1, 10))
def test_cosine_is_symmetric_bounded_and_scale_free(
    a: list[float], b: list[float], k: float
) -> None:
    u, v = torch.tensor([a]), torch.tensor([b])
    value = cosine(u, v).item()
    assert -1 <= value <= 1
    assert value == cosine(v, u).item()
    assert cosine(k * u.double(), v).item() == pytest.approx(value, abs=1e-6)
    if any(a) and any(b) and u.norm() > 1e-10 and v.norm() > 1e-10:
        assert value == pytest.approx(np_cosine(np.array(a), np.array(b)), abs=1e-9)
    elif not any(a):
        assert value == 0.0


def test_clip_score_is_the_cosine(zoo: Any, photos: Tensor) -> None:
    metric = ClipScore(zoo.clip("judge"))
    metric.update(photos, PROMPTS)
    clip = zoo.clip("judge")
    images = clip.encode_image(clip.resize(to_float(photos))).numpy()
    texts = clip.encode_text(PROMPTS).numpy()
    expected = [np_cosine(image, text) for image, text in zip(images, texts, strict=True)]
    assert values(metric) == pytest.approx(expected, abs=1e-6)
    assert metric.compute().item() == pytest.approx(np.mean(expected), abs=1e-7)


def test_clip_scores_of_a_known_encoder(zoo: Any) -> None:
    """Golden numbers of the sine-weighted encoder: a change of definition shows here.

    Made by this test's own metrics, after the comparisons with NumPy in this file held.
    """
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8)
    across, down = ramp.expand(64, 64), ramp.view(64, 1).expand(64, 64)
    image = torch.stack([across, down, 255 - across])
    source = image.flip(0)[None]
    score, patch = ClipScore(zoo.clip("judge")), ClipScorePatch(zoo.clip("judge"))
    directional = ClipDirectional(zoo.clip("judge"))
    score.update(image[None], ["Golden"])
    patch.update(image[None], ["Golden"])
    directional.update(image[None], source, ["Golden"], ["Photo"])
    found = [values(metric)[0] for metric in (score, patch, directional)]
    assert found == pytest.approx(GOLDEN, abs=1e-5)


GOLDEN = [-0.0751263, -0.0993576, -0.1817723]


def test_patch_score_is_the_mean_over_the_nine_crops(zoo: Any, photos: Tensor) -> None:
    metric = ClipScorePatch(zoo.clip("judge"))
    metric.update(photos[:2], ["Golden", "Clay"])
    clip = zoo.clip("judge")
    for image, prompt, value in zip(photos, ["Golden", "Clay"], values(metric), strict=False):
        text = clip.encode_text([prompt])[0].numpy()
        cosines = []
        for top in (0, 16, 32):
            for left in (0, 16, 32):
                crop = to_float(image[None, :, top : top + 32, left : left + 32])
                cosines.append(np_cosine(clip.encode_image(clip.resize(crop))[0].numpy(), text))
        assert value == pytest.approx(np.mean(cosines), abs=1e-6)


def test_the_grid_reaches_all_borders_of_a_lopsided_image() -> None:
    image = torch.arange(10 * 24).view(1, 1, 10, 24)
    crops = grid_crops(image, 3, 0.5)
    assert crops.shape == (1, 9, 1, 5, 5)
    assert crops[0, 0, 0, 0, 0] == image[0, 0, 0, 0]
    assert crops[0, 8, 0, -1, -1] == image[0, 0, -1, -1]
    assert crops[0, 2, 0, 0, -1] == image[0, 0, 0, -1]
    assert torch.equal(crops[0, 4, 0], image[0, 0, 2:7, 10:15])


def test_one_crop_of_full_size_is_the_whole_image_score(zoo: Any, photos: Tensor) -> None:
    whole, patch = ClipScore(zoo.clip("judge")), ClipScorePatch(zoo.clip("judge"), 1, 1.0)
    whole.update(photos, PROMPTS)
    patch.update(photos, PROMPTS)
    assert values(whole) == values(patch)


@pytest.mark.parametrize(("grid", "fraction", "message"), [
    (0, 0.5, "grid must be at least 1"), (3, 0.0, r"fraction must lie in \(0, 1\]"),
    (3, 1.1, r"fraction must lie in \(0, 1\], got 1.1"),
])  # fmt: skip
def test_bad_grids_are_refused(zoo: Any, grid: int, fraction: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipScorePatch(zoo.clip("judge"), grid, fraction)


def test_directional_is_the_cosine_of_two_steps_between_unit_vectors(
    zoo: Any, photos: Tensor
) -> None:
    metric = ClipDirectional(zoo.clip("judge"))
    outputs = photos.flip(0)[[0, 1, 3, 4]]
    sources = photos[[0, 1, 3, 4]]
    metric.update(outputs, sources, PROMPTS[:4], ["Photo"] * 4)
    clip = zoo.clip("judge")

    def units(rows: Tensor) -> np.ndarray:
        array = rows.numpy().astype(np.float64)
        return array / np.sqrt((array**2).sum(1, keepdims=True))

    image_steps = units(clip.encode_image(clip.resize(to_float(outputs)))) - units(
        clip.encode_image(clip.resize(to_float(sources)))
    )
    text_steps = units(clip.encode_text(PROMPTS[:4])) - units(clip.encode_text(["Photo"] * 4))
    expected = [np_cosine(a, b) for a, b in zip(image_steps, text_steps, strict=True)]
    assert values(metric) == pytest.approx(expected, abs=1e-5)


def test_directional_changes_sign_when_the_roles_are_exchanged(zoo: Any, photos: Tensor) -> None:
    there, back = ClipDirectional(zoo.clip("judge")), ClipDirectional(zoo.clip("judge"))
    there.update(photos[:1], photos[1:2], ["Golden"], ["Photo"])
    back.update(photos[1:2], photos[:1], ["Golden"], ["Photo"])
    assert values(there)[0] == pytest.approx(-values(back)[0], abs=1e-6)


def test_an_unchanged_image_has_no_direction_and_scores_zero(zoo: Any, photos: Tensor) -> None:
    metric = ClipDirectional(zoo.clip("judge"))
    metric.update(photos, photos, PROMPTS, ["Photo"] * 5)
    assert values(metric) == [0.0] * 5


def test_a_target_equal_to_the_source_prompt_is_not_applicable(zoo: Any, photos: Tensor) -> None:
    metric = ClipDirectional(zoo.clip("judge"))
    metric.update(photos[:3], photos[1:4], ["Photo", None, "Golden"], ["Photo"] * 3)
    assert [s.status for s in metric.per_sample()] == ["not_applicable", "not_applicable", "ok"]


@pytest.mark.parametrize("metric_class", [ClipScore, ClipScorePatch])
def test_a_style_image_in_place_of_a_prompt_is_not_applicable(
    metric_class: Any, zoo: Any, photos: Tensor
) -> None:
    metric = metric_class(zoo.clip("judge"))
    metric.update(photos[:2], [None, "Golden"])
    assert [s.status for s in metric.per_sample()] == ["not_applicable", "ok"]
    alone = metric_class(zoo.clip("judge"))
    alone.update(photos[1:2], ["Golden"])
    assert metric.compute().item() == pytest.approx(alone.compute().item(), abs=1e-6)


def test_nearest_is_target_on_known_vectors() -> None:
    axes = torch.eye(3)
    images = torch.tensor([[1.0, 0.1, 0.0], [0.0, 1.0, 0.9], [1.0, 1.0, 0.0]])
    targets = axes[[0, 2, 1]]
    # the second image is nearer to another axis; the third is tied, and a tie is no miss
    assert nearest_is_target(images, axes, targets).tolist() == [1.0, 0.0, 1.0]


def test_retrieval_agrees_with_sorting_by_numpy(zoo: Any, photos: Tensor) -> None:
    clip = zoo.clip("judge")
    images = clip.encode_image(clip.resize(to_float(photos))).numpy()
    texts = clip.encode_text(PROMPTS).numpy()
    winners = [
        PROMPTS[int(np.argmax([np_cosine(image, text) for text in texts]))] for image in images
    ]
    metric = StyleRetrieval(clip, PROMPTS)
    metric.update(photos, winners)
    assert values(metric) == [1.0] * 5
    losers = [next(prompt for prompt in PROMPTS if prompt != winner) for winner in winners]
    metric.reset()
    metric.update(photos, losers)
    assert values(metric) == [0.0] * 5


def test_a_target_outside_the_set_competes_with_it(zoo: Any, photos: Tensor) -> None:
    metric = StyleRetrieval(zoo.clip("judge"), ["Golden"])
    metric.update(photos[:3], ["Golden", "Clay", None])
    assert [s.status for s in metric.per_sample()] == ["not_applicable", "ok", "not_applicable"]


@pytest.mark.parametrize(("prompts", "message"), [
    ([], "needs the prompts"), (["Clay", "Golden", "Clay"], "appear twice: Clay"),
])  # fmt: skip
def test_bad_prompt_sets_are_refused(zoo: Any, prompts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StyleRetrieval(zoo.clip("judge"), prompts)
