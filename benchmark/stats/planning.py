"""How small a difference a number of clusters can show."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import ncf
from scipy.stats import t as student

MOST_CLUSTERS = 10**9


def minimum_detectable_difference(
    sd_of_cluster_differences: float, n_clusters: int, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The mean difference that a two-sided paired t test of the cluster means finds.

    Solved from the noncentral t distribution with n - 1 degrees of freedom and noncentrality
    difference / sd * sqrt(n), both tails counted (Cohen 1988, chapter 2; Lenth 2001). With few
    clusters the normal approximation promises too much: with 10, a difference 11 % smaller.

    Args:
        sd_of_cluster_differences: standard deviation of the per-cluster mean differences, >= 0.
        n_clusters: at least 2.
        alpha: level of the test, in [1e-4, 0.5].
        power: probability of p < alpha at that difference, in (alpha, 0.999].

    Returns:
        the difference, >= 0, in the unit of the standard deviation; 0 if that is 0.

    Raises:
        ValueError: an argument outside its range.
    """
    _check(sd_of_cluster_differences, alpha, power)
    if n_clusters < 2:
        raise ValueError(f"n_clusters must be at least 2, got {n_clusters}")
    return (
        sd_of_cluster_differences * _noncentrality(n_clusters, alpha, power) / math.sqrt(n_clusters)
    )


def clusters_needed(
    sd_of_cluster_differences: float, difference: float, alpha: float = 0.05, power: float = 0.8
) -> int:
    """The fewest clusters with which that difference is found; the inverse of
    :func:`minimum_detectable_difference`.

    Args:
        sd_of_cluster_differences: standard deviation of the per-cluster mean differences, >= 0.
        difference: mean difference to find, not 0; its sign does not matter.
        alpha: level of the two-sided test, in [1e-4, 0.5].
        power: probability of p < alpha, in (alpha, 0.999].

    Returns:
        number of clusters, at least 2.

    Raises:
        ValueError: an argument outside its range, or more than 1e9 clusters would be needed.
    """
    _check(sd_of_cluster_differences, alpha, power)
    if not (math.isfinite(difference) and difference != 0):
        raise ValueError(f"difference must be finite and not 0, got {difference}")
    wanted = abs(difference)

    def enough(n: int) -> bool:
        found = minimum_detectable_difference(sd_of_cluster_differences, n, alpha, power)
        return found <= wanted * (1 + 1e-9)  # an exact inverse despite rounding

    few, many = 1, 2
    while not enough(many):
        if many > MOST_CLUSTERS:
            raise ValueError(f"a difference of {difference} takes more than {MOST_CLUSTERS} images")
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def _noncentrality(n: int, alpha: float, power: float) -> float:
    df = n - 1
    critical = float(student.isf(alpha / 2, df))

    def excess(noncentrality: float) -> float:
        # |t| > c is t^2 > c^2, noncentral F: the same probability as by scipy.stats.nct, which is
        # NaN for some arguments (n = 2, alpha = 0.05, power = 0.8 meets one)
        return float(ncf.sf(critical**2, 1, df, noncentrality**2)) - power

    high = 1.0
    while not excess(high) > 0:
        high *= 2
        if high > 1e9:
            raise ValueError(f"no solution for n_clusters={n}, alpha={alpha}, power={power}")
    return float(brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12))


def _check(sd: float, alpha: float, power: float) -> None:
    if not 0 <= sd < math.inf:
        raise ValueError(f"the standard deviation must be finite and at least 0, got {sd}")
    if not 1e-4 <= alpha <= 0.5:
        raise ValueError(f"alpha must lie in [1e-4, 0.5], got {alpha}")
    if not alpha < power <= 0.999:
        raise ValueError(f"power must lie in (alpha, 0.999], got {power}")
