"""``bench check``: a run, or one made now, against its reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmark.config import load_protocol
from benchmark.errors import BenchError
from benchmark.finish import quiet_libraries
from benchmark.regression.comparable import require_comparable, require_same_setting
from benchmark.regression.decide import OUTPUTS, VALUES, Decision, Verdict, decide, overall, pairs
from benchmark.regression.evidence import ALPHA, images_needed
from benchmark.regression.record import Record, record_of
from benchmark.rerun.options import Pictures, options_of

SCHEMA_VERSION = 1
EXIT_CODES: dict[Verdict, int] = {
    "equivalent": 0, "improved": 0, "regressed": 1, "inconclusive": 3,
}  # fmt: skip
MOST_WORST = 8


class CheckError(BenchError):
    """The check could not be made. Its exit code is not 1, which says that a method regressed."""

    exit_code = 2


@dataclass(frozen=True)
class WorstSample:
    """A sample that lost most.

    Attributes:
        metric: in which it lost most, in margins.
        margins: how many; None for a sample that was made and fails now.
        reference: its score.
        run: its score now; None if it has none.
        reason: why it has none, else None.
    """

    sample_id: str
    image_id: str
    caption: str
    metric: str
    margins: float | None
    reference: float | None
    run: float | None
    reason: str | None


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        verdict: over all metrics.
        decisions: metric by metric.
        needed: by name of an inconclusive metric, images that would decide; None if unknown.
        unjudged: by metric, why it is not judged.
        worst: samples that lost most, worst first.
        notes: what a reader should know, in words.
    """

    reference: Record
    run: Record
    reference_path: Path
    run_path: Path
    verdict: Verdict
    decisions: tuple[Decision, ...]
    needed: dict[str, int | None]
    unjudged: dict[str, str]
    worst: tuple[WorstSample, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def title(self) -> str:
        config = self.run.facts.manifest.config
        return f"{config.method} on {config.dataset} under {config.protocol}"

    def as_json(self) -> dict[str, Any]:
        """For ``--json``: no NaN, no infinity."""
        config = self.run.facts.manifest.config
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "method": config.method,
            "dataset": config.dataset,
            "protocol": config.protocol,
            "config_hash": config.config_hash,
            "seed": config.seed,
            "reference_seed": self.reference.facts.manifest.config.seed,
            "reference": str(self.reference_path),
            "run_directory": str(self.run_path),
            "level": ALPHA,
            "metrics": [_decision_json(one, self.needed) for one in self.decisions],
            "not_judged": self.unjudged,
            "worst": [asdict(one) for one in self.worst],
            "notes": list(self.notes),
        }


def check(
    run_path: Path, reference: Record, reference_path: Path, *, any_config: bool
) -> CheckResult:
    """Compare a finished run with a reference.

    Raises:
        NotComparableError: something other than code and seed differs.
        RunDirectoryError: the run cannot be used (see :func:`record_of`).
    """
    run = record_of(run_path)
    require_comparable(reference, run, any_config=any_config)
    run = _in_order_of(reference, run)
    old, new = reference.facts.manifest, run.facts.manifest
    margins = load_protocol(old.config.protocol).margins
    found, unjudged = pairs(reference, run, margins)
    decisions = tuple(decide(found, reference.image_ids, old.config.seed == new.config.seed))
    return CheckResult(
        reference=reference, run=run, reference_path=reference_path, run_path=run_path,
        verdict=overall(decisions), decisions=decisions,
        needed={
            one.paired.name: images_needed(one.found, one.paired.margin, len(decisions))
            for one in decisions if one.verdict == "inconclusive"
        },
        unjudged=unjudged, worst=_worst(reference, run, decisions),
        notes=tuple(_notes(reference, run)),
    )  # fmt: skip


@contextmanager
def made_again(
    reference: Record, pictures: Pictures, *, out: Path | None, any_config: bool,
    accelerator: str | None, weights_dir: Path | None,
) -> Iterator[Path]:  # fmt: skip
    """The run of a reference, made by the code as it is now; gone afterwards unless ``out`` is set.

    An earlier run of the same config in ``out`` is overwritten: to take it up would be to compare
    pictures of older code.

    Args:
        any_config: take the method's present config in place of the reference's.

    Raises:
        NotComparableError: data, weights or config are not those of the reference.
        BenchError: the run cannot be made.
    """
    from benchmark import launch

    with TemporaryDirectory(prefix="bench-check-") as scratch:
        options = options_of(
            reference.facts.manifest, pictures, out=out or Path(scratch), existing="overwrite",
            accelerator=accelerator, weights_dir=weights_dir,
        )  # fmt: skip
        if any_config:
            options = replace(options, settings=())
        plan = launch.resolve(options)
        require_same_setting(
            reference.facts.manifest.config, plan.resolved, any_config=any_config
        )  # fmt: skip
        quiet_libraries()
        result = launch.execute(plan)
        if result is None:
            raise CheckError("`bench check` runs in one process: do not launch it by torchrun")
        yield result.directory


def _in_order_of(reference: Record, run: Record) -> Record:
    """The run with its samples in the reference's order."""
    place = {sample: number for number, sample in enumerate(run.sample_ids)}
    order = [place[sample] for sample in reference.sample_ids]
    manifest = run.facts.manifest.model_copy(update={"sample_ids": list(reference.sample_ids)})
    return Record(
        run.facts.model_copy(update={"manifest": manifest}),
        tuple(run.image_ids[number] for number in order),
        tuple(run.prompt_ids[number] for number in order),
        {name: values[order] for name, values in run.values.items()},
        {name: tuple(found[number] for number in order) for name, found in run.statuses.items()},
    )


def _worst(
    reference: Record, run: Record, decisions: tuple[Decision, ...]
) -> tuple[WorstSample, ...]:
    """Samples by their greatest loss in margins, those that fail now first."""
    captions = {prompt.id: prompt.caption for prompt in reference.facts.manifest.config.prompts}
    found = []
    for number, sample in enumerate(reference.sample_ids):
        losses = [
            ((one.reference[number] - one.run[number])
             * (1 if one.direction == "higher" else -1) / one.margin, one)
            for one in (decision.paired for decision in decisions)
            if one.name != OUTPUTS and not one.name.endswith(VALUES)
            and np.isfinite(one.reference[number] - one.run[number])
        ]  # fmt: skip
        name: tuple[str, str, str] = (
            sample, reference.image_ids[number], captions[reference.prompt_ids[number]]
        )  # fmt: skip
        if reference.failures[number] is None and run.failures[number] is not None:
            found.append(WorstSample(*name, OUTPUTS, None, None, None, run.failures[number]))
        elif losses:
            loss, one = max(losses, key=lambda pair: float(pair[0]))
            if loss > 0:
                found.append(
                    WorstSample(*name, one.name, float(loss), float(one.reference[number]),
                                float(one.run[number]), None)
                )  # fmt: skip
    found.sort(key=lambda one: -np.inf if one.margins is None else -one.margins)
    return tuple(found[:MOST_WORST])


def _notes(reference: Record, run: Record) -> Iterator[str]:
    old, new = reference.facts.manifest, run.facts.manifest
    if old.config.seed != new.config.seed:
        yield f"the run has seed {new.config.seed}, the reference {old.config.seed}"
    if old.config.method_config != new.config.method_config:
        yield "the run has another method config than the reference (--any-config)"
    more = sorted(set(run.values) - set(reference.values))
    if more:
        yield f"the reference does not hold {', '.join(more)}"
    for name in sorted({*old.versions, *new.versions} - {"stylebench"}):
        before, now = old.versions.get(name), new.versions.get(name)
        if before != now:
            yield f"{name} {now}; the reference was made with {before}"
    if new.stand_in_note:
        yield new.stand_in_note


def _decision_json(one: Decision, needed: dict[str, int | None]) -> dict[str, Any]:
    paired, found = one.paired, one.found
    both = np.isfinite(paired.reference) & np.isfinite(paired.run)
    sign = 1 if paired.direction == "higher" else -1
    return {
        "metric": paired.name,
        "direction": paired.direction,
        "verdict": one.verdict,
        "margin": paired.margin,
        "n": found.n,
        "n_images": found.n_images,
        "lost": int((np.isfinite(paired.reference) & ~np.isfinite(paired.run)).sum()),
        "reference_mean": float(paired.reference[both].mean()) if both.any() else None,
        "run_mean": float(paired.run[both].mean()) if both.any() else None,
        "difference": None if found.gain is None else sign * found.gain,
        "interval": None if found.interval is None
        else sorted(sign * end for end in found.interval),
        "interval_level": 1 - 2 * ALPHA,
        "p_worse": one.p_worse,
        "p_better": one.p_better,
        "images_needed": needed.get(paired.name),
        "note": one.note,
    }  # fmt: skip
