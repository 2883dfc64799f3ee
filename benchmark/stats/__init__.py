"""Statistics of scores: intervals, paired tests, rankings, sample sizes.

The unit of independence is the cluster, that is the content image: what several prompts make of one
image is correlated, so every interval and every test here draws, flips or ranks whole clusters.
Nothing here touches a global random state; what needs draws takes a ``numpy.random.Generator``.
"""

from benchmark.stats.holm import holm
from benchmark.stats.intervals import LEVEL, RESAMPLES, cluster_bootstrap, cluster_t_interval
from benchmark.stats.paired import PERMUTATIONS, PairedComparison, SignFlips, paired_comparison
from benchmark.stats.planning import clusters_needed, minimum_detectable_difference
from benchmark.stats.ranking import RankStability, rank_stability
from benchmark.stats.tradeoff import harmonic_mean, pareto_front

__all__ = [
    "LEVEL",
    "PERMUTATIONS",
    "RESAMPLES",
    "PairedComparison",
    "RankStability",
    "SignFlips",
    "cluster_bootstrap",
    "cluster_t_interval",
    "clusters_needed",
    "harmonic_mean",
    "holm",
    "minimum_detectable_difference",
    "paired_comparison",
    "pareto_front",
    "rank_stability",
]
