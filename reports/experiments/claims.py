"""Whether the paper's claims hold here: the tests decide the word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.stats import (
    PERMUTATIONS,
    PairedComparison,
    clusters_needed,
    holm,
    minimum_detectable_difference,
    paired_comparison,
)
from reports.experiments.measure import Measured, Values
from reports.experiments.model import Claim

ALPHA = 0.05
SEED = 0  # of the sign flips: equal runs give equal words
EXACT_FLIPS = 16  # up to so many images all sign patterns are gone through
ROUNDING = 1e-11  # of the statistic: what is nearer counts as reached
Floats = npt.NDArray[np.float64]
Word = Literal["supported", "contradicted", "undecided at this n"]


@dataclass(frozen=True)
class Pair:
    """Two variants on the claim's column: the first minus the second."""

    of: str
    than: str
    comparison: PairedComparison


@dataclass(frozen=True)
class Decision:
    """What the tests say of a claim.

    Attributes:
        word: code decides it, see :func:`decide`.
        p_supported, p_contradicted: one-sided, each adjusted (Holm) over the experiment's claims;
            None if a run is missing or there are fewer than two images.
        pair: the one that decided: the weakest for *supported* and *undecided*, for *contradicted*
            the one that speaks most against it; None without a comparison.
        detectable: difference that this many images would show with a power of 80 % (paired t
            test); None with fewer than :func:`fewest` images.
        needed: images that would show the difference of an undecided pair, if it lies the claim's
            way; never fewer than :func:`fewest`.
        missing: labels of variants that were not made.
    """

    claim: Claim
    word: Word
    p_supported: float | None
    p_contradicted: float | None
    pair: Pair | None
    detectable: float | None
    needed: int | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tested:
    """A claim before the correction.

    Attributes:
        places: (of, than) of each pair.
        differences: [K, G] sums over each image's samples, first minus second, with the sign
            turned so that above 0 is what the claim says; 0 where an image has no value.
    """

    claim: Claim
    places: tuple[tuple[str, str], ...]
    differences: Floats

    def p_supported(self) -> float | None:
        """Every pair must lie the claim's way: the largest p of them."""
        if self.differences.shape[1] < 2:
            return None
        return max(joint_p(row[None]) for row in self.differences)

    def p_contradicted(self) -> float | None:
        """One pair that goes the other way is enough: all of them at once."""
        if self.differences.shape[1] < 2:
            return None
        return joint_p(-self.differences)

    def ranked(self) -> list[tuple[str, str]]:
        """Pairs, what speaks most for the claim first."""
        statistics = _statistics(self.differences)
        return [self.places[k] for k in np.argsort(-statistics, kind="stable")]


def decide(measured: Measured) -> list[Decision]:
    """A word for each claim.

    Pairs are tested by sign flips of whole content images (of chunks, where seconds are compared).
    A claim over several pairs is supported if each of them is, so the largest p counts. It is
    contradicted if one goes significantly the other way; the largest statistic of the pairs is
    then compared with the largest one under common flips. Holm's correction runs over the claims
    of the experiment, for each direction: the chance of any wrong *supported* is at most 5 %, and
    so is that of any wrong *contradicted*.
    """
    claims = measured.experiment.claims
    tested = [_tested(measured, claim) for claim in claims]
    supporting = holm([None if test is None else test.p_supported() for test in tested])
    opposing = holm([None if test is None else test.p_contradicted() for test in tested])
    return [
        _decision(
            measured, claim, test,
            None if np.isnan(supported) else float(supported),
            None if np.isnan(contradicted) else float(contradicted),
        )
        for claim, test, supported, contradicted in zip(
            claims, tested, supporting, opposing, strict=True
        )
    ]  # fmt: skip


def fewest(claims: int) -> int:
    """Images with which a sign-flip test can give p < 0.05 under Holm's correction at all."""
    return math.floor(math.log2(claims / ALPHA)) + 1


def joint_p(differences: Floats) -> float:
    """One-sided p that none of several differences is above 0, by common flips of their signs.

    The statistic is the largest over pairs of sum / root of the sum of squares, whose denominator
    no flip changes. With one pair it is the exact one-sided sign-flip test (Winkler et al. 2015);
    with several, the flips of an image turn all its pairs at once (Westfall & Young 1993). Up to
    16 images all patterns are gone through; beyond, p = (k + 1) / (m + 1).

    Args:
        differences: [K, G] of K pairs and G images.
    """
    count = differences.shape[1]
    scale = np.sqrt((differences**2).sum(axis=1, keepdims=True))
    unit = np.divide(differences, scale, out=np.zeros_like(differences), where=scale > 0)
    observed = float(unit.sum(axis=1).max())
    if count <= EXACT_FLIPS:
        signs = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        extra = 0
    else:
        rng = np.random.default_rng(SEED)
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(PERMUTATIONS, count))
        extra = 1
    reached = int(((signs @ unit.T).max(axis=1) >= observed - ROUNDING).sum())
    return (reached + extra) / (len(signs) + extra)


def _statistics(differences: Floats) -> Floats:
    scale = np.sqrt((differences**2).sum(axis=1))
    totals: Floats = differences.sum(axis=1)
    found: Floats = np.divide(totals, scale, out=np.zeros_like(totals), where=scale > 0)
    return found


def _tested(measured: Measured, claim: Claim) -> _Tested | None:
    """The differences of all pairs; None if a run is missing."""
    dataset = measured.experiment.dataset_of(claim)
    sign = 1.0 if claim.says == "higher" else -1.0
    places, rows = [], []
    for of in claim.of:
        for than in claim.than:
            found = _both(measured, dataset, claim.column, of, than)
            if found is None:
                return None
            first, second = found
            difference = np.nan_to_num(sign * (first.values - second.values))
            names = np.unique(first.clusters)
            index = np.searchsorted(names, np.asarray(first.clusters))
            rows.append(np.bincount(index, weights=difference, minlength=len(names)))
            places.append((of, than))
    # scores that differ by rounding alone are ties
    differences: Floats = np.stack(rows).astype(np.float64)
    differences[np.abs(differences) < 1e-12] = 0.0
    return _Tested(claim, tuple(places), differences)


def _both(
    measured: Measured, dataset: str, column: str, of: str, than: str
) -> tuple[Values, Values] | None:
    first = measured.row(dataset, of).values.get(column)
    second = measured.row(dataset, than).values.get(column)
    return None if first is None or second is None else (first, second)


def _decision(
    measured: Measured, claim: Claim, tested: _Tested | None,
    p_supported: float | None, p_contradicted: float | None,
) -> Decision:  # fmt: skip
    dataset = measured.experiment.dataset_of(claim)
    if tested is None:
        missing = tuple(
            row.variant.label
            for row in measured.rows[dataset]
            if row.variant.id in {*claim.of, *claim.than} and claim.column not in row.values
        )
        return Decision(claim, "undecided at this n", None, None, None, None, None, missing)
    word: Word = "undecided at this n"
    if p_supported is not None and p_supported < ALPHA:
        word = "supported"
    elif p_contradicted is not None and p_contradicted < ALPHA:
        word = "contradicted"
    # the weakest pair is also the one that speaks most against the claim
    pair = _compared(measured, claim, *tested.ranked()[-1])
    sd, n = pair.comparison.sd_of_cluster_differences, pair.comparison.n_clusters
    least = fewest(len(measured.experiment.claims))
    detectable = minimum_detectable_difference(sd, n) if sd is not None and n >= least else None
    needed = _needed(pair, claim, least) if word == "undecided at this n" else None
    return Decision(claim, word, p_supported, p_contradicted, pair, detectable, needed)


def _compared(measured: Measured, claim: Claim, of: str, than: str) -> Pair:
    found = _both(measured, measured.experiment.dataset_of(claim), claim.column, of, than)
    assert found is not None
    first, second = found
    both = np.isfinite(first.values) & np.isfinite(second.values)
    comparison = paired_comparison(
        first.values[both], second.values[both], np.asarray(first.clusters)[both].tolist(),
        np.random.default_rng(SEED),
    )  # fmt: skip
    return Pair(of, than, comparison)


def _needed(pair: Pair, claim: Claim, least: int) -> int | None:
    sd, mean = pair.comparison.sd_of_cluster_differences, pair.comparison.mean_difference
    if not sd or not mean or (mean > 0) != (claim.says == "higher"):
        return None
    try:
        return max(least, clusters_needed(sd, mean))
    except ValueError:
        return None
