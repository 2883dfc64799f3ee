"""The key of a study: which item is which method's. It stays with the researcher."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.config import canonical_json
from benchmark.errors import DataError
from reports.study.result import EntryName, first_problem

FORM_FILE = "form.html"
KEY_FILE = "key.json"
FORM_VERSION: Literal[1] = 1


class KeyItem(BaseModel):
    """One picture of the form.

    Attributes:
        entry: index into the key's entries.
        repeat_of: the item that shows the same picture, if this is the second time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: int = Field(ge=0)
    sample_id: str
    image_id: str
    prompt_id: str
    prompt: str
    repeat_of: str | None = None


class StudyKey(BaseModel):
    """What the form does not tell.

    Attributes:
        study_id: hash of all that decides the form.
        items: by the name that the form and the answers use.
        form_sha256: of the form that was written with this key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    form_version: Literal[1] = FORM_VERSION
    study_id: str
    title: str
    protocol: str
    dataset: str
    stand_in: bool
    seed: int
    entries: tuple[EntryName, ...]
    items: dict[str, KeyItem]
    form_sha256: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> StudyKey:
        for name, item in self.items.items():
            if item.entry >= len(self.entries):
                raise ValueError(f"item {name} names entry {item.entry}, which is not there")
            if item.repeat_of is not None and item.repeat_of not in self.items:
                raise ValueError(f"item {name} repeats {item.repeat_of}, which is not there")
        return self

    def originals(self) -> Mapping[str, KeyItem]:
        """Items that are no repeats."""
        return {name: item for name, item in self.items.items() if item.repeat_of is None}

    def label(self, entry: EntryName) -> str:
        """The method, with its config where the study has it under several."""
        several = sum(other.method == entry.method for other in self.entries) > 1
        return f"{entry.method} {entry.config_hash}" if several else entry.method


def with_study_id(key: StudyKey) -> StudyKey:
    """The same key with the id that its content asks for."""
    content = key.model_dump(mode="json", exclude={"study_id", "form_sha256"})
    return key.model_copy(
        update={"study_id": hashlib.sha256(canonical_json(content)).hexdigest()[:12]}
    )


def load_key(folder: Path) -> StudyKey:
    """The key in a study's folder.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / KEY_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}. Give the folder that `bench study new` wrote."
        ) from error
    try:
        key = StudyKey.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{path} is damaged: {first_problem(error)}") from error
    if with_study_id(key).study_id != key.study_id:
        raise DataError(f"{path} was edited: its content does not belong to study {key.study_id}")
    return key
