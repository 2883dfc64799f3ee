"""Content against style: which methods are worth a look, and one number for both."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmark.stats.inputs import Floats, checked_floats


def pareto_front(content: npt.ArrayLike, style: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates.

    A point dominates another if it is at least as good in both and better in one (Deb 2001, section
    2.4). Equal points do not dominate each other, so copies of a front point are all in.

    Args:
        content: [M] finite, higher is better.
        style: [M] finite, higher is better.

    Returns:
        [M] bool; [0] for no points.

    Raises:
        ValueError: unequal lengths, or a value that is not finite (the message names its position).
    """
    x, y = _pair(content, style)
    order = np.lexsort((-y, -x))  # best content first, among equals best style first
    front = np.zeros(len(x), dtype=np.bool_)
    best = previous = None
    for i in order:
        if best is None or y[i] > best or (x[i], y[i]) == previous:
            front[i] = True
            best, previous = y[i], (x[i], y[i])
    return front


def harmonic_mean(content: npt.ArrayLike, style: npt.ArrayLike) -> Floats:
    """2 c s / (c + s): near the lesser of the two, so neither can buy the other off.

    The F1 form of van Rijsbergen 1979, chapter 7. It means something only if both scores are on one
    scale; how they are brought to [0, 1] is the caller's choice and should be told.

    Args:
        content: [M] in [0, 1], higher is better.
        style: [M] in [0, 1], higher is better.

    Returns:
        [M] float64 in [0, 1]; 0 where either is 0.

    Raises:
        ValueError: unequal lengths, or a value that is not in [0, 1] (the message names its
            position).
    """
    x, y = _pair(content, style)
    for name, values in (("content", x), ("style", y)):
        outside = np.flatnonzero((values < 0) | (values > 1))
        if len(outside):
            raise ValueError(f"{name}[{outside[0]}] is {values[outside[0]]}, outside [0, 1]")
    low, high = np.minimum(x, y), np.maximum(x, y)
    total = np.where(high > 0, low + high, 1.0)
    return np.asarray(2 * low * (high / total), dtype=np.float64)


def _pair(content: npt.ArrayLike, style: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = checked_floats(content, "content"), checked_floats(style, "style")
    if len(x) != len(y):
        raise ValueError(f"content has {len(x)} values but style has {len(y)}")
    return x, y
