"""A report as Markdown that GitHub and the usual renderers show as tables."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Sequence

from reports.board import Board, Cell, Overview, Report, Row
from reports.formats.numbers import ARROWS, MISSING, cell_n, difference, interval, number, p_value


def to_markdown(report: Report) -> str:
    """The whole report. Text from outside shows as text, whatever signs are in it."""
    parts = [
        f"# Style transfer under {escape(report.protocol)}",
        f"{escape(report.protocol_title)}. Made by stylebench {report.version}.",
        "Means with 95 % intervals, clustered by content image. **Best** in bold, second best "
        "underlined; arrows show which way is better.",
    ]
    for board in report.boards:
        parts += _board(board)
    if report.overviews:
        parts += ["## Over the datasets", "A mean over datasets is given only if none is missing."]
        parts += [part for overview in report.overviews for part in _overview(overview)]
    if report.reported:
        parts += [
            "## Numbers that papers report",
            "Not measured here, on other images and machines: not comparable with the above.",
            _table(
                ["method", "quantity", "value (reported)", "setting", "source"],
                [
                    [escape(r.method), escape(r.quantity), f"{number(r.value)} {escape(r.unit)}",
                     escape(r.setting), escape(r.source)]
                    for r in report.reported
                ],
            ),
        ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Plain text for a table cell: no markup, no HTML, one line."""
    flat = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~$#!]|^[+-])", r"\\\1", flat)


def _board(board: Board) -> list[str]:
    parts = [f"## {escape(board.title)}"]
    if board.stand_in_note:
        parts.append(f"> {escape(board.stand_in_note)}")
    n_samples = len(board.image_ids) * len(board.prompts)
    studied = any(row.study_content for row in board.rows)
    balanced = any(row.balance for row in board.rows)
    header = ["method", *(f"{escape(m.name)} {ARROWS[m.direction]}" for m in board.metrics)]
    header += ["content", "style", "balance"] * balanced
    header += ["Content (study)", "Style (study)"] * studied
    header += ["s / image", "samples"]
    parts.append(_table(header, [_row(row, board, n_samples, studied, balanced)
                                 for row in board.rows]))  # fmt: skip
    parts += [escape(note) + "." for note in board.notes]
    parts += _notes(board)
    for name in (board.content_metric, board.style_metric):
        if name and board.duels.get(name):
            parts += [f"### Who beats whom on {escape(name)}", _duels(board, name)]
    parts += ["### How these rows were made", _table(
        ["method", "config", "manifest SHA-256", "hardware", "command"],
        [
            [escape(row.label), row.run.manifest.config_hash, row.run.manifest_sha256[:12],
             escape(row.cost.hardware), f"`{_code(shlex.join(row.run.manifest.command))}`"]
            for row in board.rows
        ],
    )]  # fmt: skip
    return parts


def _row(row: Row, board: Board, n_samples: int, studied: bool, balanced: bool) -> list[str]:
    cells = [escape(row.label) + (" (incomplete)" if row.run.state == "incomplete" else "")]
    cells += [_cell(row.cells[metric.name], n_samples) for metric in board.metrics]
    if balanced:
        found = row.balance
        shown = [found.content, found.style, found.harmonic_mean] if found else [None] * 3
        cells += [number(value) for value in shown]
    if studied:
        for score in (row.study_content, row.study_style):
            cells.append(f"{number(score.mean)} {interval(score.interval)}" if score else MISSING)
    cost = row.cost
    cells.append(number(cost.seconds_median) + (" (cold)" if cost.cold else ""))
    cells.append(f"{row.run.n_made} of {n_samples}")
    return cells


def _cell(cell: Cell, n_samples: int) -> str:
    if cell.mean is None:
        return MISSING
    mean = number(cell.mean)
    mean = f"**{mean}**" if cell.best else f"<u>{mean}</u>" if cell.second else mean
    return " ".join(filter(None, [mean, interval(cell.interval), cell_n(cell, n_samples)]))


def _notes(board: Board) -> list[str]:
    lines = [
        f"- {escape(row.label)}: {escape(note)}" for row in board.rows for note in row.run.notes
    ]
    lines += [
        f"- {escape(row.label)}, {escape(name)}: {escape(cell.note)}"
        for row in board.rows
        for name, cell in row.cells.items()
        if cell.note and row.run.state == "complete"
    ]
    lines += [
        f"- {escape(row.label)}: {escape(sample)} failed: {escape(reason)}"
        for row in board.rows
        for sample, reason in row.run.failures
    ]
    return ["\n".join(lines)] if lines else []


def _duels(board: Board, metric: str) -> str:
    labels = {row.id: escape(row.label) for row in board.rows}
    return _table(
        ["pair", "difference", "p (Holm)", "ahead", "detectable"],
        [
            [f"{labels[duel.first]} minus {labels[duel.second]}", difference(duel.comparison),
             p_value(duel.holm_p), labels[duel.winner] if duel.winner else "undecided",
             number(duel.detectable)]
            for duel in board.duels[metric]
        ],
    )  # fmt: skip


def _overview(overview: Overview) -> list[str]:
    header = [escape(overview.metric), *map(escape, overview.datasets), "mean"]
    rows = [
        [escape(method), *(number(means[dataset]) for dataset in overview.datasets),
         number(overview.over_datasets[method])]
        for method, means in overview.means.items()
    ]  # fmt: skip
    return [_table(header, rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str) -> str:
    """For a code span inside a table: nothing may end the span or the cell."""
    return " ".join(text.split()).replace("`", "'").replace("|", "\\|")
