"""Scoring and the summary, over small untrained encoders behind the zoo's interface."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from benchmark.errors import DataError, UsageError
from benchmark.scoring import SCHEMA, ScoredSample, metric_classes, score_samples
from benchmark.stats import cluster_bootstrap, cluster_t_interval
from benchmark.summary import summarise
from tests.metrics.conftest import TinyZoo, aligner, noisy, photos, zoo

__all__ = ["aligner", "noisy", "photos", "zoo"]

PROMPTS = {"golden": "Golden", "clay": "Clay"}
BUILT_IN = {
    "clip_directional", "clip_image_source", "clip_score", "clip_score_patch", "clip_style_image",
    "colour_histogram", "dino_structure", "edge_agreement", "face_detected", "face_id_distance",
    "gram_distance", "lpips_vgg", "psnr", "sliced_wasserstein", "ssim", "style_retrieval",
    "vgg_content",
}  # fmt: skip
Pixels = npt.NDArray[np.uint8]


class Run:
    """Five images (the first one a face) in two styles, held in memory."""

    def __init__(self, photos: Tensor, outputs: Tensor) -> None:
        self.sources = {f"image{i}": _pixels(photo) for i, photo in enumerate(photos)}
        self.outputs: dict[str, Pixels] = {}
        self.samples: list[ScoredSample] = []
        for number, (image_id, domain) in enumerate(
            zip(self.sources, ["faces", "faces", "objects", "objects", "dogs"], strict=True)
        ):
            for step, (prompt_id, prompt) in enumerate(PROMPTS.items()):
                sample_id = f"{image_id}__{prompt_id}"
                self.outputs[sample_id] = _pixels(outputs[number] // (1 + step))
                self.samples.append(
                    ScoredSample(
                        sample_id,
                        image_id,
                        prompt_id,
                        prompt,
                        "Photo",
                        domain,
                        "ok",
                        None,
                        seconds=1.0 + number,
                        peak_memory_mib=100.0 + number,
                    )
                )

    def score(
        self, zoo: TinyZoo, metrics: Sequence[str] | None = None, **changes: Any
    ) -> dict[tuple[str, str], dict[str, Any]]:
        table = self.table(zoo, metrics, **changes)
        return {(row["sample_id"], row["metric"]): row for row in table.to_pylist()}

    def table(self, zoo: Any, metrics: Sequence[str] | None = None, **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "samples": self.samples,
            "load_source": self.sources.__getitem__,
            "load_output": self.outputs.__getitem__,
            "zoo": zoo,
            "metrics": metrics,
            "prompts": list(PROMPTS.values()),
        }
        return score_samples(**{**arguments, **changes})


def _pixels(image: Tensor) -> Pixels:
    return image.permute(1, 2, 0).contiguous().numpy()


@pytest.fixture
def run(photos: Tensor, noisy: Callable[[float], Tensor]) -> Run:
    return Run(photos, noisy(30))


def test_one_row_for_each_sample_and_metric(run: Run, zoo: TinyZoo) -> None:
    table = run.table(zoo)
    assert table.schema == SCHEMA
    names = table["metric"].to_pylist()
    assert set(names) >= BUILT_IN
    assert table.num_rows == len(run.samples) * len(set(names))
    assert table["sample_id"].to_pylist()[:: len(set(names))] == [s.sample_id for s in run.samples]
    versions = dict(zip(names, table["metric_version"].to_pylist(), strict=True))
    assert versions == {cls.name: cls.version for cls in metric_classes(None)}


def test_faces_are_scored_where_there_are_faces(run: Run, zoo: TinyZoo) -> None:
    rows = run.score(zoo, ["face_id_distance", "face_detected"])
    for metric in ("face_id_distance", "face_detected"):
        statuses = [rows[f"image{i}__clay", metric]["status"] for i in range(5)]
        assert statuses == ["ok", "no_face"] + ["not_applicable"] * 3
        assert [rows[f"image{i}__clay", metric]["value"] is None for i in range(5)] == [
            False, True, True, True, True,
        ]  # fmt: skip


def test_each_row_belongs_to_its_own_output(run: Run, zoo: TinyZoo) -> None:
    rows = run.score(zoo, ["psnr"])
    for sample in run.samples:
        difference = run.outputs[sample.sample_id].astype(float) - run.sources[sample.image_id]
        expected = 10 * np.log10(255**2 / (difference**2).mean())
        assert rows[sample.sample_id, "psnr"]["value"] == pytest.approx(expected, abs=1e-5)


def test_order_of_samples_moves_no_bit(run: Run, zoo: TinyZoo) -> None:
    straight = run.score(zoo)
    shuffled = [run.samples[i] for i in (7, 2, 9, 0, 4, 6, 8, 1, 5, 3)]
    assert run.score(zoo, samples=shuffled) == straight
    assert run.score(zoo, ["ssim", "clip_score"]) == {
        key: row for key, row in straight.items() if key[1] in ("ssim", "clip_score")
    }


@pytest.mark.parametrize("size", [1, 3, 8])
def test_batch_size_does_not_matter(run: Run, zoo: TinyZoo, size: int) -> None:
    straight, other = run.score(zoo), run.score(zoo, batch_size=size)
    for key, row in straight.items():
        assert other[key]["status"] == row["status"]
        # float32 encoders: kernels round by the batch's shape, which is why runs use one size
        assert other[key]["value"] == pytest.approx(row["value"], abs=2e-5)


def test_failed_samples_have_a_reason_and_no_value(run: Run, zoo: TinyZoo) -> None:
    broken = replace(run.samples[3], status="failed", reason="the method returned NaN")
    samples = [*run.samples[:3], broken, *run.samples[4:]]
    del run.outputs[broken.sample_id]
    rows = run.score(zoo, samples=samples)
    whole = [row for key, row in rows.items() if key[0] == broken.sample_id]
    assert {row["status"] for row in whole} == {"failed: the method returned NaN"}
    assert all(row["value"] is None for row in whole)
    assert rows[run.samples[4].sample_id, "psnr"]["status"] == "ok"


def test_an_unreadable_and_a_misshapen_output_do_not_stop_the_others(
    run: Run, zoo: TinyZoo
) -> None:
    def load(sample_id: str) -> Pixels:
        if sample_id == "image2__clay":
            raise DataError("image2__clay.png is truncated")
        return (
            run.outputs[sample_id][:32] if sample_id == "image3__clay" else run.outputs[sample_id]
        )

    rows = run.score(zoo, ["ssim", "psnr"], load_output=load)
    assert rows["image2__clay", "ssim"]["status"] == "failed: image2__clay.png is truncated"
    assert rows["image3__clay", "psnr"]["status"] == (
        "failed: the output is 64 x 32, its source 64 x 64"
    )
    assert sum(row["status"] == "ok" for row in rows.values()) == 16


def test_float_images_of_a_loader_are_refused(run: Run, zoo: TinyZoo) -> None:
    rows = run.score(zoo, ["psnr"], load_output=lambda name: run.outputs[name] / 255.0)
    assert rows["image0__clay", "psnr"]["status"] == (
        "failed: the output is float64 of shape [64, 64, 3], not uint8 [H, W, 3]"
    )


def test_images_of_different_sizes_in_one_run(run: Run, zoo: TinyZoo) -> None:
    reference = run.score(zoo, ["psnr"])
    run.sources["image0"] = run.sources["image0"][:32]
    for name in ("image0__clay", "image0__golden"):
        run.outputs[name] = run.outputs[name][:32]
    rows = run.score(zoo, ["psnr"])
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows["image1__clay", "psnr"] == reference["image1__clay", "psnr"]
    assert rows["image0__clay", "psnr"] != reference["image0__clay", "psnr"]


def test_image_guided_samples_skip_the_text_metrics(run: Run, zoo: TinyZoo) -> None:
    samples = [replace(sample, prompt=None) for sample in run.samples]
    rows = run.score(zoo, ["clip_score", "clip_directional", "ssim"], samples=samples)
    assert {r["status"] for k, r in rows.items() if k[1] != "ssim"} == {"not_applicable"}
    assert {r["status"] for k, r in rows.items() if k[1] == "ssim"} == {"ok"}


STYLE_IMAGE = ("clip_style_image", "gram_distance", "sliced_wasserstein", "colour_histogram")


def test_image_guided_samples_are_scored_against_their_own_style_image(
    run: Run, zoo: TinyZoo
) -> None:
    styles = {"golden": run.sources["image3"][:, :50], "clay": run.sources["image4"]}
    asked: list[str] = []

    def load(prompt_id: str) -> Pixels:
        asked.append(prompt_id)
        return styles[prompt_id]

    samples = [replace(sample, prompt=None) for sample in run.samples]
    samples[0] = run.samples[0]  # one of them is guided by text
    run.outputs["image4__clay"] = run.sources["image4"]
    rows = run.score(zoo, STYLE_IMAGE, samples=samples, load_style=load)
    assert sorted(asked) == ["clay", "golden"]  # each is read once
    for name in STYLE_IMAGE:
        assert rows["image0__golden", name]["status"] == "not_applicable"
        assert sum(rows[s.sample_id, name]["status"] == "ok" for s in samples) == 9
    equal = [rows["image4__clay", name]["value"] for name in STYLE_IMAGE]
    assert equal == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-9)
    other = [rows["image4__golden", name]["value"] for name in STYLE_IMAGE]
    assert other[0] < 1 and min(other[1:]) > 0


def test_without_kept_style_images_their_metrics_are_not_applicable(run: Run, zoo: TinyZoo) -> None:
    samples = [replace(sample, prompt=None) for sample in run.samples]
    rows = run.score(zoo, STYLE_IMAGE, samples=samples)
    assert {row["status"] for row in rows.values()} == {"not_applicable"}


def test_a_style_image_that_is_no_image_fails_its_samples_alone(run: Run, zoo: TinyZoo) -> None:
    def load(prompt_id: str) -> Pixels:
        return run.sources["image0"][..., 0] if prompt_id == "clay" else run.sources["image0"]

    samples = [replace(sample, prompt=None) for sample in run.samples]
    rows = run.score(zoo, ["colour_histogram"], samples=samples, load_style=load)
    for sample in samples:
        status = rows[sample.sample_id, "colour_histogram"]["status"]
        bad = "failed: the style image is uint8 of shape [64, 64], not uint8 [H, W, 3]"
        assert status == (bad if sample.prompt_id == "clay" else "ok")


def test_no_samples_give_an_empty_table(run: Run, zoo: TinyZoo) -> None:
    table = run.table(zoo, samples=[])
    assert table.num_rows == 0 and table.schema == SCHEMA
    summary = summarise(table, [])
    assert summary["metrics"] == {} and summary["samples"]["total"] == 0


def test_unknown_metrics_are_answered_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'clip_scor'.*Did you mean: clip_score"):
        metric_classes(["psnr", "clip_scor"])
    with pytest.raises(UsageError, match="named twice"):
        metric_classes(["psnr", "psnr"])
    with pytest.raises(UsageError, match="no metric was chosen"):
        metric_classes([])


def test_every_built_in_metric_is_found_by_its_own_name() -> None:
    found = {cls.name: cls for cls in metric_classes(None)}
    assert set(found) >= BUILT_IN
    assert [cls.name for cls in metric_classes(["ssim", "psnr"])] == ["ssim", "psnr"]


def test_duplicate_sample_ids_are_refused(run: Run, zoo: TinyZoo) -> None:
    with pytest.raises(UsageError, match="unique"):
        run.score(zoo, ["psnr"], samples=[run.samples[0], run.samples[0]])


def test_the_judge_is_not_the_coach(run: Run, zoo: TinyZoo) -> None:
    asked: list[str] = []

    class Recording(TinyZoo):
        def clip(self, role: str) -> Any:
            asked.append(role)
            return super().clip(role)

    run.table(Recording())
    assert set(asked) == {"judge"}


def test_summary_agrees_with_the_table(run: Run, zoo: TinyZoo) -> None:
    broken = replace(run.samples[0], status="failed", reason="not finite", seconds=None)
    samples = [broken, *run.samples[1:]]
    table = run.table(zoo, samples=samples)
    summary = summarise(table, samples)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["schema_version"] == 1
    assert summary["samples"] == {"total": 10, "ok": 9, "failed": 1, "images": 5}
    assert summary["failed"] == [{"sample_id": "image0__golden", "reason": "not finite"}]
    psnr = summary["metrics"]["psnr"]
    values = [r["value"] for r in table.to_pylist() if r["metric"] == "psnr" and r["value"]]
    assert (psnr["n"], psnr["n_images"]) == (9, 5)
    assert psnr["mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert psnr["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert psnr["interval"][0] < psnr["mean"] < psnr["interval"][1]
    assert psnr["interval_note"] is None
    assert psnr["statuses"] == {"failed": 1, "ok": 9}
    assert (psnr["direction"], psnr["bounds"]) == ("higher", [0.0, 100.0])
    face = summary["metrics"]["face_id_distance"]
    assert face["statuses"] == {"failed": 1, "no_face": 2, "not_applicable": 6, "ok": 1}
    assert (face["n"], face["sd"], face["interval"]) == (1, None, None)
    assert face["interval_note"].startswith("insufficient_n: 1 content image")
    times = [s.seconds for s in samples if s.seconds is not None]
    assert summary["speed"]["seconds_per_image_median"] == np.median(times)
    assert summary["speed"]["seconds_per_image_p95"] == pytest.approx(np.quantile(times, 0.95))
    assert summary["speed"]["peak_memory_mib"] == 104.0
    assert summary["speed"]["warm"]["n"] == 0
    assert summary["speed"]["warm"]["seconds_per_image_median"] is None
    assert summary["unscored"] == []


def test_summary_lists_what_could_not_be_read(run: Run, zoo: TinyZoo) -> None:
    def load(sample_id: str) -> Pixels:
        if sample_id == "image2__clay":
            raise OSError("truncated file")
        return run.outputs[sample_id]

    summary = summarise(run.table(zoo, ["psnr"], load_output=load), run.samples)
    assert summary["failed"] == []
    assert summary["unscored"] == [
        {"sample_id": "image2__clay", "metric": "psnr", "reason": "truncated file"}
    ]


def test_nothing_measured_is_null_and_not_zero(run: Run, zoo: TinyZoo) -> None:
    samples = [
        replace(s, status="failed", reason="out of memory", seconds=None, peak_memory_mib=None)
        for s in run.samples
    ]
    summary = summarise(run.table(zoo, ["ssim"], samples=samples), samples)
    entry = summary["metrics"]["ssim"]
    assert (entry["n"], entry["mean"], entry["sd"], entry["interval"]) == (0, None, None, None)
    assert "insufficient_n: 0 content image" in entry["interval_note"]
    nothing = {
        "n": 0, "seconds_per_image_median": None, "seconds_per_image_p95": None,
        "seconds_per_image_mean": None,
    }  # fmt: skip
    assert summary["speed"] == {
        **nothing, "warm": nothing, "peak_memory_mib": None, "energy_joules_per_image": None,
        "energy_n": 0, "preparation_seconds": None,
    }  # fmt: skip


def test_cost_of_warm_chunks_energy_and_preparation_are_told_apart(run: Run, zoo: TinyZoo) -> None:
    samples = [
        replace(
            sample, seconds=10.0 if i < 4 else 1.0 + i, warm=i >= 4,
            energy_joules=None if i == 0 else 100.0 * i, preparation_seconds=7.5 if i < 4 else None,
        )
        for i, sample in enumerate(run.samples)
    ]  # fmt: skip
    speed = summarise(run.table(zoo, ["psnr"], samples=samples), samples)["speed"]
    seconds = [10.0] * 4 + [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    for found, used in ((speed, seconds), (speed["warm"], seconds[4:])):
        assert found["n"] == len(used)
        assert found["seconds_per_image_median"] == np.median(used)
        assert found["seconds_per_image_mean"] == pytest.approx(np.mean(used))
        assert found["seconds_per_image_p95"] == pytest.approx(np.quantile(used, 0.95))
    assert (speed["energy_n"], speed["energy_joules_per_image"]) == (9, 500.0)
    assert speed["preparation_seconds"] == 30.0


def test_an_interval_does_not_depend_on_the_other_metrics(run: Run, zoo: TinyZoo) -> None:
    alone = summarise(run.table(zoo, ["ssim"]), run.samples)
    together = summarise(run.table(zoo, ["psnr", "ssim"]), run.samples)
    assert alone["metrics"]["ssim"] == together["metrics"]["ssim"]


def test_an_interval_is_that_of_the_content_images_and_stays_within_bounds(
    run: Run, zoo: TinyZoo
) -> None:
    table = run.table(zoo, ["psnr"])
    rows = table.to_pylist()
    values, images = np.array([r["value"] for r in rows]), [r["image_id"] for r in rows]
    entry = summarise(table, run.samples)["metrics"]["psnr"]
    assert entry["interval"] == pytest.approx(cluster_t_interval(values, images))
    near = np.where(np.arange(len(rows)) < 2, 0.0, 100.0)
    extreme = table.set_column(table.schema.get_field_index("value"), "value", [near.tolist()])
    low, high = summarise(extreme, run.samples)["metrics"]["psnr"]["interval"]
    assert (low > 0.0, high) == (True, 100.0)


def test_bootstrap_draws_images_and_not_samples() -> None:
    """Fifty copies of each image's value carry no more information than one."""
    values = np.array([0.1, 0.9, 0.4, 0.7, 0.2, 0.5])
    names = [f"image{i}" for i in range(6)]
    once = cluster_bootstrap(values, names, np.random.default_rng(0))
    copied = cluster_bootstrap(np.repeat(values, 50), list(np.repeat(names, 50)),
                               np.random.default_rng(0))  # fmt: skip
    assert once == pytest.approx(copied, abs=1e-12)


def test_bootstrap_agrees_with_scipy_where_each_image_has_one_sample() -> None:
    values = np.random.default_rng(5).normal(size=60)
    ours = cluster_bootstrap(values, [str(i) for i in range(60)], np.random.default_rng(0), 20000)
    reference = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx((reference.low, reference.high), abs=0.01)


def test_bootstrap_weighs_lopsided_images_by_their_samples() -> None:
    values = np.array([1.0] * 99 + [0.0])
    interval = cluster_bootstrap(values, ["many"] * 99 + ["one"], np.random.default_rng(0))
    # drawn twice, the small image alone decides: the interval reaches from 0 to 1
    assert interval == (0.0, 1.0)


@settings(max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.integers(0, 100))
def test_bootstrap_stays_within_the_values(values: list[float], seed: int) -> None:
    names = [str(i) for i in range(len(values))]
    interval = cluster_bootstrap(np.array(values), names, np.random.default_rng(seed), 200)
    assert interval is not None
    assert min(values) - 1e-9 <= interval[0] <= interval[1] <= max(values) + 1e-9


def test_bootstrap_refuses_what_it_cannot_use() -> None:
    rng = np.random.default_rng(0)
    assert cluster_bootstrap(np.ones(3), ["a"] * 3, rng) is None
    assert cluster_bootstrap(np.ones(0), [], rng) is None
    with pytest.raises(ValueError, match="3 values but 2 cluster names"):
        cluster_bootstrap(np.ones(3), ["a", "b"], rng)
    with pytest.raises(ValueError, match="level must lie in"):
        cluster_bootstrap(np.ones(2), ["a", "b"], rng, level=1.0)
