"""What a check found, in words that every output shares."""

from __future__ import annotations

from benchmark.regression.check import CheckResult, WorstSample
from benchmark.regression.decide import Decision
from benchmark.regression.evidence import ALPHA

ARROWS = {"higher": "↑", "lower": "↓"}
INTERVAL = f"{100 * (1 - 2 * ALPHA):.0f} % interval"
MISSING = "n/a"


def flat(text: str) -> str:
    """On one line and without control characters: nothing from outside begins a line of its own."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def label(one: Decision) -> str:
    return f"{flat(one.paired.name)} {ARROWS[one.paired.direction]}"


def difference(one: Decision) -> str:
    """Run minus reference, in the metric's unit, with its sign."""
    if one.found.gain is None:
        return MISSING
    return _signed(one.found.gain if one.paired.direction == "higher" else -one.found.gain)


def interval(one: Decision) -> str:
    if one.found.interval is None:
        return MISSING
    sign = 1 if one.paired.direction == "higher" else -1
    low, high = sorted(sign * end for end in one.found.interval)
    return f"{_signed(low)} .. {_signed(high)}"


def p_value(one: Decision) -> str:
    """Of the side that the difference lies on, adjusted."""
    if one.found.gain is None or one.p_worse is None or one.p_better is None:
        return MISSING
    p = one.p_better if one.found.gain > 0 else one.p_worse
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def remark(one: Decision, result: CheckResult) -> str:
    """The note of a decision, and how many images would decide."""
    parts = [one.note] if one.note else []
    needed = result.needed.get(one.paired.name)
    if needed is not None:
        parts.append(f"about {needed} images would decide")
    return ", ".join(parts)


def sentence(one: Decision, result: CheckResult) -> str:
    """The decision in one line."""
    text = (
        f"{flat(one.paired.name)}: {one.verdict}, {difference(one)} ({INTERVAL} {interval(one)}, "
        f"margin {one.paired.margin:g}, p {p_value(one)}, n = {one.found.n} of "
        f"{one.found.n_images} images)"
    )
    more = remark(one, result)
    return f"{text}; {flat(more)}" if more else text


def loss(one: WorstSample) -> str:
    """What a sample lost, in one line."""
    if one.margins is None:
        return f"made before, fails now: {flat(one.reason or 'no reason was recorded')}"
    return (
        f"{flat(one.metric)} {one.reference:.3f} to {one.run:.3f}, "
        f"{one.margins:.1f} times the margin"
    )


def _signed(value: float) -> str:
    text = f"{value:+.4f}"
    return text if float(text) else "0"
