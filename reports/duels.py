"""Every two runs of a board against each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from benchmark.stats import (
    PairedComparison,
    SignFlips,
    holm,
    minimum_detectable_difference,
    paired_comparison,
)
from reports.board import Duel, MetricInfo, Row

ALPHA = 0.05
MOST_ALL_PAIRS = 40  # runs of a board
MOST_AGAINST_BEST = 400
SEED = 0  # of the sign flips: equal runs give equal reports


def all_duels(rows: Sequence[Row], metric: MetricInfo) -> tuple[Duel, ...]:
    """Pairs of complete runs over the samples that both have; Holm over the board's pairs.

    All pairs up to ``MOST_ALL_PAIRS`` runs, then each run against the first row, the board's best;
    none beyond ``MOST_AGAINST_BEST``.
    """
    scored = [row for row in rows if row.run.state == "complete" and metric.name in row.run.scores]
    if not 2 <= len(scored) <= MOST_AGAINST_BEST:
        return ()
    flips = SignFlips.draw(scored[0].run.image_ids, np.random.default_rng(SEED))
    images = np.asarray(scored[0].run.image_ids)
    found = []
    pairs = list(combinations(scored, 2))
    if len(scored) > MOST_ALL_PAIRS:
        pairs = pairs[: len(scored) - 1]
    for first, second in pairs:
        a, b = (row.run.scores[metric.name].values for row in (first, second))
        both = np.isfinite(a) & np.isfinite(b)
        found.append(
            (first, second, paired_comparison(a[both], b[both], images[both].tolist(), flips))
        )
    adjusted = holm([comparison.permutation_p for _, _, comparison in found])
    return tuple(
        _duel(first, second, comparison, float(p), metric)
        for (first, second, comparison), p in zip(found, adjusted, strict=True)
    )


def _duel(
    first: Row, second: Row, comparison: PairedComparison, p: float, metric: MetricInfo
) -> Duel:
    holm_p = None if np.isnan(p) else p
    winner = None
    if holm_p is not None and holm_p < ALPHA and comparison.mean_difference:
        ahead = (comparison.mean_difference > 0) == (metric.direction == "higher")
        winner = first.id if ahead else second.id
    sd, n = comparison.sd_of_cluster_differences, comparison.n_clusters
    detectable = minimum_detectable_difference(sd, n) if sd is not None else None
    return Duel(first.id, second.id, comparison, holm_p, detectable, winner)
