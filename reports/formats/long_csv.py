"""A report as CSV in long format: one line for each board, run and metric."""

from __future__ import annotations

import csv
import io
from typing import Any

from reports.board import Report, Row

COLUMNS = (
    "protocol", "dataset", "board", "n_images", "n_prompts", "method", "label", "config_hash",
    "state", "metric", "version", "direction", "mean", "low", "high", "n", "n_images_scored",
    "best", "second", "p_first", "note",
)  # fmt: skip
# what a spreadsheet takes for a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(report: Report) -> str:
    """The leaderboard cells at full precision, and the costs as metrics of their own."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for board in report.boards:
        for row in board.rows:
            common = {
                "protocol": report.protocol,
                "dataset": _text(board.dataset),
                "board": board.id,
                "n_images": len(board.image_ids),
                "n_prompts": len(board.prompts),
                "method": _text(row.run.method),
                "label": _text(row.label),
                "config_hash": row.run.manifest.config_hash,
                "state": row.run.state,
            }
            for metric in board.metrics:
                cell = row.cells[metric.name]
                low, high = cell.interval or (None, None)
                writer.writerow({
                    **common, "metric": metric.name, "version": metric.version,
                    "direction": metric.direction, "mean": cell.mean, "low": low, "high": high,
                    "n": cell.n, "n_images_scored": cell.n_images, "best": int(cell.best),
                    "second": int(cell.second), "p_first": cell.p_first,
                    "note": _text(cell.note or ""),
                })  # fmt: skip
            for name, value in _others(row).items():
                if value is not None:
                    writer.writerow({**common, "metric": name, "mean": value})
    return buffer.getvalue()


def _others(row: Row) -> dict[str, Any]:
    cost, balance = row.cost, row.balance
    return {
        "seconds_per_image_median": cost.seconds_median,
        "seconds_per_image_p95": cost.seconds_p95,
        "peak_memory_mib": cost.peak_memory_mib,
        "flops_per_image": cost.flops,
        "preparation_seconds": cost.preparation_seconds,
        "energy_joules_per_image": cost.energy_joules,
        "normalised_content": balance.content if balance else None,
        "normalised_style": balance.style if balance else None,
        "harmonic_mean": balance.harmonic_mean if balance else None,
        "study_content": row.study_content.mean if row.study_content else None,
        "study_style": row.study_style.mean if row.study_style else None,
    }


def _text(value: str) -> str:
    """Text that a spreadsheet does not run."""
    return f"'{value}" if value.startswith(_FORMULA) else value
