"""Whether two runs may be compared: what must be equal, and what is not."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from benchmark import registry
from benchmark.config import ResolvedRun
from benchmark.errors import UsageError
from benchmark.regression.record import Record
from benchmark.scoring import metric_classes

ABSENT = "(not there)"
CONFIG = "method config"
_LONGEST = 200  # characters of a value that a message shows
_MOST_NAMED = 3  # samples that a message names


class NotComparableError(UsageError):
    """Something other than the method's code differs: no regression can be told."""


@dataclass(frozen=True)
class Difference:
    """One thing that differs.

    Attributes:
        what: in words.
        reference: its value in the reference.
        run: its value in the run.
    """

    what: str
    reference: str
    run: str

    def __str__(self) -> str:
        return f"{self.what}: {self.reference} in the reference, {self.run} in the run"


def require_comparable(reference: Record, run: Record, *, any_config: bool = False) -> None:
    """Refuse runs that differ in more than code and seed.

    Args:
        any_config: a method's config and precision may differ.

    Raises:
        NotComparableError: names every difference with both values.
    """
    _refuse(list(differences(reference, run)), any_config)


def require_same_setting(old: ResolvedRun, new: ResolvedRun, *, any_config: bool = False) -> None:
    """The same of what is known before a run is made, so that none is made in vain."""
    _refuse(list(_settings(old, new)), any_config)


def _refuse(found: list[Difference], any_config: bool) -> None:
    if any_config:
        found = [one for one in found if not one.what.startswith(CONFIG)]
    if not found:
        return
    lines = [f"  {one}" for one in found]
    remedy = (
        "That is no regression of the method. Compare like with like, or freeze a new reference."
    )
    if all(one.what.startswith(CONFIG) for one in found):
        remedy = (
            "That is no regression of the method's code. If the change of config is what you want "
            "to judge, add --any-config."
        )
    raise NotComparableError(
        "\n".join(["the run cannot be compared with the reference:", *lines, remedy])
    )


def differences(reference: Record, run: Record) -> Iterator[Difference]:
    """All that must be equal and is not; the seed is not part of it."""
    yield from _settings(reference.facts.manifest.config, run.facts.manifest.config)
    yield from _each("protocol content", reference.facts.protocol, run.facts.protocol)
    yield from _samples(reference.sample_ids, run.sample_ids)
    yield from _each("weights of the judge", _judges(reference), _judges(run))
    yield from _each(
        "version of the metric",
        reference.facts.metric_versions,
        # metrics that came later are nothing to compare
        {name: version for name, version in run.facts.metric_versions.items()
         if name in reference.facts.metric_versions},
    )  # fmt: skip


def _settings(old: ResolvedRun, new: ResolvedRun) -> Iterator[Difference]:
    for name in ("protocol", "method", "dataset", "stand_in", "resolution", "source_prompt"):
        yield from _one(name.replace("_", " "), getattr(old, name), getattr(new, name))
    yield from _one("fingerprint of the content images", old.fingerprint, new.fingerprint)
    yield from _each(
        "prompt",
        {prompt.id: prompt.model_dump(mode="json") for prompt in old.prompts},
        {prompt.id: prompt.model_dump(mode="json") for prompt in new.prompts},
    )
    yield from _each("weights of the method", old.models, new.models)
    yield from _one(f"{CONFIG} precision", old.precision, new.precision)
    came_later = _defaults(new.method, new.method_config.keys() - old.method_config.keys())
    yield from _each(CONFIG, {**came_later, **old.method_config}, new.method_config)


def _defaults(method: str, knobs: Collection[str]) -> dict[str, Any]:
    """What knobs that a reference does not know stand at: a new knob's default changes nothing.

    Knobs without a default, and those of a method that is not installed, are left out.
    """
    if not knobs or method not in registry.names(registry.METHODS):
        return {}
    fields = registry.load(registry.METHODS, method).Config.model_fields
    known = {name: fields[name] for name in knobs if name in fields}
    return {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in known.items() if not field.is_required()
    }  # fmt: skip


def _judges(record: Record) -> dict[str, str]:
    """SHA-256 by role of the models that scored a record."""
    models = record.facts.manifest.models
    roles = {
        role for cls in metric_classes(list(record.facts.metric_versions)) for role in cls.encoders
    }
    return {role: str(models[role]["sha256"]) for role in sorted(roles) if role in models}


def _samples(old: list[str], new: list[str]) -> Iterator[Difference]:
    missing, more = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    if missing:
        yield Difference("samples", _named(missing), ABSENT)
    if more:
        yield Difference("samples", ABSENT, _named(more))


def _named(samples: list[str]) -> str:
    rest = len(samples) - _MOST_NAMED
    return ", ".join(samples[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _each(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        yield from _one(f"{what} {key}", old.get(key, ABSENT), new.get(key, ABSENT))


def _one(what: str, old: Any, new: Any) -> Iterator[Difference]:
    if old != new:
        yield Difference(what, _text(old), _text(new))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
