"""Scores every sample of a run from its stored pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmark import registry
from benchmark.errors import BenchError, UsageError
from benchmark.metrics.base import MetricBatch, SampleMetric, SampleScore
from benchmark.metrics.batches import cut_batches
from benchmark.metrics.pixels import PASS
from benchmark.metrics.shared import SharedFeatures
from benchmark.metrics.workers import map_batches, worker_count

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

Pixels = npt.NDArray[np.uint8]
LoadPixels = Callable[[str], Pixels]
LoadStyle = Callable[[str], Pixels | None]

# as many images as the metrics hold full maps of, on each of a few workers
SCORING_BATCH = PASS
SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("metric_version", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ScoredSample:
    """One sample of a run, as scoring and the summary see it.

    Attributes:
        sample_id: unique in the run.
        image_id: samples with equal ids share one content image.
        prompt_id: id of the prompt or style image.
        prompt: target style in words; None where a style image took its place.
        source_prompt: style of the source in words.
        domain: what the image shows (``faces``, ...).
        status: ``ok`` or ``failed``.
        reason: why it failed, else None.
        seconds: time of the method for this sample; None if it was not measured.
        peak_memory_mib: greatest memory while it was made, in MiB; None if not measured.
        warm: whether the process had made a chunk before, so that nothing was set up any more.
        energy_joules: energy the accelerator took for this sample; None if it was not measured.
        preparation_seconds: time of the method's fine-tuning for this sample, beside ``seconds``;
            None if it does none.
    """

    sample_id: str
    image_id: str
    prompt_id: str
    prompt: str | None
    source_prompt: str
    domain: str
    status: str
    reason: str | None
    seconds: float | None
    peak_memory_mib: float | None
    warm: bool = False
    energy_joules: float | None = None
    preparation_seconds: float | None = None


def score_samples(
    samples: Sequence[ScoredSample],
    load_source: LoadPixels,
    load_output: LoadPixels,
    zoo: ModelZoo,
    metrics: Sequence[str] | None,
    prompts: Sequence[str],
    batch_size: int = SCORING_BATCH,
    load_style: LoadStyle | None = None,
) -> pa.Table:
    """Score stored images.

    Batches are cut from the samples ordered by id, so neither the order of ``samples`` nor the way
    a run was executed moves a score. A failed sample and one whose image cannot be read get rows
    without a value, never a zero.

    Args:
        samples: the run's samples, failed ones included.
        load_source: image_id -> [H, W, 3] uint8.
        load_output: sample_id -> [H, W, 3] uint8.
        zoo: the scoring models.
        metrics: names, or None for all that are registered.
        prompts: the run's prompt set, for metrics that rank prompts; duplicates count once.
        batch_size: images of a scoring batch; leave it alone for results that are to be compared.
            A rest of fewer than four joins the batch before it.
        load_style: prompt_id -> [h, w, 3] uint8, asked for samples without a prompt; None where
            no style images are kept.

    Returns:
        a table of ``SCHEMA``: one row for each sample and metric, samples in the order given.
        ``status`` is ``ok``, ``no_face``, ``not_applicable`` or ``failed: <reason>``, and ``value``
        is null unless it is ``ok``.

    Raises:
        UsageError: unknown metric (with the nearest names), one named twice, or none; sample ids
            that are not unique; a prompt that the scoring CLIP cannot read.
        WeightsError: a metric's encoder is missing or damaged.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if len({sample.sample_id for sample in samples}) != len(samples):
        raise UsageError("sample ids must be unique in a run")
    classes = metric_classes(metrics)
    failures: dict[str, str] = {}
    scores = _Scores([sample.sample_id for sample in samples], [cls.name for cls in classes])
    texts = list(dict.fromkeys(prompts))
    workers = [_Worker(classes, zoo, texts) for _ in range(worker_count(zoo.device))]
    batches = cut_batches(
        samples, load_source, load_output, load_style, zoo.device, batch_size, failures
    )
    for sample_ids, found in map_batches(workers, batches):
        for name, values in found.items():
            scores.put(name, sample_ids, values)
    return _table(samples, classes, scores, failures)


class _Worker:
    """Scores one batch at a time, with metrics of its own; the encoders are everybody's."""

    def __init__(
        self, classes: Sequence[type[SampleMetric]], zoo: ModelZoo, prompts: Sequence[str]
    ) -> None:
        self._metrics = [cls.from_zoo(zoo, prompts) for cls in classes]
        for metric in self._metrics:
            metric.to(zoo.device)
        layers = dict.fromkeys(layer for metric in self._metrics for layer in metric.vgg_layers)
        self._shared = SharedFeatures(tuple(layers))

    def __call__(
        self, batch: tuple[list[str], MetricBatch]
    ) -> tuple[list[str], dict[str, list[SampleScore]]]:
        sample_ids, images = batch
        found = {}
        with self._shared.active():
            for metric in self._metrics:
                metric.reset()
                metric.update_batch(images)
                found[metric.name] = metric.per_sample()
        return sample_ids, found


def metric_classes(names: Sequence[str] | None) -> list[type[SampleMetric]]:
    """The classes of metrics by name, in the order given; all of them, by name, for None.

    Raises:
        UsageError: unknown name (with the nearest ones), a name twice, or no name at all.
        BenchError: what is registered is no metric, or says another name than its entry point.
    """
    chosen = registry.names(registry.METRICS) if names is None else list(names)
    if not chosen:
        raise UsageError("no metric was chosen; see `bench list metrics`")
    if len(set(chosen)) != len(chosen):
        raise UsageError(f"a metric is named twice: {', '.join(chosen)}")
    classes: list[type[SampleMetric]] = []
    for name in chosen:
        found = registry.load(registry.METRICS, name)
        if not (isinstance(found, type) and issubclass(found, SampleMetric)):
            raise BenchError(f"the entry point of metric {name!r} is not a SampleMetric class")
        if found.name != name:
            raise BenchError(f"the entry point {name!r} holds the metric {found.name!r}")
        classes.append(found)
    return classes


class _Scores:
    """Values and statuses of every sample and metric, without an object for each."""

    def __init__(self, sample_ids: Sequence[str], metrics: Sequence[str]) -> None:
        self._place = {sample_id: index for index, sample_id in enumerate(sample_ids)}
        self.values = {name: np.full(len(sample_ids), np.nan) for name in metrics}
        self.statuses = {name: [""] * len(sample_ids) for name in metrics}

    def put(self, metric: str, sample_ids: Sequence[str], scores: Sequence[SampleScore]) -> None:
        for sample_id, score in zip(sample_ids, scores, strict=True):
            place = self._place[sample_id]
            if score.value is not None:
                self.values[metric][place] = score.value
            self.statuses[metric][place] = sys.intern(score.status)


def _table(
    samples: Sequence[ScoredSample], classes: Sequence[type[SampleMetric]], scores: _Scores,
    failures: dict[str, str],
) -> pa.Table:  # fmt: skip
    for sample_id, reason in failures.items():
        for cls in classes:
            scores.put(cls.name, [sample_id], [SampleScore(None, f"failed: {reason}")])
    of_sample = np.repeat(np.arange(len(samples)), len(classes))
    of_metric = np.tile(np.arange(len(classes)), len(samples))
    names = [cls.name for cls in classes]
    values = np.stack([scores.values[name] for name in names], axis=1).reshape(-1)
    statuses = [status for row in zip(*(scores.statuses[name] for name in names), strict=True)
                for status in row]  # fmt: skip
    assert all(statuses), "a sample was neither scored nor found unusable"
    columns = {
        key: pa.array([getattr(sample, key) for sample in samples], pa.string()).take(of_sample)
        for key in ("sample_id", "image_id", "prompt_id")
    }
    missing = np.array([status != "ok" for status in statuses], dtype=np.bool_)
    return pa.Table.from_pydict(
        {
            **columns,
            "metric": pa.array(names, pa.string()).take(of_metric),
            "value": pa.array(values, pa.float64(), mask=missing),
            "status": pa.array(statuses, pa.string()),
            "metric_version": pa.array([cls.version for cls in classes], pa.int32()).take(
                of_metric
            ),
        },
        schema=SCHEMA,
    )
