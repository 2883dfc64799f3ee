"""What a leaderboard is: plain data that every output format reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmark.stats import PairedComparison
from reports.collect import CollectedRun

Interval = tuple[float, float]


@dataclass(frozen=True)
class MetricInfo:
    """A column: as the metric's class declares it.

    Attributes:
        direction: which way is better.
        bounds: least and greatest value.
    """

    name: str
    version: int
    direction: Literal["higher", "lower"]
    bounds: Interval
    description: str


@dataclass(frozen=True)
class Cell:
    """A metric of a run.

    Attributes:
        mean: over the samples that have a value; None if the run is incomplete or none has one.
        interval: 95 % (:func:`benchmark.stats.cluster_t_interval`), within the metric's bounds.
        n: samples with a value.
        n_images: content images among them.
        note: why there is no mean or no interval, and which samples have no value.
        best, second: place among the board's runs; equal means share a place.
        p_first: share of resamplings of the images in which the run is best.
    """

    mean: float | None
    interval: Interval | None
    n: int
    n_images: int
    note: str | None
    best: bool = False
    second: bool = False
    p_first: float | None = None


@dataclass(frozen=True)
class Cost:
    """What an image costs; None where it was not measured.

    Attributes:
        seconds_median, seconds_p95: per image, over warm chunks if there are any.
        cold: the seconds include the first chunk, because there was no other.
        peak_memory_mib: greatest memory.
        flops: of one image, by ``bench profile``.
        preparation_seconds: fine-tuning and the like, apart from the seconds above.
        energy_joules: per image.
        hardware: what the seconds were measured on.
    """

    seconds_median: float | None
    seconds_p95: float | None
    cold: bool
    peak_memory_mib: float | None
    flops: float | None
    preparation_seconds: float | None
    energy_joules: float | None
    hardware: str


@dataclass(frozen=True)
class StudyScore:
    """A mean of a user study, 0 to 100."""

    mean: float
    interval: Interval | None
    n_ratings: int


@dataclass(frozen=True)
class Balance:
    """Content and style on the protocol's common scale of 0 to 1.

    Attributes:
        content, style: 0 at the protocol's worst anchor, 1 at its best, cut off there.
        harmonic_mean: of the two.
        on_pareto_front: no other run of the board is at least as good in both and better in one.
    """

    content: float
    style: float
    harmonic_mean: float
    on_pareto_front: bool


@dataclass(frozen=True)
class Row:
    """A run of a board.

    Attributes:
        id: unique in the report, file-name and HTML-id safe.
        label: method, and what tells it from the method's other runs on the board.
        cells: by metric; every metric of the board has one.
        study: mean content and style of a user study, if one was given.
    """

    id: str
    label: str
    run: CollectedRun
    cells: Mapping[str, Cell]
    cost: Cost
    balance: Balance | None
    study_content: StudyScore | None = None
    study_style: StudyScore | None = None


@dataclass(frozen=True)
class Duel:
    """Two complete runs on one metric.

    Attributes:
        first, second: row ids.
        comparison: first minus second.
        holm_p: permutation p, adjusted over all pairs of the board for this metric (Holm 1979).
        detectable: difference that this many images would show with a power of 80 %.
        winner: row id of the better one where ``holm_p`` < 0.05, else None.
    """

    first: str
    second: str
    comparison: PairedComparison
    holm_p: float | None
    detectable: float | None
    winner: str | None


@dataclass(frozen=True)
class Sweep:
    """Runs of one method that differ in one config key only.

    Attributes:
        points: (value of the key, row id), sorted by value.
    """

    method: str
    key: str
    points: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Board:
    """Runs over one and the same set of samples.

    Attributes:
        id: unique in the report, file-name safe.
        title: dataset, number of images and prompts.
        image_ids: of the content images, in the runs' order.
        prompts: target style by prompt id.
        metrics: columns.
        rows: complete runs by the order of the first style metric, then the incomplete ones.
        duels: by metric, all pairs of complete runs.
        stand_in_note: the images stand in for the dataset's own.
        notes: what a reader of the whole table should know.
    """

    id: str
    title: str
    dataset: str
    fingerprint: str
    image_ids: tuple[str, ...]
    prompts: Mapping[str, str]
    metrics: tuple[MetricInfo, ...]
    rows: tuple[Row, ...]
    duels: Mapping[str, tuple[Duel, ...]]
    sweeps: tuple[Sweep, ...]
    content_metric: str | None
    style_metric: str | None
    stand_in_note: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overview:
    """Methods over datasets, for one metric.

    Attributes:
        means: method -> dataset -> mean; a missing cell is None.
        over_datasets: method -> mean over the datasets; None unless every cell is there.
    """

    metric: str
    datasets: tuple[str, ...]
    means: Mapping[str, Mapping[str, float | None]]
    over_datasets: Mapping[str, float | None]


@dataclass(frozen=True)
class ReportedNumber:
    """A number as a paper states it, not measured here.

    Attributes:
        setting: on what it was obtained.
        unit: of the value.
    """

    method: str
    quantity: str
    value: float
    unit: str
    setting: str
    source: str


@dataclass(frozen=True)
class Report:
    """Everything that ``bench report`` shows. Equal runs give equal reports: no date, no order."""

    protocol: str
    protocol_title: str
    version: str
    boards: tuple[Board, ...]
    overviews: tuple[Overview, ...]
    reported: tuple[ReportedNumber, ...]
