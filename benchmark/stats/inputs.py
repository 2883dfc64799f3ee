"""Checks and small helpers that the other modules share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

LARGEST = 1e100  # sums and squares of such values stay within float64
RESOLUTION = 1e-12  # of the largest score: differences below it are rounding, hence ties


def checked_floats(values: npt.ArrayLike, name: str, ndim: int = 1) -> Floats:
    """``values`` as float64.

    Raises:
        ValueError: not of ``ndim`` dimensions, or a value that is NaN (None counts as NaN),
            infinite or beyond 1e100; the message names its position.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got shape {list(array.shape)}")
    bad = np.argwhere(~(np.abs(array) <= LARGEST))
    if len(bad):
        position = ", ".join(str(i) for i in bad[0])
        raise ValueError(f"{name}[{position}] is {array[tuple(bad[0])]}, not a usable number")
    return array


def cluster_index(clusters: Sequence[str], n: int) -> tuple[Ints, int]:
    """The number of each sample's cluster (0, 1, ... by name) and how many clusters there are.

    Raises:
        ValueError: ``clusters`` has not ``n`` entries.
    """
    if len(clusters) != n:
        raise ValueError(f"{n} values but {len(clusters)} cluster names")
    names, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return index.astype(np.intp), len(names)


def checked_level(level: float, draws: int = 1) -> None:
    """Check the coverage of an interval and the number of draws.

    Raises:
        ValueError: ``level`` is outside (0, 1) or ``draws`` < 1.
    """
    if not 0 < level < 1 or draws < 1:
        raise ValueError(f"level must lie in (0, 1) and resamples be positive: {level}, {draws}")


def in_units(values: Floats, largest: float) -> Floats:
    """Whole multiples of ``RESOLUTION * largest``, so that 0.3 - 0.2 and 0.2 - 0.1 are a tie."""
    if largest == 0:
        return np.zeros_like(values)
    return np.asarray(np.rint(values / largest / RESOLUTION), dtype=np.float64)
