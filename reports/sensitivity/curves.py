"""Curves of a score over each weight: ``python -m reports.sensitivity.curves SWEEP... --out DIR``.

A sweep's folder is one line of every panel. Its first point is the centre; every other point
changes one number of it, and is drawn at the factor by which it does.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmark.config import load_protocol
from benchmark.errors import UsageError
from benchmark.script import script
from benchmark.sweep.folder import SweepFolder
from reports.collect import CollectedRun, read_run
from reports.rows import balances_of

COLOURS = ("#1f5fa8", "#c2571a", "#2f7d4f", "#7a4a9c")
CENTRE = "(centre)"
COLUMNS = 3  # of panels


@dataclass(frozen=True)
class Point:
    """A run of a sweep.

    Attributes:
        sweep: name of the sweep's folder.
        key: the config key that differs from the centre, or ``CENTRE``.
        value: its value; 0 at the centre.
        factor: value over the centre's value; 1 at the centre.
        content, style: normalised on the protocol's scale.
        harmonic_mean: of both; 0 where one of them is not above 0.
    """

    sweep: str
    key: str
    value: float
    factor: float
    content: float
    style: float
    harmonic_mean: float


def points_of(folder: Path) -> list[Point]:
    """The runs of a finished sweep in the order of its file.

    Raises:
        RunDirectoryError: no sweep there, or a run that is not finished or was changed.
        UsageError: a point that changes anything but one number of the centre.
    """
    record = SweepFolder(folder).read()
    runs = [read_run(folder / run.path) for run in record.runs]
    if not runs:
        raise UsageError(f"{folder} holds no run")
    protocol = load_protocol(runs[0].manifest.config.protocol)
    balances = balances_of(runs, protocol)
    points = []
    for run in runs:
        balance = balances.get(str(run.path))
        if run.state != "complete" or balance is None:
            raise UsageError(
                f"{run.path} is not complete or has no content and style: finish the sweep first"
            )
        key, value, factor = _change(runs[0], run)
        points.append(
            Point(
                folder.name, key, value, factor, balance.content, balance.style,
                balance.harmonic_mean,
            )
        )  # fmt: skip
    return points


def _change(centre: CollectedRun, run: CollectedRun) -> tuple[str, float, float]:
    old, new = centre.manifest.config.method_config, run.manifest.config.method_config
    changed = {name: value for name, value in new.items() if value != old.get(name)}
    if not changed:
        return CENTRE, 0.0, 1.0
    (key, value), *more = changed.items()
    if more or not _is_number(value) or not _is_number(old.get(key)) or not old[key]:
        raise UsageError(
            f"{run.path} differs from the sweep's first point in {', '.join(changed)}: each point "
            f"is to change one number that is not 0 there"
        )
    # two files may say the same factor in other numbers, which differ in the last digits
    return key, float(value), float(f"{float(value) / float(old[key]):.6g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_csv(points: Sequence[Point], path: Path) -> None:
    """One row for each point."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Point))
        for point in points:
            writer.writerow(
                f"{cell:.6g}" if isinstance(cell, float) else cell for cell in astuple(point)
            )


def draw(points: Sequence[Point], path: Path) -> None:
    """A panel for each key: harmonic mean over the factor, a line for each sweep."""
    sweeps = list(dict.fromkeys(point.sweep for point in points))
    keys = list(dict.fromkeys(point.key for point in points if point.key != CENTRE))
    columns = min(len(keys), COLUMNS)
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(3.2 * columns + 0.4, 2.6 * rows))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel, key in zip(panels.flat, keys, strict=False):
        factors = set()
        for sweep, colour in zip(sweeps, COLOURS, strict=False):
            line = sorted(
                (point.factor, point.harmonic_mean)
                for point in points
                if point.sweep == sweep and point.key in {key, CENTRE}
            )
            factors |= {factor for factor, _ in line}
            panel.plot(*zip(*line, strict=True), "o-", color=colour, label=sweep, markersize=4)
        panel.set_xscale("log")
        panel.set_xticks(sorted(factors), [f"{factor:g}" for factor in sorted(factors)])
        panel.tick_params(axis="x", which="both", labelsize=8)
        panel.xaxis.set_minor_locator(NullLocator())
        panel.axvline(1.0, color="#bbbbbb", linewidth=0.8, zorder=0)
        panel.set_title(key, fontsize=9)
        panel.set_ylim(0, 1.1 * max(point.harmonic_mean for point in points))
    for panel in panels.flat[len(keys) :]:
        panel.set_visible(False)
    for panel in panels[-1]:
        panel.set_xlabel("factor", fontsize=9)
    for panel in panels[:, 0]:
        panel.set_ylabel("harmonic mean", fontsize=9)
    panels.flat[len(keys) - 1].legend(fontsize=8)
    figure.savefig(path, dpi=120, metadata={"Software": None})


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.sensitivity.curves", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("sweeps", type=Path, nargs="+", help="folders of finished sweeps")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table and picture")
    given = parser.parse_args()
    points = [point for folder in given.sweeps for point in points_of(folder)]
    given.out.mkdir(parents=True, exist_ok=True)
    write_csv(points, given.out / "sensitivity.csv")
    draw(points, given.out / "sensitivity.png")
    sys.stdout.write(f"{given.out / 'sensitivity.csv'}\n{given.out / 'sensitivity.png'}\n")


if __name__ == "__main__":
    sys.exit(main())
