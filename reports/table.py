"""Scores as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

ARROWS = {"higher": "↑", "lower": "↓"}
FAILURES_SHOWN = 3


def score_table(summaries: Mapping[str, Mapping[str, Any]], title: str | None = None) -> Table:
    """One line for each metric and run.

    Args:
        summaries: what :func:`benchmark.summary.summarise` returned, by the run's label. Runs are
            put side by side line by line; whether they may be compared is for the caller to know.
        title: drawn above the table.

    Raises:
        ValueError: there is no summary.
    """
    if not summaries:
        raise ValueError("there is no summary to show")
    table = Table(title=None if title is None else Text(title))
    several = len(summaries) > 1
    table.add_column("metric", no_wrap=True)
    if several:
        table.add_column("run")
    for column in ("mean", "95 % interval", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("without a value")
    names = dict.fromkeys(name for summary in summaries.values() for name in summary["metrics"])
    for name in names:
        for label, summary in summaries.items():
            if name in summary["metrics"]:
                entry = summary["metrics"][name]
                cells = [f"{name} {ARROWS[entry['direction']]}"]
                if several:
                    cells.append(label)
                table.add_row(*map(Text, [*cells, *_numbers(entry), _missing(entry)]))
        table.add_section()
    table.caption = Text(
        "\n".join(
            (f"{label}: " if several else "") + line
            for label, summary in summaries.items()
            for line in _remarks(summary)
        )
    )
    table.caption_justify = "left"
    return table


def _numbers(entry: Mapping[str, Any]) -> list[str]:
    if entry["mean"] is None:
        return ["n/a", "n/a", str(entry["n"])]
    mean = entry["mean"]
    if entry["interval"] is None:
        return [_number(mean, abs(mean)), "n/a", str(entry["n"])]
    lower, upper = entry["interval"]
    # one number of digits in a line, that of its largest value
    size = max(abs(value) for value in (mean, lower, upper))
    return [
        _number(mean, size), f"{_number(lower, size)} .. {_number(upper, size)}", str(entry["n"]),
    ]  # fmt: skip


def _number(value: float, size: float) -> str:
    """About four digits that count: 0.1235, 23.46, 12345, 1.235e+08, 1.235e-05."""
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.3e}"
    return f"{value:.{4 if size < 10 else 2 if size < 1000 else 0}f}"


def _missing(entry: Mapping[str, Any]) -> str:
    counts = {status: count for status, count in entry["statuses"].items() if status != "ok"}
    notes = [f"{count} {status}" for status, count in counts.items()]
    if entry["n"] and entry["interval_note"]:
        notes.append(entry["interval_note"])
    return ", ".join(notes)


def _remarks(summary: Mapping[str, Any]) -> list[str]:
    speed, counts = summary["speed"], summary["samples"]
    lines = [f"{counts['total']} samples of {counts['images']} image(s), {counts['failed']} failed"]
    if speed["n"]:
        # summaries of an earlier version tell nothing of warm chunks
        warm = speed.get("warm") or {"n": 0}
        used, which = (warm, "warm") if warm["n"] else (speed, "first chunks included")
        lines.append(
            f"seconds per image: median {used['seconds_per_image_median']:.2f}, "
            f"95th percentile {used['seconds_per_image_p95']:.2f} ({which}, n = {used['n']})"
        )
    if speed.get("preparation_seconds") is not None:
        lines.append(f"preparation: {speed['preparation_seconds']:.0f} s for the whole run")
    if speed.get("energy_joules_per_image") is not None:
        lines.append(f"energy: {speed['energy_joules_per_image']:.0f} J per image")
    if speed["peak_memory_mib"] is not None:
        lines.append(f"peak memory: {speed['peak_memory_mib']:.0f} MiB")
    failures = [f"{row['sample_id']}: {row['reason']}" for row in summary["failed"]]
    failures += [
        f"{sample_id}: not scored: {reason}"
        for sample_id, reason in dict.fromkeys(
            (row["sample_id"], row["reason"]) for row in summary["unscored"]
        )
    ]
    lines += failures[:FAILURES_SHOWN]
    if len(failures) > FAILURES_SHOWN:
        lines.append(f"... and {len(failures) - FAILURES_SHOWN} more, listed in summary.json")
    return lines
