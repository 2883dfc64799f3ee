"""Who beats whom: a matrix of all pairs of complete runs, for each metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.board import Board, Duel, MetricInfo
from reports.formats.numbers import MISSING, interval, number, p_value

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class MatrixCell:
    """Row run minus column run; None in the matrix for a pair that was not compared."""

    difference: str
    verdict: Verdict
    tip: str


@dataclass(frozen=True)
class Pair:
    """A line of the list of pairs, as text."""

    first: int
    second: int
    difference: str
    interval: str
    p: str
    detectable: str
    n: str
    winner: str


@dataclass(frozen=True)
class Matrix:
    """One metric's pairs.

    Attributes:
        numbers: places in the leaderboard of the runs, which head rows and columns.
        labels: theirs.
        cells: [runs][runs]
        wins: of each run.
    """

    metric: MetricInfo
    numbers: tuple[int, ...]
    labels: tuple[str, ...]
    cells: tuple[tuple[MatrixCell | None, ...], ...]
    wins: tuple[int, ...]
    pairs: tuple[Pair, ...]


def matrices_of(board: Board) -> list[Matrix]:
    """A matrix for each metric with at least one pair, that of the style metric first."""
    found = [
        _matrix(board, metric, board.duels[metric.name])
        for metric in board.metrics
        if board.duels.get(metric.name)
    ]
    return sorted(found, key=lambda matrix: matrix.metric.name != board.style_metric)


def _matrix(board: Board, metric: MetricInfo, duels: tuple[Duel, ...]) -> Matrix:
    present = {name for duel in duels for name in (duel.first, duel.second)}
    rows = [(place, row) for place, row in enumerate(board.rows, start=1) if row.id in present]
    by_pair = {(duel.first, duel.second): duel for duel in duels}
    place_of = {row.id: place for place, row in rows}
    label_of = {row.id: row.label for _, row in rows}

    def cell(own: str, other: str) -> MatrixCell | None:
        if (own, other) in by_pair:
            return _cell(by_pair[own, other], 1, own)
        return _cell(by_pair[other, own], -1, own) if (other, own) in by_pair else None

    return Matrix(
        metric,
        tuple(place for place, _ in rows),
        tuple(row.label for _, row in rows),
        tuple(tuple(cell(own.id, other.id) for _, other in rows) for _, own in rows),
        tuple(sum(duel.winner == row.id for duel in duels) for _, row in rows),
        tuple(
            _pair(duel, place_of, label_of[duel.winner] if duel.winner else "undecided")
            for duel in duels
        ),
    )


def _cell(duel: Duel, sign: int, own: str) -> MatrixCell:
    comparison = duel.comparison
    verdict: Verdict = (
        "undecided" if duel.winner is None else "better" if duel.winner == own else "worse"
    )
    ends = comparison.interval
    if ends is not None and sign < 0:
        ends = (-ends[1], -ends[0])
    difference = _signed(comparison.mean_difference, sign)
    tip = (
        f"difference {difference} {interval(ends)}; Holm p {p_value(duel.holm_p)}; "
        f"this many images would show {number(duel.detectable)}"
    )
    return MatrixCell(difference, verdict, tip)


def _pair(duel: Duel, place_of: dict[str, int], winner: str) -> Pair:
    comparison = duel.comparison
    return Pair(
        place_of[duel.first],
        place_of[duel.second],
        _signed(comparison.mean_difference, 1),
        interval(comparison.interval) or MISSING,
        p_value(duel.holm_p),
        number(duel.detectable),
        f"{comparison.n} / {comparison.n_clusters}",
        winner,
    )


def _signed(value: float | None, sign: int) -> str:
    if value is None:
        return MISSING
    text = number(sign * value)
    return f"+{text}" if sign * value > 0 and float(text) else text
