"""Numbers that papers report, kept apart from what is measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from reports.board import ReportedNumber


@dataclass(frozen=True)
class ReportedTable:
    """A table as a paper prints it.

    Attributes:
        values: method -> quantity -> value.
        units: of each quantity.
        setting: on what the values were obtained.
    """

    source: str
    setting: str
    units: Mapping[str, str]
    values: Mapping[str, Mapping[str, float]]


def reported_tables() -> dict[str, ReportedTable]:
    """The tables of ``reported.yaml`` by id, in its order."""
    return {
        table["id"]: ReportedTable(
            source=table["source"], setting=table["setting"], units=table["units"],
            values=table["methods"],
        )
        for table in _loaded()
    }  # fmt: skip


def reported_numbers() -> tuple[ReportedNumber, ...]:
    """Every number of :func:`reported_tables`, in its order."""
    return tuple(
        ReportedNumber(
            method=method, quantity=quantity, value=float(value), unit=table.units[quantity],
            setting=table.setting, source=table.source,
        )
        for table in reported_tables().values()
        for method, values in table.values.items()
        for quantity, value in values.items()
    )  # fmt: skip


def _loaded() -> list[dict[str, Any]]:
    text = (files("reports") / "reported.yaml").read_text(encoding="utf-8")
    loaded: list[dict[str, Any]] = yaml.safe_load(text)
    return loaded
