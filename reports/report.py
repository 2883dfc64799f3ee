"""``bench report``: run directories in, leaderboards, figures and a site out."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from benchmark.environment import command_line
from benchmark.errors import UsageError
from benchmark.files import explain_write_errors, write_atomically
from reports.board import Board, Report
from reports.collect import collect
from reports.formats.latex import to_latex
from reports.formats.long_csv import to_csv
from reports.formats.markdown import to_markdown
from reports.formats.numbers import ARROWS, MISSING, number
from reports.formats.report_json import to_json
from reports.leaderboard import build_report
from reports.reported import reported_numbers
from reports.study_scores import study_of

Format = Literal["markdown", "csv", "json", "latex", "site"]
FORMATS: tuple[Format, ...] = get_args(Format)
FILES = {"markdown": "report.md", "csv": "report.csv", "json": "report.json",
         "latex": "report.tex"}  # fmt: skip
MOST_SITE_RUNS = 1000  # its plots and matrices grow with the square of their number
TERMINAL_METRICS = 4  # more columns cannot be read
MARK = ".stylebench-report"  # by which a later call knows the folder for its own


def report(
    paths: Sequence[Path], *, out: Path, formats: Sequence[str], protocol: str | None,
    studies: Sequence[Path], verify_images: bool, as_json: bool,
) -> None:  # fmt: skip
    """The command: read and check the runs, write the report, print the leaderboards.

    Args:
        paths: run directories, or folders that hold some.
        out: folder of the report; made anew if an earlier report is there.
        formats: of ``FORMATS``.
        protocol: needed where the runs follow several.
        studies: files of ``bench study score``.
        verify_images: compare the stored images with their hashes.

    Raises:
        UsageError: no runs, several protocols, an unknown format, a folder that is not a report's.
        RunDirectoryError: runs that are damaged, changed, or cannot be compared.
    """
    chosen = _formats(formats)
    _require_own(out)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading runs")
        runs = collect(
            paths,
            verify_images=verify_images,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    found = build_report(
        runs, protocol=protocol, reported=reported_numbers(), study=study_of(studies)
    )
    runs_found = sum(len(board.rows) for board in found.boards)
    if runs_found > MOST_SITE_RUNS and "site" in chosen:
        advice = f"the site holds at most {MOST_SITE_RUNS:,} runs, here are {runs_found:,}"
        if formats:
            raise UsageError(f"{advice}: give fewer runs, or other formats with --format")
        sys.stderr.write(f"{advice}: it is left out\n")
        chosen = [name for name in chosen if name != "site"]
    written = write_report(found, out, chosen)
    if as_json:
        json.dump({"report": str(out), "files": {k: str(v) for k, v in written.items()},
                   "protocol": found.protocol, "boards": [board.id for board in found.boards]},
                  sys.stdout, indent=2)  # fmt: skip
        sys.stdout.write("\n")
        return
    console = Console()
    for board in found.boards:
        console.print(board_table(board))
    for name, path in written.items():
        sys.stdout.write(f"{name:<10}{path}\n")


def write_report(found: Report, out: Path, formats: Sequence[Format]) -> dict[str, Path]:
    """Write the chosen formats into ``out`` and return their paths."""
    _require_own(out)
    with explain_write_errors(out):
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / MARK).write_text(f"{found.protocol}\n", encoding="utf-8")
    texts = {"markdown": to_markdown, "csv": to_csv, "json": to_json, "latex": to_latex}
    written: dict[str, Path] = {}
    for name in formats:
        if name == "site":
            from reports.site import write_site

            written[name] = write_site(found, out / "site", command=command_line())
        else:
            written[name] = out / FILES[name]
            write_atomically(written[name], texts[name](found).encode())
    return written


def board_table(board: Board) -> Table:
    """A board in the terminal: the metrics of style and content; the files have all of them."""
    note = f"\n{board.stand_in_note}" if board.stand_in_note else ""
    table = Table(title=Text(f"{board.title}{note}"), caption="every metric is in the files")
    weighed = (board.style_metric, board.content_metric)
    shown = [metric for metric in board.metrics if metric.name in weighed]
    shown = shown or list(board.metrics[:TERMINAL_METRICS])
    table.add_column("method")
    for metric in shown:
        table.add_column(Text(f"{metric.name} {ARROWS[metric.direction]}"), justify="right")
    for title in ("balance", "s/image"):
        table.add_column(title, justify="right")
    for row in board.rows:
        cells = [Text(row.label)]
        for metric in shown:
            cell = row.cells[metric.name]
            style = "bold" if cell.best else "underline" if cell.second else ""
            cells.append(Text(number(cell.mean) if cell.mean is not None else MISSING, style))
        if row.run.state == "incomplete":
            cells[0].append(" (incomplete)", "yellow")
        balance = number(row.balance.harmonic_mean if row.balance else None)
        table.add_row(*cells, balance, number(row.cost.seconds_median))
    return table


def _formats(names: Sequence[str]) -> list[Format]:
    if not names:
        return list(FORMATS)
    unknown = sorted(set(names) - set(FORMATS))
    if unknown:
        raise UsageError(f"unknown format {unknown[0]!r}; known: {', '.join(FORMATS)}")
    return [name for name in FORMATS if name in names]


def _require_own(out: Path) -> None:
    """Refuse to replace a folder that no report wrote."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose another folder with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UsageError(
            f"{out} is not empty and holds no report: choose another folder with --out"
        )
