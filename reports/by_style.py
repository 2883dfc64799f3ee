"""What each style came to in finished runs: how often the judge knows it, and how much stays.

One row a style over all images of all runs given, the least known first:
``python -m reports.by_style RUN...``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.errors import DataError
from benchmark.script import script
from reports.collect import CollectedRun, read_run

KNOWN = "style_retrieval"
CONTENT = "edge_agreement"


@dataclass(frozen=True)
class StyleRow:
    """One style over all samples of some runs.

    Attributes:
        prompt: its id.
        samples: how many are scored by both metrics.
        known: share of them for which the judge takes the style for the one asked for, in [0, 1].
        content: mean edge agreement, in [-1, 1].
    """

    prompt: str
    samples: int
    known: float
    content: float


def style_rows(runs: Sequence[CollectedRun]) -> list[StyleRow]:
    """The styles of the runs, the least known first.

    Raises:
        DataError: a run has no style retrieval or no edge agreement.
    """
    for run in runs:
        missing = [name for name in (KNOWN, CONTENT) if name not in run.scores]
        if missing:
            raise DataError(
                f"{run.path} has no {' and no '.join(missing)}; score it by them first:"
                f" bench score {run.path} --metrics {KNOWN},{CONTENT}"
            )
    prompts = np.concatenate([np.asarray(run.prompt_ids) for run in runs])
    known = np.concatenate([run.scores[KNOWN].values for run in runs])
    content = np.concatenate([run.scores[CONTENT].values for run in runs])
    scored = np.isfinite(known) & np.isfinite(content)
    rows = []
    for prompt in np.unique(prompts[scored]):
        own = scored & (prompts == prompt)
        rows.append(
            StyleRow(
                str(prompt), int(own.sum()), float(known[own].mean()), float(content[own].mean())
            )
        )
    return sorted(rows, key=lambda row: (row.known, row.prompt))


def as_markdown(rows: Sequence[StyleRow]) -> str:
    """The rows and their mean over all samples as a table."""
    samples = sum(row.samples for row in rows)
    known = sum(row.known * row.samples for row in rows) / samples
    content = sum(row.content * row.samples for row in rows) / samples
    lines = ["| style | samples | known | edges |", "|---|---|---|---|"]
    for row in [*rows, StyleRow("all", samples, known, content)]:
        lines.append(f"| {row.prompt} | {row.samples} | {row.known:.1%} | {row.content:.2f} |")
    return "\n".join(lines)


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.by_style", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, scored")
    rows = style_rows([read_run(path) for path in parser.parse_args().runs])
    if not rows:
        raise DataError(f"no sample is scored by {KNOWN} and {CONTENT}")
    sys.stdout.write(f"{as_markdown(rows)}\n")


if __name__ == "__main__":
    sys.exit(main())
