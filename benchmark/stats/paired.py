"""Comparison of two methods over the same samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, wilcoxon

from benchmark.stats.inputs import (
    RESOLUTION,
    Floats,
    Ints,
    checked_floats,
    checked_level,
    cluster_index,
    in_units,
)
from benchmark.stats.intervals import LEVEL, cluster_t_interval

PERMUTATIONS = 9999
EXACT_FLIPS = 16  # up to so many clusters all 2^G sign patterns are gone through
EXACT_RANKS = 50  # up to so many clusters the signed-rank distribution is counted out
SMALL = 6  # below, no two-sided sign test can reach p < 0.05


@dataclass(frozen=True)
class PairedComparison:
    """What :func:`paired_comparison` found; None stands for what the data cannot tell.

    Attributes:
        n: samples.
        n_clusters: clusters.
        mean_difference: mean of a - b over all samples; None without samples.
        interval: (low, high) of ``mean_difference``, by :func:`cluster_t_interval`.
        level: coverage of ``interval``.
        sd_of_cluster_differences: standard deviation (n - 1) of the per-cluster mean differences,
            what :func:`minimum_detectable_difference` takes.
        permutation_p: two-sided p of the sign-flip test of ``mean_difference``, in (0, 1].
        permutation_method: ``exact`` or ``monte-carlo``.
        wilcoxon_p: two-sided p of the signed-rank test of the per-cluster means, in (0, 1].
        wilcoxon_method: ``exact`` or ``normal``.
        rank_biserial: matched-pairs rank-biserial correlation of the per-cluster means, in
            [-1, 1]; 1 if a is greater in every cluster.
        cohens_dz: mean over standard deviation of the per-cluster means.
        notes: what a reader of the figures should know, in words.
    """

    n: int
    n_clusters: int
    mean_difference: float | None
    interval: tuple[float, float] | None
    level: float
    sd_of_cluster_differences: float | None
    permutation_p: float | None
    permutation_method: str | None
    wilcoxon_p: float | None
    wilcoxon_method: str | None
    rank_biserial: float | None
    cohens_dz: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SignFlips:
    """Patterns of flipped clusters, drawn once for the comparisons of a whole table.

    Every test is as valid as with patterns of its own; the tests of a table then also share their
    chance, as they share their images.

    Attributes:
        clusters: names of the columns.
        flipped: [m, G] float64 of 0 and 1.
    """

    clusters: tuple[str, ...]
    flipped: Floats

    @classmethod
    def draw(
        cls, clusters: Sequence[str], rng: np.random.Generator, permutations: int = PERMUTATIONS
    ) -> SignFlips:
        """Patterns for the clusters of all samples that are to be compared (names may repeat)."""
        names = tuple(sorted(set(clusters)))
        drawn = rng.integers(0, 2, size=(permutations, len(names)), dtype=np.int8)
        return cls(names, drawn.astype(np.float64))

    def p_value(self, sums: Floats, names: Sequence[str]) -> float:
        """p of |sum| among the patterns; ``sums`` of the clusters ``names``."""
        column = {name: place for place, name in enumerate(self.clusters)}
        own = np.zeros(len(self.clusters))  # clusters that are not among them change nothing
        own[[column[name] for name in names]] = sums
        hits = _reaching(self.flipped @ own, sums)
        return (hits + 1) / (len(self.flipped) + 1)


def paired_comparison(
    a: npt.ArrayLike, b: npt.ArrayLike, clusters: Sequence[str],
    rng: np.random.Generator | SignFlips,
    level: float = LEVEL, permutations: int = PERMUTATIONS,
) -> PairedComparison:  # fmt: skip
    """Compare the scores of two methods on the same samples.

    Two tests, neither of which counts the samples of one image as independent:

    - Sign flips of whole clusters, the statistic being the absolute mean difference (Winkler et al.
      2015, "Multi-level block permutation"). Up to 16 clusters that differ, all patterns are gone
      through; beyond, ``permutations`` are drawn and p = (k + 1) / (m + 1) (Phipson & Smyth 2010).
    - Wilcoxon's signed-rank test of the per-cluster mean differences. Zero differences are dropped
      (Wilcoxon 1945), tied ones share the mean rank. Up to 50 clusters the null distribution of the
      ranks at hand is counted out, ties included; beyond it is normal, with the variance corrected
      for ties (``scipy.stats.wilcoxon``).

    Both take a - b to be symmetric about zero under the null hypothesis. Effect sizes: the simple
    difference formula of Kerby 2014 (rank-biserial) and Cohen's d_z (Lakens 2013, equation 6).
    Differences below 1e-12 of the largest score count as ties. Swapping ``a`` and ``b`` changes the
    signs and nothing else; the order of the samples changes nothing.

    Args:
        a: [N] finite scores of the one method.
        b: [N] finite scores of the other on the same samples.
        clusters: the cluster (content image) of each sample.
        rng: source of the sign flips, or flips drawn beforehand, which know all the clusters; not
            used while the patterns are gone through.
        level: coverage of the interval, in (0, 1).
        permutations: sign flips drawn from a generator.

    Returns:
        the comparison. With fewer than two clusters it has neither interval nor p-values; if no
        cluster differs both p are 1. The notes say so.

    Raises:
        ValueError: unequal lengths, a score that is not finite (the message names its position),
            ``level`` outside (0, 1) or ``permutations`` < 1.
    """
    first, second = checked_floats(a, "a"), checked_floats(b, "b")
    if len(first) != len(second):
        raise ValueError(f"a has {len(first)} scores but b has {len(second)}")
    index, n_clusters = cluster_index(clusters, len(first))
    checked_level(level, permutations)
    difference = first - second
    n = len(difference)
    mean = math.fsum(difference) / n if n else None
    if n_clusters < 2:
        note = f"insufficient_n: {n_clusters} cluster(s), at least 2 are needed to infer anything"
        return PairedComparison(
            n, n_clusters, mean, None, level, None, None, None, None, None, None, None, (note,)
        )
    largest = float(max(np.abs(first).max(), np.abs(second).max()))
    totals = _cluster_sums(difference, index, n_clusters)
    sums = in_units(totals, largest)
    means = in_units(totals / np.bincount(index), largest)
    ranked = means[means != 0]
    sd = 0.0 if np.ptp(means) == 0 else float(means.std(ddof=1))
    notes = _notes(sums, means, sd)
    if isinstance(rng, SignFlips) and (sums != 0).sum() > EXACT_FLIPS:
        permutation_p, permutation_method = (
            rng.p_value(sums, np.unique(clusters).tolist()),
            "monte-carlo",
        )
    else:
        source = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(0)
        permutation_p, permutation_method = _sign_flips(sums[sums != 0], source, permutations)
    wilcoxon_p, wilcoxon_method = _signed_rank(ranked)
    return PairedComparison(
        n=n,
        n_clusters=n_clusters,
        mean_difference=mean,
        interval=cluster_t_interval(difference, clusters, level),
        level=level,
        sd_of_cluster_differences=sd * largest * RESOLUTION,
        permutation_p=permutation_p,
        permutation_method=permutation_method,
        wilcoxon_p=wilcoxon_p,
        wilcoxon_method=wilcoxon_method,
        rank_biserial=_rank_biserial(ranked),
        cohens_dz=float(means.mean() / sd) if sd > 0 else None,
        notes=tuple(notes),
    )


def _cluster_sums(values: Floats, index: Ints, n_clusters: int) -> Floats:
    """[G] correctly rounded, so that the order of the samples cannot make or break a tie."""
    order = np.argsort(index, kind="stable")
    parts = np.split(values[order], np.cumsum(np.bincount(index, minlength=n_clusters))[:-1])
    return np.array([math.fsum(part) for part in parts])


def _notes(sums: Floats, means: Floats, sd: float) -> list[str]:
    notes = []
    differing = int((means != 0).sum())
    if differing == 0:
        notes.append("no cluster differs: there is nothing to rank, p is 1 by convention")
    elif differing < len(means):
        notes.append(
            f"{len(means) - differing} of {len(means)} clusters do not differ; the signed-rank test"
            " leaves them out"
        )
    if len(np.unique(np.abs(means[means != 0]))) < differing:
        notes.append("some clusters differ by the same amount; they share a rank")
    if sd == 0:
        notes.append(
            "all clusters differ by the same amount: the interval has no length, d_z is undefined"
        )
    flips = int((sums != 0).sum())
    if 0 < flips < SMALL:
        notes.append(f"{flips} cluster(s) that differ: p cannot be below {2.0 ** (1 - flips):g}")
    return notes


def _sign_flips(
    sums: Floats, rng: np.random.Generator, permutations: int
) -> tuple[float, str]:  # fmt: skip
    """p of |sum| among the sums with flipped signs; ``sums`` has no zeros."""
    n = len(sums)
    if n <= EXACT_FLIPS:
        if n == 0:
            return 1.0, "exact"
        # turning all signs leaves |sum|, so the first one can stay
        flipped = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1)) & 1
        return _reaching(flipped @ sums[1:], sums) / len(flipped), "exact"
    rows = max(1, 2**22 // n)
    hits = 0
    for start in range(0, permutations, rows):
        drawn = rng.integers(0, 2, size=(min(rows, permutations - start), n), dtype=np.int8)
        hits += _reaching(drawn @ sums, sums)
    return (hits + 1) / (permutations + 1), "monte-carlo"


def _reaching(flipped_sums: Floats, sums: Floats) -> int:
    """In how many patterns |sum| is at least the observed one; given the flipped part of each."""
    total = sums.sum()
    reached = abs(total) - 1e-11 * np.abs(sums).sum()
    return int((np.abs(total - 2 * flipped_sums) >= reached).sum())


def _signed_rank(means: Floats) -> tuple[float, str]:
    """p of Wilcoxon's test; ``means`` has no zeros."""
    if len(means) > EXACT_RANKS:
        # "approx" is the name that every supported scipy knows
        return float(wilcoxon(means, correction=False, method="approx").pvalue), "normal"
    doubled = np.rint(2 * rankdata(np.abs(means))).astype(np.intp)  # mean ranks may be halves
    ways = np.zeros(doubled.sum() + 1)  # of reaching each sum of positive ranks; exact below 2^53
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    positive = int(doubled[means > 0].sum())
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return float(min(1.0, 2 * tail / ways.sum())), "exact"


def _rank_biserial(means: Floats) -> float | None:
    """(R+ - R-) / (R+ + R-); None if there is nothing to rank."""
    if len(means) == 0:
        return None
    ranks = rankdata(np.abs(means))
    return float((np.sign(means) * ranks).sum() / ranks.sum())
