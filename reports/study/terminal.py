"""A scored study in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.study.result import Coefficient, EntryName, Rating, StudyResult

Interval = tuple[float, float] | None


def print_result(result: StudyResult, file: Path) -> None:
    """Tables on stdout, then what was left out and why.

    Args:
        file: where the result was written.
    """
    console = Console()
    console.print(_entries(result))
    if result.comparisons:
        console.print(_comparisons(result))
    console.print(_agreement(result))
    lines = [f"raters    {result.n_raters} counted, {result.n_raters_excluded} excluded"]
    partial = sum(rater.counted and not rater.complete for rater in result.raters)
    if partial:
        lines[0] += f"; {partial} of the counted ones answered in part"
    lines += [f"excluded  {one.rater_id}: {one.reason}" for one in result.excluded]
    lines += [f"note      {one.rater_id}: {one.note}" for one in result.raters if one.note]
    lines += [f"not used  {one.file}: {one.reason}" for one in result.unused_files]
    lines += [f"rule      {result.screening}", f"intervals {result.interval_method}",
              f"result    {file}"]  # fmt: skip
    sys.stdout.write("\n".join(lines) + "\n")


def _entries(result: StudyResult) -> Table:
    stand_in = " (stand-in images)" if result.stand_in else ""
    table = Table(title=Text(f"{result.title}: {result.dataset}{stand_in}, {result.protocol}"))
    table.add_column("method")
    for column in ("content", "95 % interval", "style", "95 % interval", "ratings", "images"):
        table.add_column(column, justify="right", no_wrap=True)
    notes: dict[str, None] = {}
    for entry in result.entries:
        cells = [_label(result, EntryName(method=entry.method, config_hash=entry.config_hash))]
        for question, rating in (("content", entry.content), ("style", entry.style)):
            cells += [_mean(rating), _interval(rating.interval)]
            if rating.note:
                notes[f"{cells[0]}, {question}: {rating.note}"] = None
        table.add_row(*map(Text, [*cells, str(entry.n_ratings), str(entry.n_images)]))
    table.caption = Text("\n".join(["0 to 100, higher is better", *notes]))
    table.caption_justify = "left"
    return table


def _comparisons(result: StudyResult) -> Table:
    table = Table(title="differences")
    table.add_column("question")
    table.add_column("methods")
    for column in ("difference", "95 % interval", "p", "p (Holm)", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in result.comparisons:
        difference = "n/a" if one.mean_difference is None else f"{one.mean_difference:+.1f}"
        table.add_row(*map(Text, [
            one.question, f"{_label(result, one.a)} - {_label(result, one.b)}", difference,
            _interval(one.interval), _p(one.p), _p(one.p_holm), str(one.n),
        ]))  # fmt: skip
    return table


def _agreement(result: StudyResult) -> Table:
    table = Table(title="agreement of raters")
    table.add_column("question")
    for column in ("ICC(2,1)", "ICC(2,k)", "Krippendorff's alpha"):
        table.add_column(column, justify="right")
    table.add_column("from")
    notes: dict[str, None] = {}
    for one in result.agreement:
        named = {"ICC": one.icc_single, "alpha": one.alpha}
        notes |= {f"{one.question}, {n}: {c.note}": None for n, c in named.items() if c.note}
        table.add_row(*map(Text, [
            one.question, _coefficient(one.icc_single), _coefficient(one.icc_average),
            _coefficient(one.alpha),
            f"ICC: {one.n_raters} raters, {one.n_items} pictures; "
            f"alpha: {one.alpha_raters}, {one.alpha_items}",
        ]))  # fmt: skip
    table.caption = Text("\n".join(notes)) if notes else None
    table.caption_justify = "left"
    return table


def _label(result: StudyResult, name: EntryName) -> str:
    several = sum(entry.method == name.method for entry in result.entries) > 1
    return f"{name.method} {name.config_hash}" if several else name.method


def _mean(rating: Rating) -> str:
    return "n/a" if rating.mean is None else f"{rating.mean:.1f}"


def _interval(interval: Interval, digits: int = 1) -> str:
    return "n/a" if interval is None else f"{interval[0]:.{digits}f} .. {interval[1]:.{digits}f}"


def _p(p: float | None) -> str:
    if p is None:
        return "n/a"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _coefficient(one: Coefficient) -> str:
    if one.value is None:
        return "n/a"
    return f"{one.value:.2f}" + (f" ({_interval(one.interval, 2)})" if one.interval else "")
