"""What metrics share within a scoring batch: how often the encoders run, and that nothing moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.metrics.clip_space import embed_pixels
from benchmark.metrics.shared import SharedFeatures
from benchmark.metrics.vgg_space import vgg_maps
from benchmark.scoring import ScoredSample, score_samples
from tests.metrics.conftest import TinyZoo

CLIP = (
    "clip_score", "clip_score_patch", "clip_directional", "style_retrieval", "clip_image_source",
    "clip_style_image",
)  # fmt: skip
VGG = ("lpips_vgg", "vgg_content", "gram_distance", "sliced_wasserstein")
BATCH = 8  # images of a scoring batch


class Counting(TinyZoo):
    """Counts the images that each encoder reads, and its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.images: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()
        self._lock = Lock()  # batches are scored side by side
        self._clip.encode_image = self._counted("clip", self._clip.encode_image)  # type: ignore
        forward = self._vgg.forward
        self._vgg.forward = self._counted("vgg", forward)  # type: ignore[method-assign]

    def _counted(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def counted(images: Tensor, *args: Any) -> Any:
            with self._lock:
                self.images[name] += len(images)
                self.passes[name] += 1
            return run(images, *args)

        return counted


def score(zoo: Any, photos: Tensor, metrics: tuple[str, ...], n: int, styled: bool = False) -> Any:
    """Values by metric and sample of ``n`` samples, two to each photograph."""
    pixels = [photo.permute(1, 2, 0).contiguous().numpy() for photo in photos]
    samples = [
        ScoredSample(
            f"{number:03d}", str(number // 2 % 5), "golden", None if styled else "Golden", "Photo",
            "dogs", "ok", None, None, None,
        )
        for number in range(n)
    ]  # fmt: skip
    table = score_samples(
        samples, lambda name: pixels[int(name)], lambda name: 255 - pixels[int(name) % 5], zoo,
        metrics, ["Golden", "Clay"], load_style=lambda name: pixels[4][:, 8:],
    )  # fmt: skip
    return {(row["metric"], row["sample_id"]): row["value"] for row in table.to_pylist()}


def test_clip_metrics_embed_each_image_and_crop_once(photos: Tensor) -> None:
    zoo = Counting()
    score(zoo, photos, CLIP, 2 * BATCH)
    # outputs, sources and nine crops, these in three groups of 24
    assert zoo.images == {"clip": 2 * BATCH * 11}
    assert zoo.passes == {"clip": 2 * (2 + 3)}


def test_a_style_image_is_embedded_once_a_batch(photos: Tensor) -> None:
    zoo = Counting()
    score(zoo, photos, ("clip_style_image", "clip_image_source"), 2 * BATCH, styled=True)
    assert zoo.images == {"clip": 2 * (BATCH + BATCH + 1)}


@pytest.mark.parametrize(("metrics", "styled", "passes"), [
    (VGG[:1], False, 2), (VGG, False, 2), (VGG, True, 3), (VGG[2:], True, 2),
])  # fmt: skip
def test_vgg_metrics_share_one_pass_of_outputs_sources_and_style(
    photos: Tensor, metrics: tuple[str, ...], styled: bool, passes: int
) -> None:
    zoo = Counting()
    score(zoo, photos, metrics, 2 * BATCH, styled)
    assert zoo.passes == {"vgg": 2 * passes}


@pytest.mark.parametrize("n", [2 * BATCH, 2 * BATCH + 3])
def test_sharing_moves_no_bit(photos: Tensor, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    together = score(TinyZoo(), photos, CLIP + VGG, n, styled=True)
    alone = {}
    for metric in CLIP + VGG:
        alone |= score(TinyZoo(), photos, (metric,), n, styled=True)

    @contextmanager
    def off(self: SharedFeatures) -> Iterator[None]:
        yield

    monkeypatch.setattr(SharedFeatures, "active", off)
    assert together == alone == score(TinyZoo(), photos, CLIP + VGG, n, styled=True)
    assert sum(value is not None for value in together.values()) == 6 * n


def test_a_short_rest_joins_the_batch_before_it(photos: Tensor) -> None:
    zoo = Counting()
    score(zoo, photos, ("clip_score",), 2 * BATCH + 3)
    assert (zoo.images["clip"], zoo.passes["clip"]) == (2 * BATCH + 3, 2)
    zoo = Counting()
    score(zoo, photos, ("clip_score",), 2 * BATCH + 4)
    assert (zoo.images["clip"], zoo.passes["clip"]) == (2 * BATCH + 4, 3)


def test_features_belong_to_their_images_encoder_and_layers(photos: Tensor) -> None:
    zoo, other = Counting(), Counting()
    with SharedFeatures(("conv1_1", "conv2_1")).active():
        first = embed_pixels(zoo.clip("judge"), photos)
        assert embed_pixels(zoo.clip("judge"), photos) is first
        part = embed_pixels(zoo.clip("judge"), photos[1:])
        turned = embed_pixels(zoo.clip("judge"), photos.flip(0))
        torch.testing.assert_close(part, first[1:])
        torch.testing.assert_close(turned, first.flip(0))
        assert (first[0] - first[1]).abs().max() > 0.01
        embed_pixels(other.clip("judge"), photos)
        assert (zoo.passes["clip"], other.passes["clip"]) == (3, 1)
        shallow = vgg_maps(zoo.vgg(), photos, ("conv1_1",))
        assert list(shallow) == ["conv1_1"]
        vgg_maps(zoo.vgg(), photos, ("conv2_1", "conv1_1"))
        assert zoo.passes["vgg"] == 1
        vgg_maps(zoo.vgg(), photos, ("conv3_1",))  # what nobody announced is computed apart
        assert zoo.passes["vgg"] == 2


def test_nothing_is_kept_outside_of_a_batch(photos: Tensor) -> None:
    zoo, batch = Counting(), SharedFeatures()
    for _ in range(2):
        embed_pixels(zoo.clip("judge"), photos)
    with batch.active():
        embed_pixels(zoo.clip("judge"), photos)
    with batch.active():
        embed_pixels(zoo.clip("judge"), photos)
    assert zoo.passes["clip"] == 4
