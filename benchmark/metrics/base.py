"""What every metric is: a torchmetrics ``Metric`` that keeps one value for each sample."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torchmetrics import Metric

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

OK = "ok"
NO_FACE = "no_face"
NOT_APPLICABLE = "not_applicable"
NON_FINITE = "failed: the metric is not a finite number"
# the position is what is stored and gathered across processes
STATUSES = (OK, NO_FACE, NOT_APPLICABLE, NON_FINITE)

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class MetricBatch:
    """Samples that are scored together.

    Attributes:
        outputs: stylised images, uint8 [N, 3, H, W].
        sources: the content images they were made from, same shape.
        prompts: target style of each sample, None where a style image took its place.
        source_prompts: style of each source in words.
        domains: what each image shows (``faces``, ``dogs``, ...).
        style_images: the style image of each sample, uint8 [3, h, w] of any size, or None where
            the style was given in words.
    """

    outputs: Tensor
    sources: Tensor
    prompts: Sequence[str | None]
    source_prompts: Sequence[str]
    domains: Sequence[str]
    style_images: Sequence[Tensor | None]


@dataclass(frozen=True)
class SampleScore:
    """One value; None where ``status`` (one of ``STATUSES``) is not ``ok``."""

    value: float | None
    status: str


class SampleMetric(Metric, ABC):
    """Base class of all metrics.

    A subclass sets the constants below, defines ``update`` with arguments named after the fields of
    :class:`MetricBatch` that it needs, and hands the values to :meth:`_keep`. ``compute()`` is the
    mean over the samples that have a value (float64; NaN if none has one).

    Attributes:
        name: as in the tables, and as the entry point.
        version: raised whenever an equal input can get another value.
        direction: which way is better.
        bounds: least and greatest value.
        encoders: roles of the zoo it needs.
        vgg_layers: of VGG, if it reads any: metrics that are scored together share one pass.
        description: one line for ``bench show``.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    direction: ClassVar[Direction]
    bounds: ClassVar[tuple[float, float]]
    encoders: ClassVar[tuple[str, ...]]
    vgg_layers: ClassVar[tuple[str, ...]] = ()
    description: ClassVar[str]

    full_state_update = False
    is_differentiable = False

    values: list[Tensor]
    codes: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")
        self.add_state("codes", default=[], dist_reduce_fx="cat")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:  # a shared base without constants
            return
        known = MetricBatch.__dataclass_fields__
        unknown = [name for name in cls.inputs() if name not in known]
        if unknown:
            raise TypeError(
                f"{cls.__name__}.update asks for {', '.join(unknown)}; a metric can ask for "
                f"{', '.join(known)}"
            )
        if cls.direction not in ("higher", "lower") or not cls.bounds[0] < cls.bounds[1]:
            raise TypeError(f"{cls.__name__} needs a direction and two increasing bounds")
        cls.higher_is_better = cls.direction == "higher"
        cls.plot_lower_bound, cls.plot_upper_bound = cls.bounds

    @classmethod
    @abstractmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        """The metric with the zoo's encoders.

        Args:
            prompts: the run's prompt set, for metrics that rank prompts.

        Raises:
            WeightsError: an encoder's weights are missing or damaged.
        """

    @classmethod
    def inputs(cls) -> tuple[str, ...]:
        """Names of the fields of :class:`MetricBatch` that ``update`` reads."""
        return tuple(inspect.signature(cls.update).parameters)[1:]

    def update_batch(self, batch: MetricBatch) -> None:
        """``update`` with the fields of ``batch`` that it asks for."""
        self.update(**{name: getattr(batch, name) for name in self.inputs()})

    def _keep(self, values: Tensor, missing: Sequence[str | None] | None = None) -> None:
        """Store a batch.

        Args:
            values: [N] float; entries with a missing status are ignored.
            missing: for each sample the status that stands in for a value, or None.
        """
        kept = values.detach().double().reshape(-1)
        statuses = list(missing) if missing is not None else [None] * len(kept)
        codes = torch.tensor(
            [STATUSES.index(status or OK) for status in statuses], device=kept.device
        )
        codes[(codes == 0) & ~kept.isfinite()] = STATUSES.index(NON_FINITE)
        self.values.append(kept.masked_fill(codes != 0, torch.nan))
        self.codes.append(codes)

    def _gathered(self) -> tuple[Tensor, Tensor]:
        if not isinstance(self.values, list):  # torchmetrics joins the lists when it synchronises
            return self.values, self.codes
        if not self.values:
            return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
        return torch.cat(self.values), torch.cat(self.codes)

    def compute(self) -> Tensor:
        """Mean over the samples that have a value, float64 []; NaN if there is none."""
        values, codes = self._gathered()
        return values[codes == 0].mean()

    def per_sample(self) -> list[SampleScore]:
        """One score for each sample, in the order of the updates."""
        values, codes = self._gathered()
        return [
            SampleScore(value if code == 0 else None, STATUSES[code])
            for value, code in zip(values.tolist(), codes.tolist(), strict=True)
        ]
