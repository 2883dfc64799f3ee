"""A board as a table: columns with their direction, cells with what stands behind a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from reports.board import Balance, Board, Cell, Cost, MetricInfo, Row, StudyScore
from reports.formats.numbers import MISSING, cell_n, interval, number

Direction = Literal["higher", "lower"]
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        group: heading that it shares with its neighbours.
        help: one sentence for the tooltip.
        direction: which way is better; None for mere counts.
    """

    title: str
    group: str
    help: str
    direction: Direction | None


@dataclass(frozen=True)
class TableCell:
    """A cell.

    Attributes:
        value: what the column is sorted by; None goes last.
        text: the number as shown.
        small: lines under it.
        mark: place among the runs.
        tip: the whole story, in words.
    """

    value: float | None
    text: str
    small: tuple[str, ...] = ()
    mark: Literal["best", "second best"] | None = None
    tip: str = ""


@dataclass(frozen=True)
class Table:
    """A leaderboard; ``cells`` of a row are in the order of ``columns``."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Row, tuple[TableCell, ...]], ...]

    def groups(self) -> list[tuple[str, int]]:
        """Headings over the columns, and how many columns each spans."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found


def table_of(board: Board) -> Table:
    """All columns that any run has something for."""
    n_samples = len(board.image_ids) * len(board.prompts)
    made: list[tuple[Column, Callable[[Row], TableCell]]] = []
    if any(row.balance for row in board.rows):
        made += _balance_columns()
    made += [_metric_column(metric, board, n_samples) for metric in board.metrics]
    made += _study_columns(board)
    made += _cost_columns(board)
    made.append((
        Column("made", "Samples", f"Outputs that were made, of {n_samples}", None),
        lambda row: TableCell(float(row.run.n_made), str(row.run.n_made)),
    ))  # fmt: skip
    made.append((
        Column("failed", "Samples", "Samples for which the method gave no output", None),
        lambda row: TableCell(float(len(row.run.failures)), str(len(row.run.failures))),
    ))  # fmt: skip
    return Table(
        tuple(column for column, _ in made),
        tuple((row, tuple(cell(row) for _, cell in made)) for row in board.rows),
    )


def _metric_column(
    metric: MetricInfo, board: Board, n_samples: int
) -> tuple[Column, Callable[[Row], TableCell]]:
    n_runs = sum(row.cells[metric.name].mean is not None for row in board.rows)
    role = {board.style_metric: " (style)", board.content_metric: " (content)"}.get(metric.name, "")
    column = Column(metric.name, "Scores", f"{metric.description}{role}", metric.direction)

    def cell(row: Row) -> TableCell:
        found = row.cells[metric.name]
        if found.mean is None:
            tip = found.note or "no value"
            return TableCell(None, MISSING, tip=f"{metric.name}: {tip}")
        small = (interval(found.interval), cell_n(found, n_samples))
        return TableCell(
            found.mean, number(found.mean), tuple(line for line in small if line),
            "best" if found.best else "second best" if found.second else None,
            _metric_tip(metric, found, n_runs),
        )  # fmt: skip

    return column, cell


def _metric_tip(metric: MetricInfo, cell: Cell, n_runs: int) -> str:
    parts = [f"{metric.name} {cell.mean:.6g}"]
    if cell.interval:
        parts.append(f"95 % interval {cell.interval[0]:.6g} to {cell.interval[1]:.6g}")
    parts.append(f"{cell.n} samples of {cell.n_images} images")
    if cell.p_first is not None:
        parts.append(
            f"best of {n_runs} runs in {100 * cell.p_first:.3g} % of resamplings of the images"
        )
    if cell.note:
        parts.append(cell.note)
    return "; ".join(parts)


def _balance_columns() -> list[tuple[Column, Callable[[Row], TableCell]]]:
    def column(
        title: str, text: str, value: Callable[[Balance], float]
    ) -> tuple[Column, Callable[[Row], TableCell]]:
        def cell(row: Row) -> TableCell:
            if row.balance is None:
                return TableCell(None, MISSING, tip=f"{title}: needs both scores of a complete run")
            found = value(row.balance)
            front = "; on the Pareto front" if row.balance.on_pareto_front else ""
            return TableCell(found, number(found), tip=f"{title} {found:.6g}{front}")

        return Column(title, "Balance, 0 to 1", text, "higher"), cell

    return [
        column("balance", "Harmonic mean of normalised content and style",
               lambda found: found.harmonic_mean),
        column("content", "The content score between the protocol's anchors",
               lambda found: found.content),
        column("style", "The style score between the protocol's anchors",
               lambda found: found.style),
    ]  # fmt: skip


def _study_columns(board: Board) -> list[tuple[Column, Callable[[Row], TableCell]]]:
    def column(
        title: str, score: Callable[[Row], StudyScore | None]
    ) -> tuple[Column, Callable[[Row], TableCell]]:
        def cell(row: Row) -> TableCell:
            found = score(row)
            if found is None:
                return TableCell(None, MISSING, tip=f"{title}: not in the study")
            tip = f"{title} {found.mean:.4g} from {found.n_ratings} ratings"
            small = (interval(found.interval),) if found.interval else ()
            return TableCell(found.mean, number(found.mean), small, tip=tip)

        return Column(title, "User study, 0 to 100", f"Mean {title} rating", "higher"), cell

    if not any(row.study_content or row.study_style for row in board.rows):
        return []
    return [
        column("Content", lambda row: row.study_content),
        column("Style", lambda row: row.study_style),
    ]


def _cost_columns(board: Board) -> list[tuple[Column, Callable[[Row], TableCell]]]:
    def column(
        title: str, text: str, value: Callable[[Cost], float | None],
        shown: Callable[[float], str] = number, detail: Callable[[Cost], str] = lambda cost: "",
        cold: bool = False,
    ) -> tuple[Column, Callable[[Row], TableCell]]:  # fmt: skip
        def cell(row: Row) -> TableCell:
            found = value(row.cost)
            if found is None:
                return TableCell(None, MISSING, tip=f"{title}: not measured")
            small = ("cold",) if cold and row.cost.cold else ()
            return TableCell(
                found, shown(found), small, tip=f"{title} {found:.6g}{detail(row.cost)}"
            )

        return Column(title, "Cost", text, "lower"), cell

    every = [
        column("s/image", "Median seconds per image", lambda cost: cost.seconds_median,
               detail=_seconds_detail, cold=True),
        column("MiB", "Greatest memory", lambda cost: cost.peak_memory_mib, _whole),
        column("FLOPs", "Floating-point operations of one image, by `bench profile`",
               lambda cost: cost.flops, with_prefix),
        column("prep. s", "Seconds of fine-tuning and other preparation, apart from the seconds "
               "per image", lambda cost: cost.preparation_seconds),
        column("J/image", "Energy of one image", lambda cost: cost.energy_joules),
    ]  # fmt: skip
    values: tuple[Callable[[Cost], float | None], ...] = (
        lambda cost: 0.0, lambda cost: 0.0, lambda cost: cost.flops,
        lambda cost: cost.preparation_seconds, lambda cost: cost.energy_joules,
    )  # fmt: skip
    return [
        made
        for made, value in zip(every, values, strict=True)
        if any(value(row.cost) is not None for row in board.rows)
    ]


def _seconds_detail(cost: Cost) -> str:
    parts = []
    if cost.seconds_p95 is not None:
        parts.append(f"95th percentile {cost.seconds_p95:.6g}")
    if cost.cold:
        parts.append("cold: the first chunk is in it")
    parts.append(f"on {cost.hardware or 'hardware that was not recorded'}")
    return "".join(f"; {part}" for part in parts)


def _whole(value: float) -> str:
    return f"{value:.0f}"


def with_prefix(value: float) -> str:
    """``1.23 T``."""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.0f}"
