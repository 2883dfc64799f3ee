"""Coefficients of inter-rater agreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import f as fisher

from benchmark.stats import LEVEL, RESAMPLES
from benchmark.stats.inputs import Floats, checked_floats, cluster_index
from reports.study.result import Coefficient

ROUNDING = 1e-12  # of the largest rating, squared: variances below it are rounding


def icc(ratings: Floats, level: float = LEVEL) -> tuple[Coefficient, Coefficient]:
    """ICC(2,1) and ICC(2,k): two-way random effects, absolute agreement.

    Shrout & Fleiss 1979, "Intraclass correlations", Psychological Bulletin 86(2). From the mean
    squares of items (B), raters (J) and residual (E): ICC(2,1) = (B - E) / (B + (k - 1) E +
    k (J - E) / n), ICC(2,k) = (B - E) / (B + (J - E) / n). The interval is that of McGraw & Wong
    1996 (table 7, case 2A; Satterthwaite's degrees of freedom), stepped up by Spearman-Brown for
    k raters. Negative values are shown as they come: raters agree less than by chance.

    Args:
        ratings: [n, k] finite, n items by k raters, no missing cell.
        level: coverage of the interval.

    Returns:
        single and average coefficient. Not defined with fewer than two raters or items, if all
        ratings are equal, or if the denominator is not positive; then the note says so. Without an
        interval, and with a note, if raters agree perfectly or items do not differ.

    Raises:
        ValueError: ``ratings`` is not two-dimensional or has a value that is not finite.
    """
    table = checked_floats(ratings, "ratings", ndim=2)
    n, k = table.shape
    if n < 2 or k < 2:
        return _twice(f"needs at least 2 raters and 2 pictures rated by all, got {k} and {n}")
    if np.ptp(table) == 0:
        return _twice("all ratings are equal, so there is no variance to share out")
    grand = table.mean()
    items, raters = table.mean(axis=1) - grand, table.mean(axis=0) - grand
    rest = table - grand - items[:, None] - raters[None, :]
    tiny = (float(np.abs(table).max()) * ROUNDING) ** 2
    b = _unless_tiny(k * float((items**2).sum()) / (n - 1), tiny)
    j = _unless_tiny(n * float((raters**2).sum()) / (k - 1), tiny)
    e = _unless_tiny(float((rest**2).sum()) / ((n - 1) * (k - 1)), tiny)
    below_single = b + (k - 1) * e + k * (j - e) / n
    below_average = b + (j - e) / n
    if below_single <= 0 or below_average <= 0:
        return _twice("the variance components sum to 0 or less")
    single = (b - e) / below_single
    average = (b - e) / below_average
    if e == 0 or b == 0 or not -1 / (k - 1) < single < 1:
        note = "no interval: raters agree perfectly or items do not differ"
        return (
            Coefficient(value=single, interval=None, note=note),
            Coefficient(value=average, interval=None, note=note),
        )
    low, high = _icc_interval(n, k, b, j, e, single, level)
    unbounded = 1 + (k - 1) * low <= 0
    return (
        Coefficient(value=single, interval=(low, high), note=None),
        Coefficient(
            value=average,
            interval=None if unbounded else (_stepped(low, k), _stepped(high, k)),
            note="no interval: it has no lower end" if unbounded else None,
        ),
    )


def _icc_interval(
    n: int, k: int, b: float, j: float, e: float, single: float, level: float
) -> tuple[float, float]:
    a = k * single / (n * (1 - single))
    c = 1 + k * single * (n - 1) / (n * (1 - single))
    df = (a * j + c * e) ** 2 / ((a * j) ** 2 / (k - 1) + (c * e) ** 2 / ((n - 1) * (k - 1)))
    lower = float(fisher.ppf((1 + level) / 2, n - 1, df))
    upper = float(fisher.ppf((1 + level) / 2, df, n - 1))
    noise = k * j + (k * n - k - n) * e
    return (
        n * (b - lower * e) / (lower * noise + n * b),
        n * (upper * b - e) / (noise + n * upper * b),
    )


def _stepped(single: float, k: int) -> float:
    """Spearman-Brown."""
    return k * single / (1 + (k - 1) * single)


def _unless_tiny(value: float, tiny: float) -> float:
    return 0.0 if value <= tiny else value


def _twice(note: str) -> tuple[Coefficient, Coefficient]:
    missing = Coefficient(value=None, interval=None, note=note)
    return missing, missing


def krippendorff_alpha(
    ratings: Floats, clusters: Sequence[str], rng: np.random.Generator,
    resamples: int = RESAMPLES, level: float = LEVEL,
) -> Coefficient:  # fmt: skip
    """Krippendorff's alpha with the interval metric; missing ratings are left out.

    alpha = 1 - D_o / D_e (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"). With
    squared differences, D_o = 2 / n * sum over items of SS_u m_u / (m_u - 1), where m_u >= 2 is the
    number of an item's ratings and SS_u their sum of squares about their mean, and
    D_e = 2 SS / (n - 1) over all n such ratings. Items with one rating say nothing and are left
    out. The interval is a percentile bootstrap that draws content images with all their items
    (Zapf et al. 2016 compare it with others); raters are held fixed.

    Args:
        ratings: [n, k], n items by k raters, NaN where there is none.
        clusters: the content image of each item.
        rng: source of the draws.

    Returns:
        the coefficient; not defined without an item that two raters rated, or if all ratings of
        such items are equal. Without an interval, and with a note, with fewer than two images.

    Raises:
        ValueError: ``ratings`` is not two-dimensional, infinite, or has not an item per cluster.
    """
    table = np.asarray(ratings, dtype=np.float64)
    checked_floats(np.nan_to_num(table, nan=0.0), "ratings", ndim=2)
    index, _ = cluster_index(clusters, len(table))
    counts = (~np.isnan(table)).sum(axis=1)
    paired = counts >= 2
    table, counts, index = table[paired], counts[paired].astype(np.float64), index[paired]
    if len(table) == 0:
        return Coefficient(value=None, interval=None, note="no picture has two raters")
    present = ~np.isnan(table)
    if np.ptp(table[present]) == 0:
        note = "all ratings are equal, so nothing tells agreement from chance"
        return Coefficient(value=None, interval=None, note=note)
    # about a value in the middle, so that squares do not swamp the differences
    centred = np.where(present, table - table[present].mean(), 0.0)
    total, squares = centred.sum(axis=1), (centred**2).sum(axis=1)
    within = (squares - total**2 / counts) * counts / (counts - 1)
    parts = np.stack([
        np.bincount(np.unique(index, return_inverse=True)[1], weights=part)
        for part in (within, counts, total, squares)
    ])  # fmt: skip
    value = float(_alpha(parts.sum(axis=1, keepdims=True))[0])
    n_clusters = parts.shape[1]
    if n_clusters < 2:
        return Coefficient(
            value=value, interval=None,
            note=f"insufficient_n: no interval from {n_clusters} content image(s)",
        )  # fmt: skip
    draws = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=resamples)
    resampled = _alpha(np.asarray(parts @ draws.T, dtype=np.float64))
    defined = resampled[~np.isnan(resampled)]
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Coefficient(value=value, interval=(float(low), float(high)), note=None)


def _alpha(parts: Floats) -> Floats:
    """[4, M] sums (within, counts, totals, squares) to [M] alphas; NaN where nothing varies."""
    within, n, total, squares = parts
    expected = (squares - total**2 / n) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        alpha = 1 - (within / n) / expected
    return np.asarray(np.where(expected > 1e-9 * np.maximum(squares / n, 1e-300), alpha, np.nan))
