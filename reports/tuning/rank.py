"""The points of a search, best first: ``python -m reports.tuning.rank SWEEP... [--markdown]``.

A point is judged by the harmonic mean of its normalised content and style, averaged over the
datasets of the sweep, so that a setting that fails on one of them cannot win on the other.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.config import load_protocol
from benchmark.errors import UsageError
from benchmark.script import script
from benchmark.sweep.folder import SweepFolder
from reports.collect import read_run
from reports.rows import balances_of


@dataclass(frozen=True)
class Candidate:
    """A point of a search.

    Attributes:
        settings: the config keys that the sweep's file varies, as ``key=value``.
        content, style: on the protocol's scale, a mean over the datasets.
        worst: harmonic mean on the dataset where it is lowest.
        harmonic_mean: mean over the datasets, what is ranked.
    """

    settings: str
    content: float
    style: float
    worst: float
    harmonic_mean: float


def candidates_of(folder: Path) -> list[Candidate]:
    """The points of a finished sweep of one method, best first.

    Raises:
        RunDirectoryError: no sweep there, or a run that was changed.
        UsageError: several methods, or a run that is not finished or has no content and style.
    """
    record = SweepFolder(folder).read()
    methods = {planned.method for planned in record.runs}
    if len(methods) != 1:
        raise UsageError(f"{folder} holds runs of {', '.join(sorted(methods))}: a search has one")
    runs = [read_run(folder / planned.path) for planned in record.runs]
    balances = balances_of(runs, load_protocol(runs[0].manifest.config.protocol))
    found = defaultdict(list)
    for planned, run in zip(record.runs, runs, strict=True):
        balance = balances.get(str(run.path))
        if run.state != "complete" or balance is None:
            raise UsageError(
                f"{run.path} is not complete or has no content and style: finish the sweep first"
            )
        settings = " ".join(f"{key}={value}" for key, value in planned.settings[0].items())
        found[settings or "the defaults"].append(balance)
    ranked = []
    for settings, scores in found.items():
        means = [score.harmonic_mean for score in scores]
        ranked.append(
            Candidate(
                settings,
                content=sum(score.content for score in scores) / len(scores),
                style=sum(score.style for score in scores) / len(scores),
                worst=min(means),
                harmonic_mean=sum(means) / len(means),
            )
        )
    return sorted(ranked, key=lambda candidate: -candidate.harmonic_mean)


def as_markdown(candidates: Sequence[Candidate]) -> str:
    rows = ["| settings | content | style | on the worse dataset | harmonic mean |"]
    rows.append("|---|---|---|---|---|")
    rows += [f"| {' | '.join(cells)} |" for cells in map(_cells, candidates)]
    return "\n".join(rows)


def _cells(candidate: Candidate) -> tuple[str, ...]:
    numbers = (candidate.content, candidate.style, candidate.worst, candidate.harmonic_mean)
    return (candidate.settings, *(f"{number:.3f}" for number in numbers))


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.tuning.rank", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("sweeps", type=Path, nargs="+", help="folders of finished sweeps")
    parser.add_argument("--markdown", action="store_true", help="tables for a document")
    given = parser.parse_args()
    console = Console()
    for folder in given.sweeps:
        candidates = candidates_of(folder)
        if given.markdown:
            sys.stdout.write(f"{as_markdown(candidates)}\n")
            continue
        table = Table("settings", "content", "style", "worse dataset", "harmonic mean")
        table.title = folder.name
        for candidate in candidates:
            table.add_row(*_cells(candidate))
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
