"""Fills the templates."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from benchmark.config import load_protocol
from reports.board import Board, Report, ReportedNumber, Row
from reports.formats.numbers import ARROWS, interval, number
from reports.site import names
from reports.site.cards import dataset_card, link_of, method_card
from reports.site.images import Samples, side_of
from reports.site.leaderboard import table_of
from reports.site.matrix import matrices_of
from reports.site.overview import overview_tables
from reports.site.plots import pareto_plot, sweep_plot

PICTURES = 500  # on a dataset page; the gallery has all
EXAMPLES = 8  # pictures on a run page


class Pages:
    """The pages of one report.

    Args:
        command: what made the report, as one line for a shell.
    """

    def __init__(self, report: Report, command: str) -> None:
        self._report = report
        self._balance = load_protocol(report.protocol).balance
        self._environment = environment()
        self._environment.globals.update(report=report, command=command)

    def index(self) -> str:
        boards = [
            {
                "board": board,
                "table": table_of(board),
                "n_samples": len(board.image_ids) * len(board.prompts),
                "methods": sorted({row.run.method for row in board.rows}),
                "n_complete": sum(row.run.state == "complete" for row in board.rows),
                "pareto": pareto_plot(board),
                "matrices": matrices_of(board),
                "sweeps": [
                    plot for sweep in board.sweeps if (plot := sweep_plot(board, sweep)) is not None
                ],
            }
            for board in self._report.boards
        ]
        return self._render(
            "index.html", root="", boards=boards, balance=self._balance,
            overviews=overview_tables(self._report),
            reported=reported_tables(self._report.reported),
            n_runs=sum(len(board.rows) for board in self._report.boards),
        )  # fmt: skip

    def run(self, board: Board, row: Row, samples: Samples, has_sources: bool) -> str:
        """A page in a subfolder; likewise the following ones."""
        made = [
            place
            for place, is_made in zip(samples.places_of(row.run), row.run.made, strict=True)
            if is_made
        ]
        return self._render(
            "run.html", root="../", board=board, row=row, run=row.run,
            manifest=row.run.manifest, card=method_card(row.run.method),
            cells=dict(zip(*_columns_and_cells(board, row), strict=True)),
            command_line=shlex.join(row.run.manifest.command),
            examples=_examples(board, samples, made[:EXAMPLES]), side=side_of(board),
            has_sources=has_sources, distribution=flat(row.run.distribution or {}),
            hardware=flat(row.run.manifest.hardware),
        )  # fmt: skip

    def dataset(self, board: Board, has_sources: bool) -> str:
        manifest = board.rows[0].run.manifest
        return self._render(
            "dataset.html", root="../", board=board, card=dataset_card(board.dataset),
            recorded=flat(manifest.dataset), side=side_of(board), has_sources=has_sources,
            source_prompt=manifest.config.source_prompt,
            pictures=list(enumerate(board.image_ids))[:PICTURES],
        )  # fmt: skip

    def gallery(self, board: Board) -> str:
        return self._render("gallery.html", root="../", board=board)

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values) + "\n"


def environment() -> Environment:
    """Templates that escape all they are given and stop at a name they do not know."""
    made = Environment(
        loader=PackageLoader("reports.site"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(number=number, interval=interval, breakable=breakable, compact=compact)
    made.globals.update(names=names, link_of=link_of, arrows=ARROWS)
    return made


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def compact(value: Any) -> str:
    """A config value as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as lines: ``source.name``, ``embedded``."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += flat(value, f"{prefix}{key}.")
        elif value not in (None, [], ""):
            shown = value if isinstance(value, list) else [value]
            lines.append((f"{prefix}{key}", ", ".join(compact(item) for item in shown)))
    return lines


@dataclass(frozen=True)
class ReportedTable:
    """Numbers of one source and setting; ``rows`` have a cell for each quantity."""

    source: str
    setting: str
    quantities: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


def reported_tables(numbers: tuple[ReportedNumber, ...]) -> list[ReportedTable]:
    """Methods down, quantities across."""
    found = []
    for source, setting in dict.fromkeys((item.source, item.setting) for item in numbers):
        own = [item for item in numbers if (item.source, item.setting) == (source, setting)]
        quantities = tuple(dict.fromkeys((item.quantity, item.unit) for item in own))
        values = {(item.method, item.quantity, item.unit): item.value for item in own}
        rows = tuple(
            (method, tuple(values.get((method, *quantity)) for quantity in quantities))
            for method in dict.fromkeys(item.method for item in own)
        )
        found.append(ReportedTable(source, setting, quantities, rows))
    return found


def _columns_and_cells(board: Board, row: Row) -> tuple[Any, Any]:
    table = table_of(board)
    return table.columns, next(cells for other, cells in table.rows if other is row)


def _examples(board: Board, samples: Samples, places: list[int]) -> list[dict[str, Any]]:
    prompts = list(board.prompts.values())
    return [
        {"place": place, "image": samples.images[place],
         "image_id": board.image_ids[samples.images[place]],
         "prompt": prompts[samples.prompts[place]]}
        for place in places
    ]  # fmt: skip
