"""What a file of an experiment says: which runs, which columns, which claims."""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmark.errors import unknown_name
from reports.reported import ReportedTable, reported_tables

ALL = "all"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Part):
    """A row: a method, or ours with other values.

    Attributes:
        reported: its row in the paper's table.
        series, x: its place in a figure of curves.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    label: str
    method: str
    settings: dict[str, Any] = Field(default_factory=dict, alias="set")
    reported: str | None = None
    series: str | None = None
    x: float | None = None


class Column(_Part):
    """A metric, or a cost.

    Attributes:
        quantity: ``seconds`` of an image; ``preparation``, seconds of fine-tuning of the whole run.
        reported: the paper's quantity beside it, for all datasets or by dataset.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    metric: str | None = None
    quantity: Literal["seconds", "preparation"] | None = None
    reported: str | dict[str, str] | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.metric is None) == (self.quantity is None):
            raise ValueError(f"column {self.id}: give a metric or a quantity")
        return self

    def reported_for(self, dataset: str) -> str | None:
        """Name of the paper's quantity for a dataset."""
        if isinstance(self.reported, dict):
            return self.reported.get(dataset)
        return self.reported


class Claim(_Part):
    """A sentence that a test can decide: every variant of ``of`` beats every one of ``than``.

    Attributes:
        basis: ``numbers`` of the paper say so, or its ``default`` rests on it.
        dataset: on which; the experiment's only one if it is not said.
    """

    text: str
    basis: Literal["numbers", "default"]
    column: str
    of: tuple[str, ...] = Field(min_length=1)
    says: Literal["higher", "lower"]
    than: tuple[str, ...] = Field(min_length=1)
    dataset: str | None = None


class Experiment(_Part):
    """One table or figure of the paper.

    Attributes:
        layout: ``table``; ``curves``, every series on axes of its own; ``lines``, all on the same.
        attention_maps: draw the maps of ours for every source.
    """

    id: str
    title: str
    about: str
    layout: Literal["table", "curves", "lines"]
    datasets: tuple[str, ...] = Field(min_length=1)
    dataset_titles: dict[str, str] = Field(default_factory=dict)
    attention_maps: bool = False
    variants: tuple[Variant, ...] = Field(min_length=2)
    columns: tuple[Column, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        variants = [variant.id for variant in self.variants]
        columns = [column.id for column in self.columns]
        for names in (variants, columns):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{twice[0]!r} is there twice")
        for claim in self.claims:
            strange = {*claim.of, *claim.than} - set(variants)
            if strange or claim.column not in columns:
                raise ValueError(f"{claim.text!r}: unknown {sorted(strange) or claim.column}")
            if set(claim.of) & set(claim.than):
                raise ValueError(f"{claim.text!r} compares a variant with itself")
            if claim.dataset not in (*self.datasets, None):
                raise ValueError(f"{claim.text!r}: unknown dataset {claim.dataset!r}")
            if claim.dataset is None and len(self.datasets) > 1:
                raise ValueError(f"{claim.text!r}: on which dataset?")
        for variant in self.variants:
            if self.layout != "table" and (variant.series is None or variant.x is None):
                raise ValueError(f"{variant.id}: a figure of curves needs series and x")
        return self

    @property
    def name(self) -> str:
        """As the paper numbers it: ``Table 4-1``."""
        kind, _, number = self.id.partition("-")
        return f"{kind.capitalize()} {number}"

    @property
    def reported(self) -> ReportedTable | None:
        """The paper's numbers, if it prints any."""
        return reported_tables().get(self.id)

    def dataset_of(self, claim: Claim) -> str:
        return claim.dataset or self.datasets[0]


def experiment_names() -> list[str]:
    """Ids of the shipped experiments, tables first."""
    found = (item.name for item in (files("reports") / "experiments").iterdir())
    names = [name.removesuffix(".yaml") for name in found if name.endswith(".yaml")]
    return sorted(names, key=lambda name: (not name.startswith("table"), name))


def experiment_bytes(name: str) -> bytes:
    """The file of an experiment.

    Raises:
        UsageError: unknown name.
    """
    if name not in experiment_names():
        raise unknown_name("experiment", name, [*experiment_names(), ALL])
    return (files("reports") / "experiments" / f"{name}.yaml").read_bytes()


@cache
def load_experiment(name: str) -> Experiment:
    """A shipped experiment.

    Raises:
        UsageError: unknown name.
    """
    return Experiment.model_validate(yaml.safe_load(experiment_bytes(name)))


def chosen_experiments(name: str) -> list[Experiment]:
    """One, or all of them.

    Raises:
        UsageError: unknown name.
    """
    return [load_experiment(each) for each in (experiment_names() if name == ALL else [name])]
