"""Dataset cards: what a dataset is, under which terms, and which images stand in for it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError, model_validator

from benchmark.errors import DataError

Domain = Literal["faces", "dogs", "bedrooms", "objects", "paintings"]
Split = Literal["train", "validation", "test"]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
CARDS = Path(__file__).parent / "cards"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Window(_Model):
    """A square cut out of a photograph of :data:`data.photos.PHOTOS`, in its pixels."""

    id: Slug
    photo: str
    left: int = Field(ge=0)
    top: int = Field(ge=0)
    side: int = Field(ge=64)
    mirror: bool = Field(default=False, description="flipped left to right")


class Embedded(_Model):
    """Images that need no download, for the mini protocol."""

    stand_in: bool = Field(description="they are not images of the dataset itself")
    note: str = Field(min_length=20, description="the sentence that reports print")
    windows: tuple[Window, ...] = Field(min_length=8)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({window.id for window in self.windows}) != len(self.windows):
            raise ValueError("two windows have the same id")
        places = {window.model_dump_json(exclude={"id"}) for window in self.windows}
        if len(places) != len(self.windows):
            raise ValueError("two windows are the same")
        return self


class Hub(_Model):
    """Where copies of the dataset are said to be on the Hugging Face hub: leads, to be verified."""

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str | None = Field(description="commit (prefix) that was seen; None: not seen")
    split: Split = Field(description="as the hub names it")
    rows: int | None = None
    image_column: str = "image"
    label_column: str | None = None
    gated: bool = False
    warnings: tuple[str, ...] = ()


class DatasetCard(_Model):
    """One dataset.

    ``split`` and ``image_size`` describe the dataset as it is published. ``source_prompt`` is the
    style of its images in words.
    """

    name: Slug
    version: int = Field(ge=1, description="raised whenever a change moves the images")
    title: str
    domain: Domain = Field(description="class of the denoiser")
    split: Split
    image_size: int | None = Field(description="side in pixels; None: images of many sizes")
    licence: str
    terms: str
    citation: str
    homepage: HttpUrl
    checked: date = Field(description="when the facts were last looked at")
    source_prompt: str = Field(min_length=1)
    has_faces: bool
    embedded: Embedded
    hub: tuple[Hub, ...] = ()

    @property
    def stand_in(self) -> bool:
        """Whether the embedded images are a stand-in."""
        return self.embedded.stand_in


def read_card(path: Path) -> DatasetCard:
    """A card from its YAML file; the file's name must be the dataset's.

    Raises:
        DataError: unreadable, or not a valid card; names the file and the field.
    """
    try:
        card = DatasetCard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"the dataset card {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"the dataset card {path} is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise DataError(f"the dataset card {path}: {where}: {first['msg']}") from error
    if path.stem != card.name:
        raise DataError(
            f"the dataset card {path} is of {card.name!r}: name the file {card.name}.yaml"
        )
    return card


def shipped_cards() -> list[str]:
    """Names of the cards in this package, sorted."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))
