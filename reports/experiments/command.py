"""``bench reproduce``: an experiment's runs, then its table, claims and pictures."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark import __version__
from benchmark.config import load_protocol
from benchmark.environment import command_line
from benchmark.files import explain_write_errors, write_atomically
from benchmark.finish import quiet_libraries
from benchmark.sweep.command import Execution, announce, duration, plan_json
from benchmark.sweep.estimate import standings
from benchmark.sweep.execute import SweepOutcome, execute
from benchmark.sweep.folder import SweepFolder
from benchmark.sweep.plan import Plan
from benchmark.sweep.session import Session
from reports.experiments.charts import draw
from reports.experiments.claims import Decision, decide
from reports.experiments.measure import Measured, measure
from reports.experiments.model import ALL, chosen_experiments, experiment_bytes
from reports.experiments.pictures import write_attention_maps, write_sheets
from reports.experiments.runs import Choice, PlannedExperiment, plan_experiment
from reports.experiments.text import claims_csv, sentence, to_csv, to_markdown
from reports.formats.markdown import escape

RUNS = "runs"  # of all experiments: variants of equal config are made once


def reproduce(
    name: str, *, protocol: str, out: Path, limit: int | None, prompts: str | None, dry_run: bool,
    execution: Execution, as_json: bool,
) -> bool:  # fmt: skip
    """The command.

    Args:
        name: of an experiment, or ``all``.
        out: folder of the results: ``runs`` and a folder for each experiment.

    Returns:
        whether everything that was asked for is there.

    Raises:
        BenchError: unknown names, a folder with another sweep, or an interruption.
    """
    quiet_libraries()
    experiments = chosen_experiments(name)
    choice = Choice(
        load_protocol(protocol), prompts, limit, execution.weights_dir, execution.accelerator,
        out / RUNS,
    )  # fmt: skip
    session = Session()
    planned = [plan_experiment(experiment, choice, session) for experiment in experiments]
    if dry_run:
        _print_plan(planned, out, execution, as_json)
        return True
    devices = execution.device_list()
    for each in planned:
        SweepFolder(out / each.experiment.id).require_same(each.plan, _digest(each))
    written, outcomes = [], []
    for each in planned:
        sys.stderr.write(f"{each.experiment.name}: {each.experiment.title}\n")
        folder = SweepFolder(out / each.experiment.id)
        outcome = execute(
            each.plan, folder, session, file_sha256=_digest(each), shard=execution.shard,
            keep_going=execution.keep_going, devices=devices, on_start=announce,
        )  # fmt: skip
        outcomes.append(outcome)
        missing = [run for run in each.plan.runs if not run.is_complete()]
        if missing and not execution.keep_going:
            _explain_missing(each, len(missing), execution)
            if outcome.failures:
                break
            continue
        written.append(write_results(each, protocol, folder.path, session))
    if name == ALL and written:
        write_atomically(out / "README.md", _index(written, protocol).encode())
    _print_results(written, outcomes, out, as_json)
    made = len(written) == len(planned)
    return made and not any(outcome.failures or outcome.left for outcome in outcomes)


def write_results(
    planned: PlannedExperiment, protocol: str, folder: Path, session: Session
) -> tuple[Measured, list[Decision]]:
    """Measure, decide and write everything into the experiment's folder."""
    measured = measure(planned, protocol)
    decisions = decide(measured)
    experiment = measured.experiment
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        chart = f"{experiment.id}.png"
        draw(measured, folder / chart)
        pictures = {f"{experiment.name}: {experiment.title}": chart}
        if experiment.attention_maps:
            zoo = session.zoo_of(planned.plan.runs[0].options)
            pictures |= write_attention_maps(measured, zoo, folder)
        pictures |= write_sheets(measured, folder)
    made_by = f"Made by stylebench {__version__}: `{escape(' '.join(command_line()))}`."
    text = to_markdown(measured, decisions, pictures, made_by)
    write_atomically(folder / f"{experiment.id}.md", text.encode())
    write_atomically(folder / f"{experiment.id}.csv", to_csv(measured).encode())
    write_atomically(
        folder / f"{experiment.id}-claims.csv", claims_csv(measured, decisions).encode()
    )
    return measured, decisions


def _digest(planned: PlannedExperiment) -> str:
    return hashlib.sha256(experiment_bytes(planned.experiment.id)).hexdigest()


def _explain_missing(planned: PlannedExperiment, count: int, execution: Execution) -> None:
    cause = (
        "the other shards' runs belong into the same folder"
        if execution.shard.count > 1
        else "a run failed; --keep-going writes the table without it"
    )
    sys.stderr.write(
        f"{planned.experiment.name} is not written: {count} of {len(planned.plan.runs)} runs are "
        f"missing ({cause})\n"
    )


def _index(written: Sequence[tuple[Measured, list[Decision]]], protocol: str) -> str:
    words = Counter(decision.word for _, decisions in written for decision in decisions)
    told = ", ".join(f"{count} {word}" for word, count in words.items())
    parts = [
        "# The paper's experiments",
        f"Protocol `{protocol}`, made by stylebench {__version__}. Claims: {told}.",
    ]
    for measured, decisions in written:
        identifier = measured.experiment.id
        parts.append(
            f"## [{measured.experiment.name}: {escape(measured.experiment.title)}]"
            f"({identifier}/{identifier}.md)"
        )
        parts.append("\n".join(f"- {sentence(measured, decision)}" for decision in decisions))
    return "\n\n".join(parts) + "\n"


def _print_plan(
    planned: Sequence[PlannedExperiment], out: Path, execution: Execution, as_json: bool
) -> None:
    """Runs of each experiment, and of all together without those that they share."""
    runs = {run.config_hash: run for each in planned for run in each.plan.runs}
    share = execution.shard.of(list(runs))
    union = Plan("all", tuple(run for key, run in runs.items() if key in share))
    facts = plan_json(standings(union), out, execution.shard)
    seen: set[str] = set()
    lines = []
    for each in planned:
        new = [run for run in each.plan.runs if run.config_hash not in seen]
        seen |= {run.config_hash for run in each.plan.runs}
        own = plan_json(standings(each.plan), out / each.experiment.id, execution.shard)
        lines.append(
            {
                "experiment": each.experiment.id,
                "runs": len(each.plan.runs),
                "samples": own["samples"],
                "samples_beyond_those_above": sum(len(run.sample_ids) for run in new),
                "finished_samples": own["finished_samples"],
                "seconds_left": own["seconds_left"],
            }
        )
    if as_json:
        json.dump({**facts, "experiments": lines}, sys.stdout, indent=2, default=str)
        sys.stdout.write("\n")
        return
    table = Table("experiment", "runs", "samples", "beyond those above", "finished", "time left")
    for line in lines:
        table.add_row(
            str(line["experiment"]), str(line["runs"]), str(line["samples"]),
            str(line["samples_beyond_those_above"]), str(line["finished_samples"]),
            duration(line["seconds_left"]),
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"{len(union.runs)} runs (shard {execution.shard}), {facts['samples']} samples, "
        f"{facts['finished_samples']} finished; time left: {duration(facts['seconds_left'])}"
    )


def _print_results(
    written: Sequence[tuple[Measured, list[Decision]]], outcomes: Sequence[SweepOutcome],
    out: Path, as_json: bool,
) -> None:  # fmt: skip
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    if as_json:
        json.dump(
            {
                "experiments": [_result_json(*result, out) for result in written],
                "failed": [
                    {"path": str(failure.run.path), "reason": failure.reason}
                    for failure in failures
                ],
            },
            sys.stdout,
            indent=2,
        )
        sys.stdout.write("\n")
        return
    console = Console()
    for measured, decisions in written:
        identifier = measured.experiment.id
        console.print(Text(f"{measured.experiment.name}: {measured.experiment.title}", "bold"))
        for decision in decisions:
            console.print(Text(f"  {decision.word}: {decision.claim.text}"))
        sys.stdout.write(f"  {out / identifier / identifier}.md\n")
    if failures:
        table = Table("run", "reason", title="failed")
        for failure in failures:
            table.add_row(Text(failure.run.label), Text(failure.reason))
        console.print(table)


def _result_json(measured: Measured, decisions: Sequence[Decision], out: Path) -> dict[str, Any]:
    identifier = measured.experiment.id
    return {
        "experiment": identifier,
        "file": str(out / identifier / f"{identifier}.md"),
        "claims": [
            {
                "claim": decision.claim.text,
                "basis": decision.claim.basis,
                "word": decision.word,
                "p_supported": decision.p_supported,
                "p_contradicted": decision.p_contradicted,
            }
            for decision in decisions
        ],
    }
