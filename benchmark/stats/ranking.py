"""How firmly a ranking of methods stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from benchmark.stats.inputs import Floats, checked_floats, checked_level, cluster_index, in_units
from benchmark.stats.intervals import RESAMPLES


@dataclass(frozen=True)
class RankStability:
    """What :func:`rank_stability` found for M methods.

    Attributes:
        observed_rank: [M] rank by the mean over all samples, 1 the best; ties share the mean rank.
            None without samples.
        rank_probability: [M, M] share of the resamples that put method i (row) at rank j + 1
            (column); every row and column sums to 1. None with fewer than two clusters.
        p_first: [M] first column of ``rank_probability``.
        expected_rank: [M] mean rank over the resamples, in [1, M].
        note: why there are no probabilities, else None.
    """

    observed_rank: Floats | None
    rank_probability: Floats | None
    p_first: Floats | None
    expected_rank: Floats | None
    note: str | None


def rank_stability(
    scores: npt.ArrayLike, clusters: Sequence[str], rng: np.random.Generator,
    higher_is_better: bool, resamples: int = RESAMPLES,
) -> RankStability:  # fmt: skip
    """Rank methods by their mean on clusters drawn with replacement (Hall & Miller 2009).

    All methods see the same draw, so what an image adds to every score cancels. The shares describe
    how far the ranking hangs on the choice of images; they are no posterior probabilities. Methods
    that tie at k ranks (means within 1e-12 of the largest score) get 1 / k of each.

    Args:
        scores: [M, N] finite scores, one row a method, M >= 1.
        clusters: the cluster (content image) of each of the N samples.
        rng: source of the draws.
        higher_is_better: direction of the metric.
        resamples: number of draws.

    Returns:
        the ranks; without probabilities, and with a note, if there are fewer than two clusters.

    Raises:
        ValueError: ``scores`` is not [M, N] with M >= 1, a score is not finite (the message names
            its position), the number of clusters is not N, or ``resamples`` < 1.
    """
    table = checked_floats(scores, "scores", ndim=2)
    n_methods, n = table.shape
    if n_methods == 0:
        raise ValueError("scores has no method")
    index, n_clusters = cluster_index(clusters, n)
    checked_level(0.5, resamples)
    note = f"insufficient_n: {n_clusters} cluster(s), at least 2 are needed to resample them"
    if n == 0:
        return RankStability(None, None, None, None, note)
    largest = float(np.abs(table).max())
    sign = -1.0 if higher_is_better else 1.0
    observed = rankdata(in_units(sign * table.mean(axis=1), largest))
    if n_clusters < 2:
        return RankStability(observed, None, None, None, note)
    sums = np.stack([np.bincount(index, weights=row) for row in table], axis=1)
    weights = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=resamples)
    means = (weights @ sums) / (weights @ np.bincount(index))[:, None]
    ordered = in_units(sign * means, largest)
    lowest = rankdata(ordered, method="min", axis=1)
    highest = rankdata(ordered, method="max", axis=1)
    share = 1 / (highest - lowest + 1)
    places = np.arange(1, n_methods + 1)
    probability = np.stack(
        [(share * ((lowest <= place) & (place <= highest))).mean(axis=0) for place in places],
        axis=1,
    )
    return RankStability(observed, probability, probability[:, 0], probability @ places, None)
