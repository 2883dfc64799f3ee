"""Intervals of a mean over clustered samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from benchmark.stats.inputs import Floats, checked_floats, checked_level, cluster_index

RESAMPLES = 2000
LEVEL = 0.95


def cluster_bootstrap(
    values: Floats, clusters: Sequence[str], rng: np.random.Generator,
    resamples: int = RESAMPLES, level: float = LEVEL,
) -> tuple[float, float] | None:  # fmt: skip
    """Percentile interval of the mean, drawing whole clusters with replacement.

    Samples of one content image are not independent (one image, many prompts), so images are drawn
    and bring all their samples along (Davison & Hinkley 1997, section 3.8). The statistic is the
    mean over all samples drawn.

    With few clusters it is too short: at a level of 95 % it covers about 90 % with 10 clusters,
    92 % with 20 and 94 % with 60. :func:`cluster_t_interval` does not have that fault.

    Args:
        values: [N] finite values.
        clusters: the cluster (content image) of each value.
        rng: source of the draws.
        resamples: number of bootstrap draws.
        level: coverage in (0, 1).

    Returns:
        lower and upper end, or None with fewer than two clusters.

    Raises:
        ValueError: ``values`` and ``clusters`` differ in length, a value is not finite, ``level``
            is outside (0, 1), or ``resamples`` < 1.
    """
    values = checked_floats(values, "values")
    index, n_clusters = cluster_index(clusters, len(values))
    checked_level(level, resamples)
    if n_clusters < 2:
        return None
    sums = np.bincount(index, weights=values)
    counts = np.bincount(index)
    weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=resamples)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cluster_t_interval(
    values: Floats, clusters: Sequence[str], level: float = LEVEL
) -> tuple[float, float] | None:
    """Student-t interval of the mean with a cluster-robust standard error; the one to report.

    The variance is the bias-reduced sandwich CR2 and the degrees of freedom are Satterthwaite's
    (Bell & McCaffrey 2002, "Bias reduction in standard errors for linear regression with
    multi-stage samples", Survey Methodology 28; for the mean their matrices come down to sums).
    With clusters of equal size this is the t interval of the cluster means with G - 1 degrees of
    freedom; with unequal sizes there are fewer. The working model for the degrees of freedom is
    that all samples of an image are equal, which is the cautious end.

    It was chosen over the two bootstraps because it keeps its level with 10 clusters, where the
    percentile bootstrap covers 90 % instead of 95 % and the studentised bootstrap (93 to 95 %) can
    divide by a standard error of zero on scores that are 0 or 1. It needs no draws. Two limits: it
    may reach beyond the bounds of a metric, and long-tailed scores take more clusters (log-normal
    images: 85 to 91 % with 10, 90 % with 60). Differences of two methods rarely are like that.

    Args:
        values: [N] finite values.
        clusters: the cluster (content image) of each value.
        level: coverage in (0, 1).

    Returns:
        lower and upper end, the same if all values are equal; None with fewer than two clusters.

    Raises:
        ValueError: ``values`` and ``clusters`` differ in length, a value is not finite, or
            ``level`` is outside (0, 1).
    """
    values = checked_floats(values, "values")
    index, n_clusters = cluster_index(clusters, len(values))
    checked_level(level)
    if n_clusters < 2:
        return None
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    mean = math.fsum(values) / len(values)
    counts = np.bincount(index).astype(np.float64)
    residuals = np.bincount(index, weights=values - mean)
    error = math.sqrt(math.fsum(residuals**2 / (1 - counts / len(values)))) / len(values)
    half = float(student.ppf((1 + level) / 2, _degrees_of_freedom(counts))) * error
    return mean - half, mean + half


def _degrees_of_freedom(counts: Floats) -> float:
    """(tr M)^2 / tr(M^2), M the covariance of the scaled cluster residuals of a mean.

    M = W (I - r 1') S (I - 1 r') W with r = counts / N, S = diag(counts^2) and
    W = diag(1 - r)^(-1/2); written out, so that no [G, G] matrix is made.
    """
    r = counts / counts.sum()
    s = r**2
    total = s.sum()
    w = 1 / (1 - r)
    diagonal = w * s
    low_rank = w * (total * r**2 - 2 * r * s)
    xx, xy, yy = (w * r * r).sum(), (w * r * s).sum(), (w * s * s).sum()
    trace = diagonal.sum() + low_rank.sum()
    squares = (
        (diagonal**2).sum()
        + 2 * (diagonal * low_rank).sum()
        + 2 * xy**2 + 2 * xx * yy + (total * xx) ** 2 - 4 * total * xx * xy
    )  # fmt: skip
    return float(trace**2 / squares)
