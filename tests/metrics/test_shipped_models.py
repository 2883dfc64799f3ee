"""The metrics with the models that ship, on photographs and on photographs in a known style."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.config import load_protocol
from benchmark.metrics.pixels import to_float
from benchmark.scoring import ScoredSample, score_samples
from benchmark.zoo import ModelZoo
from benchmark.zoo.mini.styles import STYLES, stylize

STYLED = ("golden", "red-bricks", "charcoal", "stained-glass", "pop-art", "neon-light")
PROTOCOL = load_protocol("mini-64-v1")


@pytest.fixture(scope="module")
def shipped() -> ModelZoo:
    return ModelZoo(PROTOCOL.models)


@pytest.fixture(scope="module")
def styled(photos: Tensor) -> dict[str, Tensor]:
    """Each photograph in each style, uint8 [5, 3, 64, 64] by the style's name."""
    found = {}
    for name in STYLED:
        images = []
        for number, photo in enumerate(photos):
            image = photo.permute(1, 2, 0).numpy().astype(np.float32) / 255
            # drawn at twice the size and averaged, as the judge saw styles in its training
            large = stylize(image.repeat(2, 0).repeat(2, 1), name, np.random.default_rng(number))
            drawn = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
            images.append(torch.from_numpy((drawn * 255).round().astype(np.uint8)))
        found[name] = torch.stack(images).permute(0, 3, 1, 2)
    return found


def scores(
    zoo: ModelZoo, photos: Tensor, outputs: dict[str, Tensor], metrics: tuple[str, ...]
) -> dict[str, list[float | None]]:
    """Values by metric, photographs of the first style first."""

    def samples() -> Iterator[ScoredSample]:
        for name in outputs:
            for number in range(len(photos)):
                yield ScoredSample(
                    f"{number}__{name}", str(number), name, STYLES[name].prompt, "Photo",
                    "faces", "ok", None, None, None,
                )  # fmt: skip

    def load(sample_id: str) -> Any:
        number, name = sample_id.split("__")
        return outputs[name][int(number)].permute(1, 2, 0).numpy()

    table = score_samples(
        list(samples()), lambda name: photos[int(name)].permute(1, 2, 0).numpy(), load, zoo,
        metrics, [STYLES[name].prompt for name in STYLED],
    )  # fmt: skip
    rows = table.to_pylist()
    return {name: [r["value"] for r in rows if r["metric"] == name] for name in metrics}


def test_the_protocol_runs_all_its_metrics(
    shipped: ModelZoo, photos: Tensor, styled: dict[str, Tensor]
) -> None:
    found = scores(shipped, photos, {"golden": styled["golden"]}, PROTOCOL.metrics)
    assert set(found) == set(PROTOCOL.metrics)
    for name, values in found.items():
        face = name.startswith("face_")
        assert [value is not None for value in values] == [True] + [not face] * 4


def test_the_judge_prefers_styled_images_to_photographs_and_knows_the_styles(
    shipped: ModelZoo, photos: Tensor, styled: dict[str, Tensor]
) -> None:
    names = ("clip_score", "clip_score_patch", "clip_directional", "style_retrieval")
    done = scores(shipped, photos, styled, names)
    untouched = scores(shipped, photos, dict.fromkeys(STYLED, photos), names)
    for name in names:
        assert np.mean(done[name]) > np.mean(untouched[name]), name
    assert np.mean(done["style_retrieval"]) >= 0.6


def test_content_distances_of_the_trained_models_grow_with_noise(
    shipped: ModelZoo, photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    names = ("lpips_vgg", "dino_structure", "ssim", "psnr", "face_id_distance")
    course = [
        scores(shipped, photos, {"golden": noisy(strength)}, names) for strength in (0, 8, 25, 80)
    ]
    for name in names:
        means = [np.mean([v for v in values[name] if v is not None]) for values in course]
        falls = name in ("ssim", "psnr")
        assert means == sorted(means, reverse=falls), name


def test_faces_of_the_shipped_embedder_are_unit_vectors(shipped: ModelZoo, photos: Tensor) -> None:
    vectors = shipped.face().embed(to_float(photos))
    assert vectors.norm(dim=1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)
