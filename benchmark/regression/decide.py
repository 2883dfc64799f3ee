"""The verdict on every metric: regressed, improved, equivalent or inconclusive.

Equivalent: both one-sided tests at 5 % place the mean difference inside the protocol's margin. A
mean that has truly moved by the margin or more passes for equivalent in at most 5 % of checks. All
metrics must pass, so this needs no correction for their number (Berger 1982).

Regressed: not equivalent, and worse than the reference in a one-sided test at 5 %, Holm over the
metrics. Without a change, any metric is called regressed in at most 5 % of checks. Improved is the
mirror image, a family of its own. What is neither is inconclusive: the images do not tell.

With the reference's seed, the tests speak of other images than those at hand; a sample that was
made before and fails now is then no matter of chance, and a regression without a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmark.regression.evidence import ALPHA, Evidence, evidence
from benchmark.regression.record import Floats, Record
from benchmark.scoring import metric_classes
from benchmark.stats import holm

Verdict = Literal["regressed", "improved", "equivalent", "inconclusive"]
Direction = Literal["higher", "lower"]

OUTPUTS = "samples made"
VALUES = " has a value"
LOST_SHARE = 0.02  # the margin of samples that fail or lose their value: the 2 % of all margins


@dataclass(frozen=True)
class Paired:
    """One thing to judge, over the samples of both runs.

    Attributes:
        name: of the metric.
        direction: which way is better.
        margin: above 0, in the metric's unit.
        reference: [N] float64, NaN where there is no value.
        run: [N] the same of the run.
    """

    name: str
    direction: Direction
    margin: float
    reference: Floats
    run: Floats


@dataclass(frozen=True)
class Decision:
    """The verdict on one metric.

    Attributes:
        paired: what was judged.
        verdict: see the module.
        found: the evidence.
        p_worse: one-sided, adjusted by Holm's method over the metrics; None where there is none.
        p_better: the same.
        note: what a reader should know, or an empty string.
    """

    paired: Paired
    verdict: Verdict
    found: Evidence
    p_worse: float | None
    p_better: float | None
    note: str = ""


def pairs(
    reference: Record, run: Record, margins: Mapping[str, float]
) -> tuple[list[Paired], dict[str, str]]:
    """What can be judged, and why the other metrics of the reference cannot (by name).

    Beside each metric with a margin, two kinds of shares are judged: the samples that were made,
    and, where values were lost for another reason (``no_face``), the samples that have one.
    """
    found = [
        Paired(OUTPUTS, "higher", LOST_SHARE, _as_share([r is None for r in reference.failures]),
               _as_share([r is None for r in run.failures]))
    ]  # fmt: skip
    made = np.array([
        old is None and new is None
        for old, new in zip(reference.failures, run.failures, strict=True)
    ])  # fmt: skip
    unjudged: dict[str, str] = {}
    for cls in metric_classes(list(reference.values)):
        old, new = reference.values[cls.name], run.values[cls.name]
        if cls.name not in margins:
            unjudged[cls.name] = "the protocol has no margin for it"
            continue
        had, has = np.isfinite(old), np.isfinite(new)
        if not had.any():
            unjudged[cls.name] = "no sample has a value in the reference"
            continue
        found.append(Paired(cls.name, cls.direction, margins[cls.name], old, new))
        if (had & ~has & made).any():
            shares = (_as_share(values)[made] for values in (had, has))
            old, new = (np.full(len(made), np.nan) for _ in range(2))
            old[made], new[made] = shares
            found.append(Paired(cls.name + VALUES, "higher", LOST_SHARE, old, new))
    return found, unjudged


def decide(
    found: Sequence[Paired], images: Sequence[str], same_seed: bool
) -> list[Decision]:  # fmt: skip
    """Verdicts on ``found``, in its order.

    Args:
        images: [N] content image of each sample.
        same_seed: whether both runs drew the same noise.
    """
    seen = [evidence(one.reference, one.run, images, one.direction == "higher") for one in found]
    worse = holm([one.p_worse for one in seen])
    better = holm([one.p_better for one in seen])
    return [
        _decision(paired, one, _known(float(p)), _known(float(q)), same_seed)
        for paired, one, p, q in zip(found, seen, worse, better, strict=True)
    ]


def _decision(
    paired: Paired, found: Evidence, p_worse: float | None, p_better: float | None, same_seed: bool
) -> Decision:
    verdict: Verdict = "inconclusive"
    note = ""
    fail_now = int((paired.run < paired.reference).sum()) if paired.name == OUTPUTS else 0
    if same_seed and fail_now:
        verdict, note = "regressed", f"{fail_now} sample(s) fail with the noise that made them"
    elif found.within(paired.margin):
        verdict = "equivalent"
        if found.gain == 0 and np.array_equal(paired.reference, paired.run, equal_nan=True):
            note = "identical"
    elif p_worse is not None and p_worse < ALPHA:
        verdict = "regressed"
    elif p_better is not None and p_better < ALPHA:
        verdict = "improved"
    elif found.n_images < 2:
        note = f"insufficient_n: {found.n_images} image(s) with values in both, 2 are needed"
    return Decision(paired, verdict, found, p_worse, p_better, note)


def overall(decisions: Sequence[Decision]) -> Verdict:
    """Regressed if any is, else inconclusive if any is, else improved if any is."""
    verdicts = {decision.verdict for decision in decisions}
    order: tuple[Verdict, ...] = ("regressed", "inconclusive", "improved")
    return next((verdict for verdict in order if verdict in verdicts), "equivalent")


def _as_share(flags: Sequence[bool] | np.ndarray) -> Floats:
    return np.asarray(flags, dtype=np.float64)


def _known(p: float) -> float | None:
    return None if np.isnan(p) else p
