"""Drawings and matrices against the report's numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from reports.board import Board, Report
from reports.site.matrix import matrices_of
from reports.site.plots import RADII, pareto_plot, sweep_plot
from tests.reports.site.html import parse
from tests.reports.site.reports import board_named


@pytest.fixture(scope="module")
def board(report: Report) -> Board:
    return board_named(report, "afhq")


def value_at(pixel: float, ticks: tuple[tuple[float, str], ...], start: float, end: float) -> float:
    (low, _), (high, _) = ticks[0], ticks[-1]
    return low + (pixel - start) / (end - start) * (high - low)


def test_dots_stand_where_content_and_style_are(board: Board) -> None:
    plot = pareto_plot(board)
    assert plot is not None
    balanced = [row for row in board.rows if row.balance]
    assert {dot.row.id for dot in plot.dots} == {row.id for row in balanced}
    for dot in plot.dots:
        balance = dot.row.balance
        assert balance is not None
        frame = plot.frame
        content = value_at(dot.x, plot.x.ticks, frame.left, frame.right)
        style = value_at(dot.y, plot.y.ticks, frame.bottom, frame.top)
        assert content == pytest.approx(balance.content, abs=1e-4)
        assert style == pytest.approx(balance.style, abs=1e-4)
        assert dot.filled == balance.on_pareto_front
        assert dot.number == board.rows.index(dot.row) + 1


def test_areas_grow_with_the_seconds(board: Board) -> None:
    plot = pareto_plot(board)
    assert plot is not None
    seconds = {dot.row.id: dot.row.cost.seconds_median or 0 for dot in plot.dots}
    dearest = max(seconds.values())
    for dot in plot.dots:
        exact = RADII[1] * (seconds[dot.row.id] / dearest) ** 0.5
        assert dot.radius == pytest.approx(max(RADII[0], exact), abs=0.06)
    radii = [dot.radius for dot in plot.dots]
    assert radii == sorted(radii, reverse=True), "small dots are drawn over large ones"


def test_many_runs_are_named_by_number(board: Board) -> None:
    row = next(row for row in board.rows if row.balance)
    many = replace(board, rows=tuple(replace(row, id=f"{row.id}-{n}") for n in range(12)))
    plot = pareto_plot(many)
    assert plot is not None
    assert {dot.name for dot in plot.dots} == {str(n) for n in range(1, 13)}
    assert pareto_plot(replace(board, rows=tuple(r for r in board.rows if not r.balance))) is None


def test_a_sweep_is_drawn_over_seconds(board: Board) -> None:
    (sweep,) = board.sweeps
    plot = sweep_plot(board, sweep)
    assert plot is not None
    assert [dot.name for dot in plot.dots] == ["t0 = 10", "t0 = 25"]
    assert [dot.values[0] for dot in plot.dots] == [1.1, 2.4]
    for dot in plot.dots:
        cell = dot.row.cells["clip_score_patch"]
        assert dot.values[1] == cell.mean
        assert dot.bar is not None
        assert dot.bar[0] > dot.y > dot.bar[1], "pixels grow downwards"
    assert sweep_plot(replace(board, style_metric=None), sweep) is None


def test_matrices_mirror_and_count_wins(board: Board) -> None:
    matrices = matrices_of(board)
    assert matrices[0].metric.name == board.style_metric
    for matrix in matrices:
        duels = board.duels[matrix.metric.name]
        assert len(matrix.pairs) == len(duels)
        assert sum(matrix.wins) == sum(duel.winner is not None for duel in duels)
        mirrored = {"better": "worse", "worse": "better", "undecided": "undecided"}
        for i, line in enumerate(matrix.cells):
            assert line[i] is None
            for j, cell in enumerate(line):
                other = matrix.cells[j][i]
                if cell is not None and other is not None:
                    assert cell.verdict == mirrored[other.verdict]
                    assert float(cell.difference) == -float(other.difference)


def test_every_plot_has_a_table_of_its_data(report: Report, site: Path) -> None:
    document = parse(site / "index.html")
    figures = [e for e in document.all("figure") if e.attributes.get("class") == "plot"]
    tables = [
        e for e in document.all("div")
        if re.match("Data of", e.attributes.get("aria-label") or "")
    ]  # fmt: skip
    assert len(figures) == len(tables) == 3, "two boards, one sweep"
    plot = pareto_plot(board_named(report, "afhq"))
    assert plot is not None
    for dot in plot.dots:
        assert dot.row.label in tables[0].text
        assert f"{dot.values[0]:.3f}" in tables[0].text
