"""Dataset cards and prompt sets: complete metadata, or an error."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from benchmark.errors import UsageError, unknown_name

Domain = Literal["faces", "dogs", "bedrooms", "objects", "paintings"]


class StandIn(BaseModel):
    """A picture that ships with the package: ``data/stand_ins/<dataset>/<id>.png``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the file")


class Label(BaseModel):
    """Which rows are wanted: those of one value of a column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    value: str = Field(description="class name, or the folder of the file")


class FixedRows(BaseModel):
    """Rows of the split by number, from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[NonNegativeInt, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if list(self.rows) != sorted(set(self.rows)):
            raise ValueError("the rows must rise, each once")
        return self


class KeyedRows(BaseModel):
    """Of the first ``of`` rows that fit, the ``first`` ones with the smallest keyed SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: int = Field(gt=0)
    of: int = Field(gt=0)
    key: str

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.first > self.of:
            raise ValueError(f"{self.first} rows cannot be drawn from {self.of}")
        return self

    def draw(self, rows: Sequence[int]) -> list[int]:
        """The chosen ones among row numbers, in rising order."""
        digests = {row: hashlib.sha256(f"{self.key}/{row}".encode()).digest() for row in rows}
        return sorted(sorted(rows, key=digests.__getitem__)[: self.first])


class HubLocation(BaseModel):
    """A split of a dataset repository on the hub. A null revision is not pinned yet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    revision: str | None
    config: str | None = None
    split: str
    image_column: str
    label: Label | None = None
    gated: bool


class HubFacts(HubLocation):
    """Where the full dataset lives, which rows are taken, and mirrors in order of preference."""

    samples: dict[str, FixedRows | KeyedRows] = Field(min_length=1)
    mirrors: tuple[HubLocation, ...] = ()

    def location(self) -> HubLocation:
        """The preferred one."""
        return HubLocation(**self.model_dump(exclude={"samples", "mirrors"}))


class DatasetCard(BaseModel):
    """One dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    title: str
    domain: Domain
    image_size: int = Field(description="side of the published images in pixels")
    licence: str
    terms: str
    citation: str
    source_prompt: str
    hub: HubFacts
    stand_in: bool
    stand_in_note: str
    embedded: tuple[StandIn, ...] = Field(min_length=16)


class Prompt(BaseModel):
    """One target style. ``domains`` limits it to some; empty means all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    domains: tuple[Domain, ...] = ()


class PromptSet(BaseModel):
    """A versioned list of prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    quick: tuple[str, ...]
    prompts: tuple[Prompt, ...]

    def select(self, selection: str, domain: str) -> list[Prompt]:
        """``quick``, ``all`` (of the domain), or ids with commas, in the set's own order.

        Raises:
            UsageError: unknown id, or one that does not fit the domain.
        """
        fitting = {p.id: p for p in self.prompts if not p.domains or domain in p.domains}
        if selection == "all":
            return list(fitting.values())
        wanted = self.quick if selection == "quick" else [s.strip() for s in selection.split(",")]
        everything = {p.id for p in self.prompts}
        for name in wanted:
            if name not in everything:
                raise unknown_name("prompt", name, everything)
            if name not in fitting:
                raise UsageError(f"the prompt {name!r} is not for {domain}; see `bench show`")
        return [prompt for name, prompt in fitting.items() if name in wanted]


def custom_prompt(text: str) -> Prompt:
    """A prompt of the user's own, with an id made from its words.

    Raises:
        UsageError: empty text.
    """
    cleaned = " ".join(text.split())
    if not cleaned:
        raise UsageError("--prompt is empty: describe the target style in words")
    slug = re.sub(r"[^a-z0-9]+", "-", cleaned.lower()).strip("-")[:32].strip("-")
    digest = hashlib.sha256(cleaned.encode()).hexdigest()[:6]
    return Prompt(id=f"{slug}-{digest}" if slug else digest, text=cleaned)


@cache
def load_card(name: str) -> DatasetCard:
    """A shipped card."""
    text = (files("data") / "cards" / f"{name}.yaml").read_text(encoding="utf-8")
    return DatasetCard.model_validate(yaml.safe_load(text))


@cache
def load_prompts(name: str) -> PromptSet:
    """A shipped prompt set.

    Raises:
        UsageError: unknown name.
    """
    known: Sequence[str] = [
        item.name.removesuffix(".yaml") for item in (files("data") / "prompts").iterdir()
    ]
    if name not in known:
        raise unknown_name("prompt set", name, known)
    text = (files("data") / "prompts" / f"{name}.yaml").read_text(encoding="utf-8")
    return PromptSet.model_validate(yaml.safe_load(text))
