"""Methods, datasets, metrics and report commands by name, found through entry points.

The built-in ones are registered in exactly the way a third party's package registers its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from benchmark.errors import BenchError, unknown_name

METHODS = "bench.methods"
DATASETS = "bench.datasets"
METRICS = "bench.metrics"
COMMANDS = "bench.commands"
OFFICIAL = "bench.official"
"""Official code of methods, for `bench profile --compare`: functions of a checkout and a config."""

_KINDS = {
    METHODS: "method",
    DATASETS: "dataset",
    METRICS: "metric",
    COMMANDS: "report command",
    OFFICIAL: "official code",
}


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise BenchError(
                f"two packages register the {_KINDS[group]} {entry.name!r}: {other.value} and "
                f"{entry.value}. Uninstall one of them or rename its entry point."
            )
    return found


def names(group: str) -> list[str]:
    """Sorted names of a group."""
    return sorted(_entries(group))


def distributions(chosen: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Versions, by name, of the installed packages that registered the names of each group."""
    dists = (_entries(group)[name].dist for group, found in chosen.items() for name in found)
    return {dist.name: dist.version for dist in dists if dist is not None}


def load(group: str, name: str) -> Any:
    """The object registered under ``name``.

    Raises:
        UsageError: unknown name (with the nearest ones).
        BenchError: the entry point cannot be imported.
    """
    entries = _entries(group)
    if name not in entries:
        raise unknown_name(_KINDS[group], name, entries)
    try:
        return entries[name].load()
    except ImportError as error:
        raise BenchError(
            f"the {_KINDS[group]} {name!r} ({entries[name].value}) cannot be imported: {error}"
        ) from error
