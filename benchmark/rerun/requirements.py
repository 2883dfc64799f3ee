"""What must be as the manifest says before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmark.config import ResolvedRun
from benchmark.errors import UsageError
from benchmark.records import Manifest
from benchmark.zoo import ModelZoo


def require_same(
    manifest: Manifest, resolved: ResolvedRun, zoo: ModelZoo, roles: Sequence[str]
) -> None:
    """Refuse a rerun that would be another run.

    What a protocol fixes is compared in what it leads to: resolution, prompts, the method's config,
    the fingerprint of the cropped sources, the weights that make the pictures and those that judge.

    Args:
        resolved: what this machine would run.
        roles: of the models that make and score it.

    Raises:
        UsageError: names every difference, there and here.
        WeightsError: a model is missing or damaged here.
    """
    differing = list(_differences(
        manifest.config.model_dump(mode="json"), resolved.model_dump(mode="json")
    ))  # fmt: skip
    for role, facts in sorted(zoo.verified_hashes(roles).items()):
        there = manifest.models.get(role)
        # the config's own models are compared above
        if there is not None and role not in manifest.config.models:
            differing += _differences(there.get("sha256"), facts["sha256"], f"models.{role}")
    if differing:
        lines = [
            f"  {_named(place)}: {there} there, {here} here" for place, there, here in differing
        ]
        raise UsageError(
            "\n".join(
                ["this machine would not make the manifest's run, so nothing was computed:", *lines]
            )
        )


def _named(place: str) -> str:
    known = {
        "fingerprint": "dataset fingerprint",
        "stand_in": "stand-in images",
    }
    if place.startswith("models."):
        return f"weights of {place.removeprefix('models.')} (SHA-256)"
    return known.get(place, place)


def _differences(there: Any, here: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            inner = f"{place}.{key}" if place else str(key)
            yield from _differences(there.get(key), here.get(key), inner)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for index, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from _differences(one, other, f"{place}[{index}]")
    elif there != here:
        yield place, there, here
