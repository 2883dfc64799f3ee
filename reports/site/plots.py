"""Drawings of a board: content against style, and sweeps. Templates turn them into SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.board import Board, Interval, Row, Sweep
from reports.formats.numbers import number
from reports.site.axes import Axis, Box, Label, axis, place_labels

WIDTH, HEIGHT = 720, 440
FRAME = Box(64, 18, WIDTH - 20, HEIGHT - 58)
RADII = (5.0, 16.0)  # of the cheapest possible and the dearest run
DIRECT = 8  # up to so many runs stand in a plot by name, more by number
LONGEST = 34
CONTOURS = tuple(level / 10 for level in range(1, 10))
SMALLEST_SPAN = 0.1


@dataclass(frozen=True)
class Dot:
    """A run in a plot.

    Attributes:
        number: place in the leaderboard.
        values: (x, y) as measured.
        bar: pixels of the ends of y's interval.
    """

    row: Row
    number: int
    name: str
    x: float
    y: float
    radius: float
    label: Label
    values: tuple[float, float]
    filled: bool
    bar: tuple[float, float] | None = None


@dataclass(frozen=True)
class Contour:
    """A curve of equal harmonic mean."""

    level: str
    path: str
    x: float
    y: float


@dataclass(frozen=True)
class Plot:
    """A drawing; ``line`` joins dots (the front, or the order of a sweep)."""

    title: str
    description: str
    x: Axis
    y: Axis
    x_title: str
    y_title: str
    dots: tuple[Dot, ...]
    line: str
    contours: tuple[Contour, ...] = ()
    sizes: tuple[tuple[float, float, str], ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    frame: Box = FRAME


def short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def pareto_plot(board: Board) -> Plot | None:
    """Normalised content against style, area by seconds per image; None without such runs."""
    found = [(place, row) for place, row in enumerate(board.rows, start=1) if row.balance]
    points = [(row.balance.content, row.balance.style) for _, row in found if row.balance]
    if not points:
        return None
    x = axis([c for c, _ in points], FRAME.left, FRAME.right, 0, 1, SMALLEST_SPAN)
    y = axis([s for _, s in points], FRAME.bottom, FRAME.top, 0, 1, SMALLEST_SPAN)
    seconds = [row.cost.seconds_median for _, row in found]
    dearest = max((value for value in seconds if value is not None), default=None)
    circles = [
        (x.at(c), y.at(s), _radius(value, dearest))
        for (c, s), value in zip(points, seconds, strict=True)
    ]
    names = [short(row.label) if len(found) <= DIRECT else str(place) for place, row in found]
    labels = place_labels(circles, names, FRAME)
    dots = [
        Dot(row, place, name, *circle, label, point, bool(row.balance and
            row.balance.on_pareto_front))
        for (place, row), name, circle, label, point in zip(
            found, names, circles, labels, points, strict=True
        )
    ]  # fmt: skip
    best = max(found, key=lambda entry: entry[1].balance.harmonic_mean if entry[1].balance else 0)
    front = [dot.row.label for dot in dots if dot.filled]
    return Plot(
        "Content against style",
        f"{len(dots)} run(s). On the Pareto front: {', '.join(front)}. Highest harmonic mean: "
        f"{best[1].label}. A larger dot takes longer.",
        x, y,
        f"content preserved (normalised {board.content_metric}) →",
        f"style reached (normalised {board.style_metric}) →",
        tuple(sorted(dots, key=lambda dot: -dot.radius)),  # a large dot must not hide a small one
        _staircase([dot for dot in dots if dot.filled], x, y),
        _contours(x, y),
        _sizes(dearest),
    )  # fmt: skip


def _radius(seconds: float | None, dearest: float | None) -> float:
    """Area grows in proportion to the seconds, above a size that can be seen."""
    if not seconds or not dearest:
        return RADII[0]
    return round(max(RADII[0], RADII[1] * math.sqrt(seconds / dearest)), 1)


def _sizes(dearest: float | None) -> tuple[tuple[float, float, str], ...]:
    """Radius, centre and seconds of the dots of the legend."""
    if not dearest:
        return ()
    steps = [dearest / 4, dearest]
    return tuple(
        (_radius(value, dearest), 20.0 + 96 * index, f"{number(value)} s")
        for index, value in enumerate(steps)
    )


def _staircase(front: Sequence[Dot], x: Axis, y: Axis) -> str:
    """Border of what some run of the front dominates."""
    ordered = sorted(front, key=lambda dot: dot.x)
    if not ordered:
        return ""
    parts = [f"M{x.start:g} {ordered[0].y:g}H{ordered[0].x:g}"]
    for dot in ordered[1:]:
        parts.append(f"V{dot.y:g}H{dot.x:g}")
    return "".join([*parts, f"V{y.start:g}"])


def _contours(x: Axis, y: Axis) -> tuple[Contour, ...]:
    found = []
    for level in CONTOURS:
        points = []
        for step in range(61):
            content = x.low + (x.high - x.low) * step / 60
            if 2 * content <= level:
                continue
            style = level * content / (2 * content - level)
            if y.low <= style <= y.high:
                points.append((x.at(content), y.at(style)))
        if len(points) > 5:
            path = "M" + "L".join(f"{px:g} {py:g}" for px, py in points)
            end = points[-1]
            found.append(Contour(f"{level:.1f}", path, min(end[0], FRAME.right - 22), end[1] - 4))
    return tuple(found)


def sweep_plot(board: Board, sweep: Sweep) -> Plot | None:
    """The style metric against the seconds per image; None if fewer than two points have both."""
    metric = board.style_metric
    rows = {row.id: (place, row) for place, row in enumerate(board.rows, start=1)}
    found: list[tuple[float, int, Row, float, float, Interval | None]] = []
    for value, row_id in sweep.points:
        place, row = rows[row_id]
        cell = row.cells.get(metric) if metric else None
        seconds = row.cost.seconds_median
        if cell is not None and cell.mean is not None and seconds is not None:
            found.append((value, place, row, seconds, cell.mean, cell.interval))
    if len(found) < 2:
        return None
    x = axis([point[3] for point in found], FRAME.left, FRAME.right, 0)
    ends = [end for point in found for end in (point[5] or (point[4], point[4]))]
    y = axis([*ends, *(point[4] for point in found)], FRAME.bottom, FRAME.top)
    circles = [(x.at(seconds), y.at(mean), 6.0) for _, _, _, seconds, mean, _ in found]
    names = [short(f"{sweep.key} = {point[0]:g}") for point in found]
    labels = place_labels(circles, names, FRAME)
    dots = tuple(
        Dot(row, place, name, *circle, label, (seconds, mean), True,
            (y.at(ends[0]), y.at(ends[1])) if ends else None)
        for (_, place, row, seconds, mean, ends), name, circle, label in zip(
            found, names, circles, labels, strict=True
        )
    )  # fmt: skip
    direction = next(m.direction for m in board.metrics if m.name == metric)
    return Plot(
        f"{sweep.method}: {metric} against time as {sweep.key} changes",
        f"{len(dots)} runs from {sweep.key} = {found[0][0]:g} to {found[-1][0]:g}.",
        x, y, "median seconds per image", f"{metric} ({direction} is better)", dots,
        "M" + "L".join(f"{dot.x:g} {dot.y:g}" for dot in dots),
    )  # fmt: skip
