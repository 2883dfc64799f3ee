"""What ``bench list``, ``bench show`` and ``bench run`` print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmark import registry
from benchmark.config import load_protocol, protocol_names
from benchmark.errors import unknown_name

if TYPE_CHECKING:
    from benchmark.finish import RunResult

Row = dict[str, Any]


def method_row(name: str) -> Row:
    """Name, title, guidance, paper, upstream and config of a method."""
    method = registry.load(registry.METHODS, name)
    return {
        "name": name,
        "title": method.card.title,
        "guidance": sorted(str(kind) for kind in method.guidance),
        "paper": method.card.paper,
        "upstream": method.card.upstream,
        "models": list(method.card.roles),
        "config": [
            {
                "key": key,
                "default": field.get_default(call_default_factory=True),
                "description": field.description or "",
            }
            for key, field in method.Config.model_fields.items()
        ],
    }


def dataset_row(name: str) -> Row:
    """A dataset's card."""
    card: Row = registry.load(registry.DATASETS, name).card.model_dump(mode="json")
    return {**card, "name": name}


def metric_row(name: str) -> Row:
    """A metric's declarations."""
    metric = registry.load(registry.METRICS, name)
    return {
        "name": name,
        "version": metric.version,
        "direction": metric.direction,
        "bounds": list(metric.bounds),
        "models": list(metric.encoders),
        "description": metric.description,
    }


def protocol_row(name: str) -> Row:
    """A protocol as it is stored."""
    return {"name": name, **load_protocol(name).model_dump(mode="json")}


def model_rows(weights_dir: Path | None) -> list[Row]:
    """Every model of the weights registry with its place and state."""
    from benchmark.zoo.models import inventory

    return [dict(row) for row in inventory(weights_dir)]


_GROUPS = {
    "methods": (registry.METHODS, method_row),
    "datasets": (registry.DATASETS, dataset_row),
    "metrics": (registry.METRICS, metric_row),
}


def names(kind: str) -> list[str]:
    """Sorted names of a kind, without importing what they name."""
    if kind == "models":
        from benchmark.zoo.registry import model_ids

        return model_ids()
    return protocol_names() if kind == "protocols" else registry.names(_GROUPS[kind][0])


def rows(kind: str, weights_dir: Path | None) -> list[Row]:
    """All rows of a kind, sorted by name."""
    if kind == "models":
        return model_rows(weights_dir)
    row = protocol_row if kind == "protocols" else _GROUPS[kind][1]
    return [row(name) for name in names(kind)]


_COLUMNS = {
    "methods": ("name", "title", "guidance", "paper"),
    "datasets": ("name", "title", "domain", "stand_in"),
    "metrics": ("name", "direction", "bounds", "models", "description"),
    "protocols": ("name", "title", "resolution", "prompt_set"),
    "models": ("name", "kind", "status", "path"),
}


def print_list(kind: str, weights_dir: Path | None, as_json: bool) -> None:
    """One line (or JSON object) for each entry."""
    found = rows(kind, weights_dir)
    if as_json:
        _print_json(found)
        return
    table = Table(*_COLUMNS[kind])
    for row in found:
        table.add_row(*(_text(row.get(column)) for column in _COLUMNS[kind]))
    Console().print(table)


def print_details(name: str, weights_dir: Path | None, as_json: bool) -> None:
    """Everything known of one name, of whatever kind.

    Raises:
        UsageError: no kind knows the name.
    """
    for kind in _COLUMNS:
        if name in names(kind):
            (row,) = (row for row in rows(kind, weights_dir) if row["name"] == name)
            _print_details(kind.removesuffix("s"), row, as_json)
            return
    raise unknown_name("name", name, [known for kind in _COLUMNS for known in names(kind)])


def _print_details(kind: str, row: Row, as_json: bool) -> None:
    if as_json:
        # a model row has a kind of its own (unet, clip, ...)
        own = {"model_kind": row["kind"]} if "kind" in row else {}
        _print_json({**row, **own, "kind": kind})
        return
    console = Console()
    table = Table("", "", title=f"{kind} {row['name']}", show_header=False)
    for key, value in row.items():
        if key not in {"name", "config"}:
            table.add_row(key, _text(value))
    console.print(table)
    if row.get("config"):
        config = Table("key", "default", "meaning", title="config (--set key=value)")
        for item in row["config"]:
            config.add_row(item["key"], _text(item["default"]), item["description"])
        console.print(config)


def print_result(result: RunResult, as_json: bool) -> None:
    """Scores and the places of the files of one run."""
    if as_json:
        _print_json(result.as_json())
        return
    console = Console()
    table = registry.load(registry.COMMANDS, "table")
    console.print(
        table({result.method: result.summary}, title=f"{result.method} on {result.dataset}")
    )
    if result.stand_in_note:
        console.print(f"note: {result.stand_in_note}", style="yellow", markup=False)
    failed = len(result.summary.get("failed", []))
    if failed:
        console.print(f"{failed} samples failed; see summary.json", style="red", markup=False)
    # paths stay on one line so that a terminal can open them
    sys.stdout.write(f"run directory  {result.directory}\n")
    if result.contact_sheet:
        sys.stdout.write(f"contact sheet  {result.contact_sheet}\n")


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_text(item)}" for key, item in value.items())
    return "-" if value is None else str(value)
