"""The checks in their order, and how they are run."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.interface import Guidance
from benchmark.predict import stylize_chunk
from reports.validate import declared, resources
from reports.validate.load import where
from reports.validate.outcome import Check, Finding, Outcome, failed, passed
from reports.validate.trial import (
    GLOBAL_SEED,
    OTHER_GLOBAL_SEED,
    OTHER_RUN_SEED,
    RUN_SEED,
    Trial,
    chosen,
)

log = logging.getLogger(__name__)

# Values are in [-1, 1], so one level of 255 is this much. On a CPU the harness runs samples one by
# one; a method may round otherwise in a batch, but not so that a stored picture moves by a level.
BATCH_TOLERANCE = 2 / 255
# Samplers overshoot a little before the harness clamps.
RANGE_LIMIT = 1.1
RANGE_SHARE = 0.05


def runs(trial: Trial) -> Outcome:
    """Construction, prepare and every sample alone."""
    for output in trial.singles:
        if output.numel() == 0:
            return failed("stylize returned an empty tensor", "Return one picture a sample.")
    return passed(f"{len(trial.singles)} samples one by one on {trial.batch.images.device}")


def shape(trial: Trial) -> Outcome:
    wanted = (1, *trial.batch.images.shape[1:])
    for output in trial.singles:
        if tuple(output.shape) != wanted:
            return failed(
                f"{tuple(output.shape)} for images of shape {wanted}",
                "Return [B, 3, H, W] of the size of batch.images; resize back if the model works "
                "at another size.",
            )
    return passed(str(wanted))


def dtype(trial: Trial) -> Outcome:
    types = {output.dtype for output in trial.singles}
    if types != {torch.float32}:
        found = ", ".join(sorted(str(kind) for kind in types))
        return failed(found, "End stylize with .float().")
    return passed("torch.float32")


def finite(trial: Trial) -> Outcome:
    values = torch.cat([output.double().flatten() for output in trial.singles])
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        return failed(
            f"{bad} of {values.numel()} values are NaN or infinite",
            "Find the division, root or logarithm that leaves its domain; such samples count as "
            "failed in a run.",
        )
    return passed()


def value_range(trial: Trial) -> Outcome:
    values = torch.cat([output.double().flatten() for output in trial.singles])
    lowest, highest = float(values.min()), float(values.max())
    outside = float((values.abs() > RANGE_LIMIT).double().mean())
    seen = f"{lowest:.2f} to {highest:.2f}, {100 * outside:.1f} % beyond {RANGE_LIMIT}"
    if outside > RANGE_SHARE:
        return failed(seen, "Return values in [-1, 1], not in [0, 255] or normalised for a model.")
    if lowest >= 0 and float(trial.batch.images.min()) < 0:
        return Outcome("warning", seen, "Nothing is below 0: if these are values in [0, 1], return "
                       "2 * x - 1.")  # fmt: skip
    return passed(seen)


def determinism(trial: Trial) -> Outcome:
    """Same seed: the same instance again, and a new one. Another seed: for information."""
    first = trial.singles[0]
    sample = trial.single(0)
    for what, output in (
        ("called again", trial.call(sample)),
        ("in a new instance", trial.call(sample, method=trial.fresh())),
    ):
        gap = difference(output, first)
        if gap != 0:
            return failed(
                f"{what} with the same seed, a picture differs by up to {gap:.2g}",
                "Draw every random number from `noise`, and keep nothing in the method that one "
                "call leaves for the next.",
            )
    moved = difference(trial.call(sample, seed=OTHER_RUN_SEED), first) > 0
    return passed(f"another seed gives {'another' if moved else 'the same'} picture")


def rng_untouched(trial: Trial) -> Outcome:
    if trial.touched:
        seen = ", ".join(f"{name} (in {place})" for name, place in trial.touched.items())
        return failed(
            f"advanced: {seen}",
            "Draw from `noise`, or from a torch.Generator or numpy.random.Generator of your own; "
            "build networks under torch.device('meta') or torch.nn.utils.skip_init.",
        )
    return passed()


def rng_independent(trial: Trial) -> Outcome:
    gap = difference(trial.call(trial.single(0), around=OTHER_GLOBAL_SEED), trial.singles[0])
    if gap != 0:
        return failed(
            f"with other global seeds ({OTHER_GLOBAL_SEED} for {GLOBAL_SEED}) a picture differs by "
            f"up to {gap:.2g}",
            "Something draws from a global generator: pass numbers from `noise` instead.",
        )
    return passed()


def batch_composition(trial: Trial) -> Outcome:
    gap = difference(trial.together, torch.cat(trial.singles))
    seen = f"differs by up to {gap:.2g}, allowed {BATCH_TOLERANCE:.2g} (one level of 255)"
    if gap > BATCH_TOLERANCE:
        return failed(
            f"a batch of {len(trial.singles)} against its samples alone {seen}",
            "Treat every sample on its own: sum losses over the batch (a mean divides its gradient "
            "by B), draw noise by sample, take no statistics or thresholds over the batch. If one "
            "step alone (--set) passes, it is rounding that guidance amplifies.",
        )
    return passed(seen)


def batch_order(trial: Trial) -> Outcome:
    order = list(reversed(range(len(trial.singles))))
    gap = difference(trial.call(chosen(trial.batch, order)), trial.together[order])
    if gap > BATCH_TOLERANCE:
        return failed(
            f"in reversed order the pictures differ by up to {gap:.2g}, allowed "
            f"{BATCH_TOLERANCE:.2g}",
            "Return outputs in the order of batch.requests, and let none depend on its place.",
        )
    return passed(f"differs by up to {gap:.2g}")


def side_by_side(trial: Trial) -> Outcome:
    """Where a method allows threads: the bytes of one sample after the other."""
    if not trial.method_class.samples_side_by_side:
        return passed("samples follow one another")
    if trial.batch.images.device.type != "cpu":
        return passed("asked of CPUs only")
    one, several = (
        stylize_chunk(trial.fresh(), copy.deepcopy(trial.batch), RUN_SEED, workers=workers)
        for workers in (1, len(trial.singles))
    )
    gap = difference(several, one)
    if gap != 0:
        return failed(
            f"in {len(trial.singles)} threads at once the pictures differ by up to {gap:.2g}",
            "Keep nothing in the method or its models while a sample is stylised, or drop "
            "samples_side_by_side.",
        )
    return passed(f"{len(trial.singles)} threads at once")


def inputs_unchanged(trial: Trial) -> Outcome:
    if trial.changed:
        return failed(
            f"changed: {', '.join(sorted(trial.changed))}",
            "Work on a copy (batch.images.clone()); in-place operations end in an underscore.",
        )
    return passed()


def wrong_guidance(trial: Trial) -> Outcome:
    """A method without what guides it: a prompt, a style image or a mixture."""
    sample = trial.single(0)
    guidance: frozenset[Guidance] = getattr(trial.method_class, "guidance", frozenset())
    names = {Guidance.TEXT: "prompt", Guidance.IMAGE: "style image", Guidance.MIXTURE: "mixture"}
    missing = next((names[kind] for kind in Guidance if kind in guidance), "prompt")
    remedy = f"Raise a benchmark.errors.UsageError where the {missing} is missing."
    try:
        trial.call(trial.without_guidance(sample))
    except UsageError as error:
        return passed(str(error).splitlines()[0] if str(error) else "")
    except Exception as error:  # a method under test may raise anything, and that is the finding
        return Outcome("warning", f"without a {missing}: {type(error).__name__}: {error}", remedy)
    return Outcome("warning", f"without a {missing} it returns a picture", remedy)


def difference(first: Tensor, second: Tensor) -> float:
    """Greatest absolute difference; infinite where the shapes differ."""
    if first.shape != second.shape:
        return float("inf")
    return float((first.double() - second.double()).abs().max())


_COMPARED = ("shape", "finite", "determinism")

CHECKS: tuple[Check, ...] = (
    Check("config-documented", "Every config field has a description.", declared.config_documented),
    Check("config-serialisable", "The config survives JSON, its hash is stable.",
          declared.config_serialisable),
    Check("runs", "prepare and stylize finish, with a tensor.", runs),
    # after prepare, which shows what roles the method takes
    Check("card", "The card has title and paper, and names every model role.", declared.card),
    Check("shape", "The output has the shape of the images.", shape, ("runs",)),
    Check("dtype", "The output is float32.", dtype, ("runs",)),
    Check("finite", "No value is NaN or infinite.", finite, ("runs",)),
    Check("range", "Values are nominally in [-1, 1].", value_range, ("runs", "finite")),
    Check("determinism", "The same seed gives the same picture, to the last bit.", determinism,
          ("runs", "shape", "finite")),
    Check("rng-independent", "Global random states do not matter.", rng_independent, _COMPARED),
    Check("batch-composition", "A sample does not depend on who shares its batch.",
          batch_composition, _COMPARED),
    Check("batch-order", "Outputs follow the order of the samples.", batch_order,
          (*_COMPARED, "batch-composition")),
    Check("side-by-side", "Samples may share the method in threads, if it says so.",
          side_by_side, _COMPARED),
    Check("memory", "Repeated calls hold no more memory.", resources.memory, ("runs",)),
    Check("accelerators", "It works on every accelerator present.", resources.accelerators,
          ("runs",)),
    Check("inputs-unchanged", "Images and requests stay as they are.", inputs_unchanged, ("runs",)),
    Check("rng-untouched", "No call advances torch's, numpy's or random's global state.",
          rng_untouched, ("runs",)),
    Check("frozen-models", "Weights want no gradient, hold none and stay as they are.",
          declared.frozen_models, ("runs",)),
    Check("wrong-guidance", "Missing guidance is refused with a UsageError.", wrong_guidance,
          ("runs",)),
)  # fmt: skip


def run_checks(trial: Trial) -> Iterator[Finding]:
    """Every check in its order; one that needs a failed one is skipped and says so."""
    succeeded: set[str] = set()
    for check in CHECKS:
        lacking = [name for name in check.needs if name not in succeeded]
        if lacking:
            outcome = Outcome("skipped", f"not tried, since it needs: {', '.join(lacking)}")
        else:
            outcome = _guarded(check, trial)
        if outcome.status in {"passed", "warning"}:
            succeeded.add(check.name)
        yield Finding(check.name, check.sentence, outcome.status, outcome.seen, outcome.remedy)


def _guarded(check: Check, trial: Trial) -> Outcome:
    """A method's own error is a finding, not the end."""
    try:
        return check.run(trial)
    except Exception as error:  # whatever a stranger's code raises is reported with its place
        log.info("check %s", check.name, exc_info=error)
        return failed(
            f"{type(error).__name__}: {error} ({where(error)})",
            "Mend the error; `bench --verbose validate` shows where it comes from.",
        )
