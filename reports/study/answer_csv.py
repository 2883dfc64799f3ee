"""The CSV that the form saves: one line for each picture, the rater's particulars in every line."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from benchmark.errors import DataError

SHARED_COLUMNS = (
    "format", "schema_version", "form_version", "study_id", "rater_id", "seed", "started", "ended",
    "complete",
)  # fmt: skip
OWN_COLUMNS = ("position", "item", "content", "style", "seconds")
NUMBERS = {"schema_version", "form_version", "seed", "position", "content", "style", "seconds"}


def json_of_csv(text: str) -> str:
    """The JSON that the form would have saved instead; its values are not checked yet.

    Raises:
        DataError: the text is not such a CSV; the message names the line or column.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"is not CSV: {error}") from error
    header = rows[0] if rows else []
    absent = [name for name in (*SHARED_COLUMNS, *OWN_COLUMNS) if name not in header]
    if absent:
        raise DataError(
            f"has no column {absent[0]}. It must be the CSV that the form saves, with commas"
        )
    if len(rows) == 1:
        raise DataError("has no rows")
    table = []
    for line, cells in enumerate(rows[1:], start=2):
        if len(cells) != len(header):
            raise DataError(f"line {line} has {len(cells)} cells, the header {len(header)}")
        table.append(
            {name: _cell(name, cell, line) for name, cell in zip(header, cells, strict=True)}
        )
    for name in SHARED_COLUMNS:
        if any(row[name] != table[0][name] for row in table):
            raise DataError(f"column {name} is not the same in all lines")
    table.sort(key=lambda row: row["position"])
    if [row["position"] for row in table] != list(range(1, len(table) + 1)):
        raise DataError("column position does not count from 1 without gaps")
    whole: dict[str, Any] = {name: table[0][name] for name in SHARED_COLUMNS}
    whole["order"] = [row["item"] for row in table]
    whole["answers"] = [
        {name: row[name] for name in OWN_COLUMNS if name != "position"} for row in table
    ]
    return json.dumps(whole)


def _cell(name: str, cell: str, line: int) -> Any:
    if name == "complete":
        return {"true": True, "false": False}.get(cell.lower(), cell)
    if name not in NUMBERS:
        return cell
    if cell == "" and name in {"content", "style"}:
        return None
    try:
        return int(cell) if cell.lstrip("+-").isdigit() else float(cell)
    except ValueError as error:
        raise DataError(f"line {line}: {name} is {cell!r}, not a number") from error
