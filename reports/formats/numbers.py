"""Numbers as every format prints them."""

from __future__ import annotations

from benchmark.stats import PairedComparison
from reports.board import Cell, Interval

MISSING = "n/a"
ARROWS = {"higher": "↑", "lower": "↓"}


def number(value: float | None) -> str:
    """Three decimals below 10, fewer for greater numbers, never an exponent; n/a for None."""
    if value is None:
        return MISSING
    size = abs(value)
    digits = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(ends: Interval | None) -> str:
    """``[low, high]``; empty for None."""
    return "" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]"


def p_value(p: float | None) -> str:
    """Two significant digits; ``< 0.001`` below that."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def cell_n(cell: Cell, n_samples: int) -> str:
    """``n=14`` where a cell has not all samples; else empty."""
    return f"n={cell.n}" if cell.mean is not None and cell.n != n_samples else ""


def difference(comparison: PairedComparison) -> str:
    """Mean difference with its sign and interval."""
    mean = comparison.mean_difference
    sign = "+" if mean is not None and mean > 0 else ""
    return f"{sign}{number(mean)} {interval(comparison.interval)}".strip()
