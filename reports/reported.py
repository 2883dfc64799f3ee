"""Numbers that papers report, kept apart from what is measured here."""

from __future__ import annotations

from importlib.resources import files

import yaml

from reports.board import ReportedNumber


def reported_numbers() -> tuple[ReportedNumber, ...]:
    """The rows of ``reported.yaml``, in its order."""
    text = (files("reports") / "reported.yaml").read_text(encoding="utf-8")
    return tuple(
        ReportedNumber(
            method=method, quantity=quantity, value=float(value), unit=table["units"][quantity],
            setting=table["setting"], source=table["source"],
        )
        for table in yaml.safe_load(text)
        for method, values in table["methods"].items()
        for quantity, value in values.items()
    )  # fmt: skip
