"""The weights registry: every checkpoint by id, with its file, hash, licence and architecture."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from benchmark.errors import WeightsError, unknown_name

Kind = Literal[
    "unet", "clip", "vgg", "dino", "face", "vqgan", "stylegan2", "adain", "vgg-normalised",
    "inception", "facenet", "arcface",
]  # fmt: skip
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MINI_WEIGHTS = Path(__file__).parent / "mini" / "weights"


class ModelCard(BaseModel):
    """What is known of one checkpoint.

    ``sha256`` is None where no trustworthy hash is published; such a file is used with a warning
    and recorded as not pinned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    kind: Kind
    title: str
    file: str = Field(pattern=r"^[^/\\]+$", description="file name, without a folder")
    ships: bool = Field(default=False, description="part of the package")
    urls: tuple[HttpUrl, ...] = Field(default=(), description="leads, best first")
    sha256: Sha256 | None = None
    bytes: int | None = Field(default=None, gt=0)
    licence: str
    architecture: dict[str, Any] | str | None = Field(
        default=None,
        description="config of a U-Net or generator, open_clip name of a CLIP; of other kinds, "
        "whose files tell by their shapes, the constructor's arguments for random weights, where "
        "its defaults do not fit",
    )
    classes: tuple[str, ...] | None = Field(
        default=None, description="labels of a class-conditional denoiser, in index order"
    )
    domains: tuple[str, ...] | None = Field(
        default=None, description="what a generator draws, where it is not everything"
    )
    source: str = Field(description="repository or page the facts come from")
    paper: str | None = Field(default=None, description="arXiv id, or a citation")
    note: str | None = None

    def path(self, weights_dir: Path) -> Path:
        """Where the file belongs: in the package if it ships, else in ``weights_dir``."""
        return (MINI_WEIGHTS if self.ships else weights_dir) / self.file


@cache
def _entries() -> dict[str, dict[str, Any]]:
    text = (files("benchmark.zoo") / "registry.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    return {entry["id"]: entry for entry in entries}


def model_ids() -> list[str]:
    """Ids of all registered checkpoints, sorted."""
    return sorted(_entries())


def _trained_facts(path: Path, kind: Kind) -> dict[str, Any]:
    """What the card that training wrote beside a shipped file adds to the registry."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        facts = {"sha256": card["sha256"]}
        if kind in ("unet", "vqgan", "stylegan2"):
            facts["architecture"] = card["architecture"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"the model card {path} is damaged ({type(error).__name__}: {error}): reinstall "
            f"stylebench"
        ) from error
    return facts


def model_card(model_id: str) -> ModelCard:
    """Card of one checkpoint.

    A shipped model's hash (and the architecture of a U-Net or a generator) comes from the
    ``.json`` that training wrote beside it.

    Raises:
        UsageError: unknown id (with the nearest ones).
        WeightsError: the card of a shipped model is damaged.
    """
    if model_id not in _entries():
        raise unknown_name("model", model_id, _entries())
    facts = dict(_entries()[model_id])
    trained = (MINI_WEIGHTS / facts["file"]).with_suffix(".json")
    if facts.get("ships") and trained.is_file():
        facts |= _trained_facts(trained, facts["kind"])
    try:
        return ModelCard.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WeightsError(f"the card of model {model_id!r}: {where}: {first['msg']}") from error
