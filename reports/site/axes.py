"""Axes and label places of the plots; pixels are those of the drawing's view box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER = 7.2  # pixels that a character of a label takes, about
LINE = 16.0
GAP = 5.0


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True)
class Axis:
    """A linear scale.

    Attributes:
        low, high: values at the ends.
        start, end: pixels at the ends.
        ticks: values and their labels.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Pixel of a value, to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def axis(
    values: Sequence[float], start: float, end: float, least: float = -math.inf,
    most: float = math.inf, least_span: float = 0.0,
) -> Axis:  # fmt: skip
    """An axis with round ends around ``values`` and some room, within ``least`` and ``most``."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), (least_span - (high - low)) / 2)
    if room <= 0:
        room = 0.1 * abs(high) or 1.0
    low, high = max(least, low - room), min(most, high + room)
    step = _round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # 0.25 takes more digits than its size tells
    size = -math.floor(math.log10(step) + 1e-9)
    digits = max(0, size if math.isclose(round(step, size), step) else size + 1)
    ticks = [(place * step, f"{place * step:.{digits}f}") for place in range(first, last + 1)]
    inside = [tick for tick in ticks if least - 1e-9 <= tick[0] <= most + 1e-9]
    return Axis(inside[0][0], inside[-1][0], start, end, tuple(inside))


def _round_step(rough: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough - 1e-12)


@dataclass(frozen=True)
class Label:
    """Where a text is written: baseline, and which end ``x`` is."""

    x: float
    y: float
    anchor: str


def place_labels(
    points: Sequence[tuple[float, float, float]], texts: Sequence[str], frame: Box
) -> list[Label]:
    """Put each text beside its point (x, y, radius) where it covers least of what is there."""
    dots = [Box(x - r, y - r, x + r, y + r) for x, y, r in points]
    placed: list[Box] = []
    labels = []
    for (x, y, r), text in zip(points, texts, strict=True):
        width = CHARACTER * len(text)
        aside, middle = r + GAP, y + LINE / 3
        options = [
            (Label(x + aside, middle, "start"), x + aside),
            (Label(x - aside, middle, "end"), x - aside - width),
            (Label(x, y - aside, "middle"), x - width / 2),
            (Label(x, y + aside + LINE * 0.6, "middle"), x - width / 2),
            (Label(x + aside, middle - LINE, "start"), x + aside),
            (Label(x + aside, middle + LINE, "start"), x + aside),
            (Label(x - aside, middle - LINE, "end"), x - aside - width),
            (Label(x - aside, middle + LINE, "end"), x - aside - width),
        ]
        found = []
        for order, (label, left) in enumerate(options):
            box = Box(left, label.y - LINE * 0.75, left + width, label.y + LINE * 0.25)
            outside = width * LINE - box.overlap(frame)
            covered = sum(box.overlap(other) for other in (*placed, *dots))
            found.append((4 * outside + covered, order, label, box))
        _, _, label, box = min(found, key=lambda entry: entry[:2])
        placed.append(box)
        labels.append(Label(round(label.x, 1), round(label.y, 1), label.anchor))
    return labels
