"""Why a cell of the table over the datasets is empty."""

from __future__ import annotations

from dataclasses import dataclass

from reports.board import Overview, Report
from reports.formats.numbers import number


@dataclass(frozen=True)
class OverviewCell:
    """A number, or why there is none."""

    text: str
    value: float | None
    reason: str | None


@dataclass(frozen=True)
class OverviewTable:
    """Methods over datasets, each row ending with the mean over the datasets."""

    metric: str
    direction: str
    datasets: tuple[str, ...]
    rows: tuple[tuple[str, tuple[OverviewCell, ...]], ...]


def overview_tables(report: Report) -> list[OverviewTable]:
    """A table for each metric."""
    directions = {m.name: m.direction for board in report.boards for m in board.metrics}
    return [
        OverviewTable(
            overview.metric,
            directions[overview.metric],
            overview.datasets,
            tuple((title, _cells(report, overview, title)) for title in overview.means),
        )
        for overview in report.overviews
    ]


def _cells(report: Report, overview: Overview, title: str) -> tuple[OverviewCell, ...]:
    cells = [
        OverviewCell(
            number(mean), mean, None if mean is not None else _reason(report, overview, title, name)
        )
        for name, mean in overview.means[title].items()
    ]
    over = overview.over_datasets[title]
    missing = sum(cell.value is None for cell in cells)
    reason = f"no mean, since {missing} of {len(cells)} datasets are missing"
    cells.append(OverviewCell(number(over), over, reason if over is None else None))
    return tuple(cells)


def _reason(report: Report, overview: Overview, title: str, dataset: str) -> str:
    board = next(board for board in report.boards if board.dataset == dataset)
    if not any(metric.name == overview.metric for metric in board.metrics):
        return f"no run on {dataset} was scored with it"
    rows = [
        row for row in board.rows if row.run.method == title or title.startswith(
            f"{row.run.method} ["
        )
    ]  # fmt: skip
    notes = {row.cells[overview.metric].note for row in rows} - {None}
    if len(rows) == 1 and notes:
        return str(notes.pop())
    return f"no complete run of this config on {dataset}" if rows else f"not run on {dataset}"
