"""Adjustment of p-values for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.stats.inputs import Floats


def holm(p_values: Sequence[float | None] | Floats) -> Floats:
    """Step-down adjusted p-values that hold the family-wise error rate.

    Holm 1979, "A simple sequentially rejective multiple test procedure". With p(1) <= ... <= p(m),
    the adjusted p(i) is the largest of (m - j + 1) p(j) for j <= i, at most 1.

    Args:
        p_values: [M] each in [0, 1]. None and NaN stand for tests that could not be done: they are
            left out of the family, so m does not count them.

    Returns:
        [M] float64 in the order given; NaN where there was no p-value.

    Raises:
        ValueError: not one-dimensional, or a value outside [0, 1]; the message names its position.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if raw.ndim != 1:
        raise ValueError(f"p_values must have 1 dimension(s), got shape {list(raw.shape)}")
    outside = np.flatnonzero((raw < 0) | (raw > 1))
    if len(outside):
        raise ValueError(f"p_values[{outside[0]}] is {raw[outside[0]]}, outside [0, 1]")
    adjusted = np.full(len(raw), np.nan)
    family = np.flatnonzero(~np.isnan(raw))
    order = family[np.argsort(raw[family], kind="stable")]
    steps = np.arange(len(order), 0, -1) * raw[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
