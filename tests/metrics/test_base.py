from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from benchmark.errors import DataError
from benchmark.metrics.base import MetricBatch, SampleMetric, SampleScore
from benchmark.metrics.clip_directional import ClipDirectional
from benchmark.metrics.clip_score import ClipScore
from benchmark.metrics.clip_score_patch import ClipScorePatch
from benchmark.metrics.clip_style_image import ClipStyleImage
from benchmark.metrics.colour_histogram import ColourHistogram
from benchmark.metrics.dino_structure import DinoStructure
from benchmark.metrics.face_detected import FaceDetected
from benchmark.metrics.face_id_distance import FaceIdDistance
from benchmark.metrics.gram_distance import GramDistance
from benchmark.metrics.lpips_vgg import LpipsVgg
from benchmark.metrics.pixels import to_float
from benchmark.metrics.psnr import Psnr
from benchmark.metrics.sliced_wasserstein import SlicedWasserstein
from benchmark.metrics.ssim import Ssim
from benchmark.metrics.style_retrieval import StyleRetrieval
from benchmark.scoring import metric_classes

PROMPTS = ["Golden", "Pop art", "Clay"]
ALL = (
    ClipDirectional, ClipScore, ClipScorePatch, ClipStyleImage, ColourHistogram, DinoStructure,
    FaceDetected, FaceIdDistance, GramDistance, LpipsVgg, Psnr, SlicedWasserstein, Ssim,
    StyleRetrieval,
)  # fmt: skip


def batch(outputs: Tensor, sources: Tensor, **kwargs: Any) -> MetricBatch:
    n = len(outputs)
    prompts = [PROMPTS[i % 3] for i in range(n)]
    styles = [sources[i % len(sources)][..., : 40 + 8 * (i % 3)] for i in range(1, n + 1)]
    return MetricBatch(
        outputs, sources, **{"prompts": prompts, "source_prompts": ["Photo"] * n,
                             "domains": ["faces"] * n, "style_images": styles, **kwargs}
    )  # fmt: skip


class Brightness(SampleMetric):
    """What a third party would write."""

    name = "brightness"
    version = 1
    direction = "higher"
    bounds = (0.0, 255.0)
    encoders = ()
    description = "mean grey level"

    @classmethod
    def from_zoo(cls, zoo: Any, prompts: Sequence[str]) -> Self:
        return cls()

    def update(self, outputs: Tensor, domains: Sequence[str]) -> None:
        missing = [None if domain == "dogs" else "not_applicable" for domain in domains]
        self._keep(outputs.double().mean((1, 2, 3)), missing)


@pytest.mark.parametrize("metric_class", ALL)
def test_float_images_are_refused(
    metric_class: type[SampleMetric], zoo: Any, photos: Tensor
) -> None:
    metric = metric_class.from_zoo(zoo, PROMPTS)
    with pytest.raises(DataError, match=r"uint8 in 0\.\.255, but got torch\.float32.*to_pixels"):
        metric.update_batch(batch(to_float(photos), photos))


@pytest.mark.parametrize("metric_class", ALL)
def test_channels_last_images_are_refused(
    metric_class: type[SampleMetric], zoo: Any, photos: Tensor
) -> None:
    metric = metric_class.from_zoo(zoo, PROMPTS)
    with pytest.raises(DataError, match=r"shape \[N, 3, H, W\]"):
        metric.update_batch(batch(photos.permute(0, 2, 3, 1), photos.permute(0, 2, 3, 1)))


@pytest.mark.parametrize(
    "metric_class", [cls for cls in ALL if "sources" in cls.inputs()], ids=lambda cls: cls.name
)
def test_sources_of_another_size_are_refused(
    metric_class: type[SampleMetric], zoo: Any, photos: Tensor
) -> None:
    metric = metric_class.from_zoo(zoo, PROMPTS)
    with pytest.raises(DataError, match="must have one shape"):
        metric.update_batch(batch(photos, photos[:, :, :32, :32]))


@pytest.mark.parametrize("metric_class", ALL, ids=lambda cls: cls.name)
def test_values_lie_within_bounds_and_do_not_depend_on_the_batch(
    metric_class: type[SampleMetric], zoo: Any, photos: Tensor
) -> None:
    outputs = torch.randint(
        0, 256, (9, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    outputs[0] = 0
    outputs[1] = 255
    outputs[2:4] = 255 - photos[2:4]
    sources = photos[[0, 1, 2, 3, 4, 0, 1, 2, 3]]
    whole = batch(outputs, sources)
    results = []
    for size in (1, 3, 8):
        metric = metric_class.from_zoo(zoo, PROMPTS)
        for start in range(0, len(outputs), size):
            part = slice(start, start + size)
            metric.update_batch(
                MetricBatch(*(getattr(whole, name)[part] for name in whole.__dataclass_fields__))
            )
        results.append(metric.per_sample())
    low, high = metric_class.bounds
    scored = [score.value for score in results[0] if score.value is not None]
    assert scored
    assert all(low <= value <= high for value in scored)
    for other in results[1:]:
        assert [score.status for score in other] == [score.status for score in results[0]]
        for a, b in zip(results[0], other, strict=True):
            assert a.value == pytest.approx(b.value, abs=2e-6)


@pytest.mark.parametrize("metric_class", ALL, ids=lambda cls: cls.name)
def test_constants(metric_class: type[SampleMetric]) -> None:
    assert metric_class.higher_is_better is (metric_class.direction == "higher")
    assert metric_class.version >= 1
    assert metric_class.description and metric_class.__doc__
    assert set(metric_class.encoders) <= {"judge", "vgg", "dino", "face"}


def test_mean_leaves_missing_values_out() -> None:
    metric = Brightness()
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    images[1] = 100
    images[2] = 50
    metric.update_batch(batch(images, images, domains=["faces", "dogs", "dogs"]))
    assert metric.compute().item() == 75.0
    assert metric.per_sample() == [
        SampleScore(None, "not_applicable"), SampleScore(100.0, "ok"), SampleScore(50.0, "ok"),
    ]  # fmt: skip


def test_no_value_at_all_is_nan_and_never_zero() -> None:
    metric = Brightness()
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    metric.update_batch(batch(images, images, domains=["faces"]))
    assert metric.compute().isnan()


def test_non_finite_values_are_failures() -> None:
    metric = Brightness()
    images = torch.ones(3, 3, 4, 4)
    images[1, 0, 0, 0], images[2, 0, 0, 0] = torch.nan, torch.inf
    metric.update(images, ["dogs"] * 3)
    assert [score.value for score in metric.per_sample()] == [1.0, None, None]
    assert metric.per_sample()[1].status == "failed: the metric is not a finite number"
    assert metric.compute().item() == 1.0


def test_states_of_two_processes_merge() -> None:
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 4, 4).contiguous()
    first, second = Brightness(), Brightness()
    first.update_batch(batch(images[:1], images[:1], domains=["dogs"]))
    second.update_batch(batch(images[1:], images[1:], domains=["dogs", "dogs", "faces"]))
    second.merge_state(first)
    assert sorted(s.value for s in second.per_sample() if s.value is not None) == [0.0, 1.0, 2.0]
    assert second.compute().item() == 1.0
    second.reset()
    assert second.per_sample() == []


def test_a_metric_that_asks_for_what_does_not_exist_is_refused_when_it_is_defined() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.update asks for targets; a metric can ask for"):

        class Wrong(Brightness):
            name = "wrong"

            def update(self, targets: Tensor) -> None:  # type: ignore[override]
                self._keep(targets)


def test_bounds_must_increase() -> None:
    with pytest.raises(TypeError, match="two increasing bounds"):

        class Flat(Brightness):
            name = "flat"
            bounds = (1.0, 1.0)


def test_pixels_become_floats_by_one_rule() -> None:
    ramp = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 1, 1, 4).expand(1, 3, 4, 4)
    values = to_float(ramp)[0, 0, 0]
    assert values.tolist() == pytest.approx([-1.0, -1 / 255, 1 / 255, 1.0], abs=1e-7)


def test_every_pixel_value_survives_the_way_to_float_and_back() -> None:
    from benchmark.predict import to_pixels

    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    back = torch.from_numpy(to_pixels(to_float(levels))[0]).permute(2, 0, 1)
    assert torch.equal(back, levels[0])


def test_the_documentation_agrees_with_the_declarations() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    by_sample = text.split("## By sample")[1].split("## By set")[0]
    documented = {}
    for line in by_sample.splitlines():
        if line.startswith("| `"):
            name, better, bounds, _, encoder, resize, source = line.strip("| ").split(" | ")
            assert resize and source
            documented[name.strip("`")] = (better, bounds, encoder)
    declared = {
        cls.name: (
            cls.direction, " to ".join(f"{bound:g}" for bound in cls.bounds),
            ", ".join(cls.encoders) or "none",
        )
        for cls in metric_classes(None)
        if cls.__module__.startswith("benchmark.")
    }  # fmt: skip
    assert documented == declared
