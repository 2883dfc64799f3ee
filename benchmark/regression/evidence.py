"""What paired scores say of one metric: interval, one-sided p-values, images that would decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from benchmark.regression.record import Floats
from benchmark.stats import cluster_t_interval, clusters_needed, paired_comparison

ALPHA = 0.05  # of each one-sided test
POWER = 0.8
_LEAST_P = 1e-15  # a level in (0, 1) cannot come closer to 1


@dataclass(frozen=True)
class Evidence:
    """Paired gains of one metric; a gain is positive where the run is better.

    Attributes:
        n: samples with a value in both runs.
        n_images: their content images.
        gain: mean over the samples; None without any.
        interval: at 1 - 2 ALPHA, so that each end is that of a one-sided test at ALPHA; None with
            fewer than two images.
        p_worse: one-sided p of "the mean gain is not below 0"; None without an interval.
        p_better: the same of "not above 0".
        sd_of_images: standard deviation of the images' mean gains; None with fewer than two.
    """

    n: int
    n_images: int
    gain: float | None
    interval: tuple[float, float] | None
    p_worse: float | None
    p_better: float | None
    sd_of_images: float | None

    def within(self, margin: float) -> bool:
        """Whether both one-sided tests (Schuirmann 1987) place the gain inside +-margin.

        Scores that are all equal are, also those of one image.
        """
        ends = self.interval or ((0.0, 0.0) if self.gain == 0 and self.n_images == 1 else None)
        return ends is not None and -margin < ends[0] and ends[1] < margin


def evidence(
    reference: Floats, run: Floats, images: Sequence[str], higher_is_better: bool
) -> Evidence:
    """Evidence of the samples that both runs have.

    The tests are the interval of :func:`benchmark.stats.cluster_t_interval`, inverted. Where it
    cannot be trusted sign flips of whole images take its place: for scores of 0 and 1, whose
    differences are far from normal, and for differences that are all the same, whose t interval
    has no length.

    Args:
        reference: [N] scores, NaN where there is none.
        run: [N] the same of the run.
        images: [N] content image of each sample.
        higher_is_better: of the metric.
    """
    both = np.isfinite(reference) & np.isfinite(run)
    old, new = reference[both], run[both]
    names = np.asarray(images, dtype=str)[both]
    gains = new - old if higher_is_better else old - new
    n_images = len(np.unique(names))
    if n_images < 2:
        mean = float(gains.mean()) if len(gains) else None
        if len(gains) and np.ptp(gains) == 0:
            mean = float(gains[0])
        return Evidence(len(gains), n_images, mean, None, None, None, None)
    clusters: list[str] = names.tolist()
    interval = cluster_t_interval(gains, clusters, 1 - 2 * ALPHA)
    _, index = np.unique(names, return_inverse=True)
    means = np.bincount(index, weights=gains) / np.bincount(index)
    mean = float(gains.mean())
    if np.ptp(gains) == 0 or np.isin([old, new], (0.0, 1.0)).all():
        flips = paired_comparison(new, old, clusters, np.random.default_rng(0)).permutation_p
        two_sided = 1.0 if flips is None else flips
    else:
        two_sided = _two_sided_p(gains, clusters)
    tail = two_sided / 2
    return Evidence(
        n=len(gains), n_images=n_images, gain=mean, interval=interval,
        p_worse=tail if mean < 0 else 1 - tail, p_better=tail if mean > 0 else 1 - tail,
        sd_of_images=0.0 if np.ptp(means) == 0 else float(means.std(ddof=1)),
    )  # fmt: skip


def _two_sided_p(values: Floats, clusters: Sequence[str]) -> float:
    """1 - the level of the interval that ends at 0; ``values`` are not all equal."""

    def past_zero(level: float) -> float:
        """Positive while the interval does not reach 0."""
        low, high = cluster_t_interval(values, clusters, level) or (0.0, 0.0)
        return abs(low + high) / 2 - (high - low) / 2

    most = 1 - _LEAST_P
    if past_zero(most) > 0:
        return _LEAST_P
    if past_zero(_LEAST_P) <= 0:  # the mean is 0
        return 1.0
    return 1 - float(brentq(past_zero, _LEAST_P, most, xtol=_LEAST_P))


def images_needed(found: Evidence, margin: float, n_tests: int) -> int | None:
    """Images with which four of five checks would decide, were the true gain the one seen.

    The fewer of two numbers: with which the gain is told from 0 by a test at ALPHA / ``n_tests``,
    as Holm's first step asks, and with which it is told from the margin. The second test must hold
    at both margins, which takes more where the gain is near 0: power 1 - (1 - POWER) / 2 of the
    nearer one is enough for both.

    Returns:
        at least one image more than there are; None if the spread between images is unknown.
    """
    if found.gain is None or found.sd_of_images is None or found.sd_of_images == 0:
        return None
    gain, sd = abs(found.gain), found.sd_of_images
    needed = []
    if gain > margin / 10:
        alpha = max(1e-4, 2 * ALPHA / n_tests)
        needed.append(clusters_needed(sd, gain, alpha, POWER))
    if gain < 0.9 * margin:
        needed.append(clusters_needed(sd, margin - gain, 2 * ALPHA, 1 - (1 - POWER) / 2))
    return max(found.n_images + 1, min(needed))
