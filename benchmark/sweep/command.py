"""``bench sweep``: the plan, then the runs, then what became of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.environment import is_rank_zero
from benchmark.errors import UsageError
from benchmark.files import sha256_of
from benchmark.finish import quiet_libraries
from benchmark.sweep.estimate import Standing, standings, total_left
from benchmark.sweep.execute import SweepOutcome, execute
from benchmark.sweep.file import read_sweep
from benchmark.sweep.folder import SweepFolder
from benchmark.sweep.plan import Plan, PlannedRun, Shard, plan_runs, requests_of
from benchmark.sweep.session import Session
from benchmark.sweep.workers import device_list

WHOLE = Shard()
MOST_LISTED = 60  # runs of a plan in the terminal


@dataclass(frozen=True)
class Execution:
    """How runs are made: the options that `bench sweep` and `bench reproduce` share."""

    accelerator: str = "auto"
    devices: str | None = None
    jobs: int | None = None
    keep_going: bool = False
    shard: Shard = WHOLE
    weights_dir: Path | None = None

    def device_list(self) -> list[str]:
        """See :func:`benchmark.sweep.workers.device_list`."""
        if not is_rank_zero():
            raise UsageError(
                "sweeps start their own processes: leave the launcher out, and split a sweep over "
                "machines with --shard"
            )
        return device_list(self.accelerator, self.devices, self.jobs)


def sweep(
    path: Path, *, out: Path | None, dry_run: bool, execution: Execution, as_json: bool
) -> bool:
    """The command.

    Args:
        path: the sweep's file.
        out: the sweep's folder instead of the file's.

    Returns:
        whether all runs of the shard are finished (a dry run: always).

    Raises:
        BenchError: a bad file, a folder that holds another sweep, or an interruption.
    """
    quiet_libraries()
    file = read_sweep(path)
    where = out or file.out or Path("sweeps") / path.stem
    devices = execution.device_list()
    session = Session()
    requests = requests_of(
        file, path, runs=file.runs or where, weights_dir=execution.weights_dir,
        accelerator=execution.accelerator,
    )  # fmt: skip
    plan = plan_runs(path.stem, requests, session)
    folder = SweepFolder(where)
    digest = sha256_of(path)
    if dry_run:
        folder.require_same(plan, digest)
        share = execution.shard.of([run.config_hash for run in plan.runs])
        mine = Plan(plan.name, tuple(run for run in plan.runs if run.config_hash in share))
        print_plan(standings(mine), where, execution.shard, as_json)
        return True
    outcome = execute(
        plan, folder, session, file_sha256=digest, shard=execution.shard,
        keep_going=execution.keep_going, devices=devices, on_start=announce,
    )  # fmt: skip
    if as_json:
        json.dump(outcome_json(outcome, folder, execution.shard), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        print_outcome(outcome, folder)
    return not outcome.failures and not outcome.left


def announce(number: int, total: int, run: PlannedRun) -> None:
    """On stderr: which run begins."""
    sys.stderr.write(f"run {number} of {total}: {run.label}\n")


def plan_json(found: Sequence[Standing], folder: Path, shard: Shard) -> dict[str, Any]:
    """A plan for other programs."""
    seconds, unknown = total_left(found)
    return {
        "folder": str(folder),
        "shard": str(shard),
        "runs": [
            {
                "config_hash": standing.run.config_hash,
                "method": standing.run.resolved.method,
                "dataset": standing.run.resolved.dataset,
                "seed": standing.run.resolved.seed,
                "settings": list(standing.run.settings),
                "samples": len(standing.run.sample_ids),
                "finished_samples": standing.finished,
                "complete": standing.complete,
                "seconds_left": standing.seconds_left,
                "basis": standing.basis,
                "problem": standing.problem,
                "path": str(standing.run.path),
            }
            for standing in found
        ],
        "samples": sum(len(standing.run.sample_ids) for standing in found),
        "finished_samples": sum(standing.finished for standing in found),
        "complete_runs": sum(standing.complete for standing in found),
        "seconds_left": None if unknown else seconds,
        "runs_without_estimate": unknown,
    }


def print_plan(found: Sequence[Standing], folder: Path, shard: Shard, as_json: bool) -> None:
    """To stdout, as a table or JSON."""
    facts = plan_json(found, folder, shard)
    if as_json:
        json.dump(facts, sys.stdout, indent=2, default=str)
        sys.stdout.write("\n")
        return
    console = Console()
    table = Table("run", "samples", "finished", "time left", "from")
    for standing in found[:MOST_LISTED]:
        table.add_row(
            Text(standing.run.label), str(len(standing.run.sample_ids)),
            "all" if standing.complete else str(standing.finished),
            duration(standing.seconds_left), standing.basis,
        )  # fmt: skip
    console.print(table)
    if len(found) > MOST_LISTED:
        console.print(f"... and {len(found) - MOST_LISTED} more runs")
    seconds, unknown = total_left(found)
    left = f"about {duration(seconds)} of sampling left" if unknown < len(found) else "time unknown"
    if 0 < unknown < len(found):
        left += f", and {unknown} runs of unknown length"
    console.print(
        f"{len(found)} runs (shard {shard}), {facts['complete_runs']} finished; "
        f"{facts['samples']} samples, {facts['finished_samples']} finished; {left}"
    )
    if unknown:
        console.print("`bench profile METHOD --out FOLDER-OF-RUNS` measures a method beforehand")
    for standing in found:
        if standing.problem is not None:
            console.print(Text(f"cannot be taken up: {standing.problem}", "yellow"))


def outcome_json(outcome: SweepOutcome, folder: SweepFolder, shard: Shard) -> dict[str, Any]:
    """What became of a sweep, for other programs."""
    return {
        "folder": str(folder.path),
        "shard": str(shard),
        "complete": [str(run.path) for run in outcome.complete],
        "already_complete": len(outcome.earlier),
        "failed": [
            {"path": str(failure.run.path), "label": failure.run.label, "reason": failure.reason}
            for failure in outcome.failures
        ],
        "not_tried": [str(run.path) for run in outcome.left],
        "cache": {
            kind: {"computed": outcome.computed.get(kind, 0), "found": outcome.found.get(kind, 0)}
            for kind in sorted({*outcome.computed, *outcome.found})
        },
    }


def print_outcome(outcome: SweepOutcome, folder: SweepFolder) -> None:
    """To stdout; what failed as a table."""
    console = Console()
    total = len(outcome.complete) + len(outcome.failures) + len(outcome.left)
    console.print(
        f"{len(outcome.complete)} of {total} runs finished ({len(outcome.earlier)} were before); "
        f"{folder.record_path}"
    )
    for kind in sorted(outcome.computed.keys() | outcome.found.keys()):
        console.print(
            f"{kind}: {outcome.computed.get(kind, 0)} computed, "
            f"{outcome.found.get(kind, 0)} found in memory"
        )
    if outcome.failures:
        table = Table("run", "reason", title="failed")
        for failure in outcome.failures:
            table.add_row(Text(failure.run.label), Text(failure.reason))
        console.print(table)
    if outcome.left:
        console.print(
            f"{len(outcome.left)} runs were not tried; --keep-going goes on after a failure"
        )


def duration(seconds: float | None) -> str:
    """``1 h 05 min``, ``12 min``, ``40 s``, or ``unknown``."""
    if seconds is None:
        return "unknown"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
