"""The picture of an experiment: measured means with intervals, by variant or along a curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.experiments.measure import Measured, Row, direction_of
from reports.experiments.model import Column

COLOURS = ("#1f5fa8", "#c2571a", "#2f7d4f", "#7a4a9c")
DPI = 150


def draw(measured: Measured, path: Path) -> None:
    """Write the PNG. Nothing reported is drawn: it is on other scales."""
    curves = measured.experiment.layout != "table"
    figure = _curves(measured) if curves else _dots(measured)
    figure.suptitle(
        f"{measured.experiment.name}: {measured.experiment.title} ({measured.protocol})",
        fontsize=11,
    )
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _dots(measured: Measured) -> Figure:
    """A panel for each dataset and column; variants from top to bottom."""
    columns = measured.experiment.columns
    datasets = list(measured.rows)
    height = 0.9 + 0.36 * len(measured.experiment.variants)
    figure = Figure(figsize=(2.6 * len(columns) + 1.6, height * len(datasets) + 0.5))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(len(datasets), len(columns), squeeze=False, sharey="row")
    for line, dataset in enumerate(datasets):
        rows = measured.rows[dataset]
        for place, column in enumerate(columns):
            ax = axes[line, place]
            _points(ax, rows, column, list(range(len(rows))), upright=False)
            ax.set_title(_title(column), fontsize=9)
            ax.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes[line, 0].set_yticks(range(len(rows)), [row.variant.label for row in rows], fontsize=9)
        axes[line, 0].set_ylim(len(rows) - 0.5, -0.5)
        if len(datasets) > 1:
            title = measured.experiment.dataset_titles.get(dataset, dataset)
            axes[line, 0].set_ylabel(title, fontsize=9)
    return figure


def _curves(measured: Measured) -> Figure:
    """Columns side by side; a row of panels for each series, or one for all of them."""
    experiment = measured.experiment
    rows = measured.rows[experiment.datasets[0]]
    series = list(dict.fromkeys(str(row.variant.series) for row in rows))
    lines = [[name] for name in series] if experiment.layout == "curves" else [series]
    columns = experiment.columns
    figure = Figure(figsize=(2.7 * len(columns) + 0.6, 2.3 * len(lines) + 0.5))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(len(lines), len(columns), squeeze=False)
    for line, names in enumerate(lines):
        for place, column in enumerate(columns):
            ax = axes[line, place]
            for number, name in enumerate(names):
                own = [row for row in rows if row.variant.series == name]
                xs = [float(row.variant.x or 0) for row in own]
                _points(ax, own, column, xs, upright=True, colour=COLOURS[number], label=name)
            ax.set_title(_title(column), fontsize=9)
            ax.grid(color="#dddddd", linewidth=0.6)
            ax.set_xticks(sorted({float(row.variant.x or 0) for row in rows
                                  if row.variant.series in names}))  # fmt: skip
            if len(names) == 1:
                ax.set_xlabel(names[0], fontsize=9)
            else:
                ax.set_xlabel("N", fontsize=9)
                ax.legend(fontsize=8, frameon=False)
    return figure


def _points(
    ax: Axes, rows: Sequence[Row], column: Column, places: Sequence[float], *, upright: bool,
    colour: str = COLOURS[0], label: str | None = None,
) -> None:  # fmt: skip
    means, ends, found = [], [], []
    for place, row in zip(places, rows, strict=True):
        number = row.numbers.get(column.id)
        if number is not None and number.mean is not None:
            low, high = number.interval or (number.mean, number.mean)
            means.append(number.mean)
            ends.append((max(0.0, number.mean - low), max(0.0, high - number.mean)))
            found.append(place)
    if not means:
        return
    errors = [[low for low, _ in ends], [high for _, high in ends]]
    line = "-" if upright else "none"
    x, y = (found, means) if upright else (means, found)
    ax.errorbar(
        x, y, xerr=None if upright else errors, yerr=errors if upright else None, fmt="o",
        linestyle=line, color=colour, markersize=4.5, capsize=2.5, linewidth=1.2, label=label,
    )  # fmt: skip
    ax.tick_params(labelsize=8)


def _title(column: Column) -> str:
    better = "higher" if direction_of(column) == "higher" else "lower"
    unit = " (s)" if column.quantity is not None else ""
    return f"{column.title}{unit}, {better} is better"
