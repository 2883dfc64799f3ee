"""Protocols, and the full configuration of one run with its hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from benchmark.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from benchmark.interface import MethodConfig, StyleTransferMethod


class Anchor(BaseModel):
    """A metric on a scale from 0 (as at ``worst``) to 1 (as at ``best``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    worst: float
    best: float

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.worst == self.best:
            raise ValueError(f"the anchors of {self.metric} are equal")
        return self

    def normalised(self, value: float) -> float:
        """Where ``value`` lies between the anchors, cut off at 0 and 1."""
        return min(1.0, max(0.0, (value - self.worst) / (self.best - self.worst)))


class BalanceScale(BaseModel):
    """What brings content and style to one scale, so that they can be weighed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content: Anchor
    style: Anchor
    style_image: Anchor | None = Field(
        default=None, description="the style of runs that style images guide"
    )

    def style_of(self, shown: bool) -> Anchor | None:
        """The style of a run; ``shown``: whether style images guide it."""
        return self.style_image if shown else self.style


class Protocol(BaseModel):
    """What fixes a score: models, resolution, prompts, metrics. Versioned and never edited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    resolution: int = Field(gt=0, description="side of source and output in pixels")
    resize_filter: Literal["lanczos", "bicubic", "bilinear", "box"]
    prompt_set: str
    default_prompts: str
    models: dict[str, str] = Field(description="role -> id in the weights registry")
    dataset_models: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="dataset -> role -> id, where a dataset wants a model of its own",
    )
    source: str = Field(
        default="embedded", description="where images come from unless --source says other"
    )
    batch_size: int = Field(gt=0, description="samples of a chunk unless --batch-size says other")
    metrics: tuple[str, ...]
    style_image_metrics: tuple[str, ...] = Field(
        default=(), description="scored beside the metrics where style images guide"
    )
    balance: BalanceScale | None = None
    margins: dict[str, float] = Field(
        default_factory=dict,
        description="metric -> the change of its mean, in its own unit, that `bench check` lets "
        "pass; it decides no score",
    )
    method_config: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="defaults of a method under this protocol"
    )

    @model_validator(mode="after")
    def _margins_of_its_metrics(self) -> Self:
        for name, margin in self.margins.items():
            if name not in self.metrics_of(shown=True):
                raise ValueError(f"a margin for {name}, which the protocol does not score")
            if not 0 < margin < math.inf:
                raise ValueError(f"the margin of {name} must be above 0, got {margin}")
        return self

    def metrics_of(self, shown: bool) -> tuple[str, ...]:
        """What a run is scored by; ``shown``: whether style images guide it."""
        return (*self.metrics, *self.style_image_metrics) if shown else self.metrics

    def models_for(self, dataset: str) -> dict[str, str]:
        """The models of a run on a dataset, by role."""
        return {**self.models, **self.dataset_models.get(dataset, {})}

    def models_of(self, role: str) -> list[str]:
        """Every model that plays a role on some dataset; empty for a role that none plays."""
        places = (self.models, *self.dataset_models.values())
        return list(dict.fromkeys(models[role] for models in places if role in models))


def protocol_names() -> list[str]:
    """Ids of the shipped protocols."""
    folder = files("benchmark") / "protocols"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir()
                  if item.name.endswith(".yaml"))  # fmt: skip


def load_protocol(name: str) -> Protocol:
    """A shipped protocol.

    Raises:
        UsageError: unknown name.
    """
    if name not in protocol_names():
        raise unknown_name("protocol", name, protocol_names())
    text = (files("benchmark") / "protocols" / f"{name}.yaml").read_text(encoding="utf-8")
    return Protocol.model_validate(yaml.safe_load(text))


class MixturePart(BaseModel):
    """One of the styles that a mixture fuses: a prompt, or a style image by its pixels' hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    weight: float = Field(gt=0, le=1)
    text: str | None
    style_sha256: str | None


class PromptSpec(BaseModel):
    """One target style of a run: a prompt, a style image or a mixture, with a caption as text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    style_sha256: str | None = Field(
        default=None, description="of the pixels, where a style image takes the place of a prompt"
    )
    mixture: tuple[MixturePart, ...] | None = Field(
        default=None, description="the styles that are fused, where there are several"
    )

    @property
    def words(self) -> str | None:
        """The target in words, as methods and judges read it; None where an image shows it."""
        parts = self.mixture or ()
        shown = self.style_sha256 is not None or any(part.text is None for part in parts)
        return None if shown else self.text

    @property
    def caption(self) -> str:
        """The target for people, with the weights of a mixture."""
        if self.mixture is None:
            return self.text
        return " + ".join(f"{part.weight:g} {part.text or part.id}" for part in self.mixture)

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, serialise: SerializerFunctionWrapHandler) -> Any:
        """Runs by prompts keep the config hashes that they had before there were other styles."""
        found = serialise(self)
        for name in ("style_sha256", "mixture"):
            if found[name] is None:
                del found[name]
        return found


class ResolvedRun(BaseModel):
    """All that decides a run's pixels (up to float rounding). Its hash names the directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    method: str
    method_config: dict[str, Any]
    dataset: str
    stand_in: bool
    fingerprint: str = Field(description="of the frozen source images")
    resolution: int
    prompts: tuple[PromptSpec, ...]
    source_prompt: str
    seed: int
    precision: str
    models: dict[str, str] = Field(description="role -> SHA-256 of the weights the method uses")

    @property
    def config_hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()[:12]

    @property
    def shown(self) -> bool:
        """Whether style images guide the run, each alone."""
        return any(prompt.style_sha256 is not None for prompt in self.prompts)

    def directory(self, out: Path) -> Path:
        return out / self.protocol / self.dataset / self.method / self.config_hash


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def method_config(
    name: str, method: type[StyleTransferMethod], protocol: Protocol,
    config_file: Path | None, assignments: Sequence[str],
    settings: Sequence[tuple[str, Any, str]] = (),
) -> MethodConfig:  # fmt: skip
    """A method's config: its defaults, then the protocol's, then ``--config``, then ``--set``.

    Args:
        settings: (key, value, where it was written), which come last: those of a sweep.

    Raises:
        UsageError: unreadable file, unknown key, bad value; the message names where it came from.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def merge(new: dict[str, Any], source: str) -> None:
        for key, value in new.items():
            values[key] = value
            origin[key] = source

    merge(protocol.method_config.get(name, {}), f"protocol {protocol.id}")
    if config_file is not None:
        merge(_read_config(config_file), str(config_file))
    for assignment in assignments:
        key, found, text = assignment.partition("=")
        if not found or not key.strip():
            raise UsageError(f"--set {assignment!r} is not of the form key=value")
        try:
            merge({key.strip(): yaml.safe_load(text)}, f"--set {assignment}")
        except yaml.YAMLError as error:
            raise UsageError(f"--set {assignment!r}: the value is not valid YAML") from error
    for key, value, source in settings:
        merge({key: value}, source)
    unknown = [key for key in values if key not in method.Config.model_fields]
    if unknown:
        advice = unknown_name("config key", unknown[0], method.Config.model_fields)
        raise UsageError(f"{origin[unknown[0]]}: {advice} (method {name!r})")
    try:
        return method.Config.model_validate(values)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            key = str(detail["loc"][0]) if detail["loc"] else ""
            source = origin.get(key, f"config of {name}")
            got = "" if not key else f", got {detail.get('input')!r}"
            lines.append(f"{source}: {key or 'config'}: {detail['msg']}{got}")
        raise UsageError("\n".join(lines)) from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: not valid YAML: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise UsageError(f"--config {path}: expected a mapping of config keys to values")
    return loaded
