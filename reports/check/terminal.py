"""A check in the terminal."""

from __future__ import annotations

import sys

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.regression.check import CheckResult
from benchmark.regression.decide import Verdict
from reports.check import words

STYLES: dict[Verdict, str] = {
    "regressed": "bold red", "improved": "bold green", "equivalent": "green",
    "inconclusive": "yellow",
}  # fmt: skip
WORST_SHOWN = 3


def print_result(result: CheckResult) -> None:
    """A table on stdout, then remarks; the last line is the verdict."""
    table = Table(title=Text(words.flat(result.title)), box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("metric", "verdict"):
        table.add_column(column, no_wrap=True)
    for column in ("change", words.INTERVAL, "margin", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in result.decisions:
        cells = (words.difference(one), words.interval(one), f"{one.paired.margin:g}",
                 str(one.found.n))  # fmt: skip
        table.add_row(
            Text(words.label(one)), Text(one.verdict, STYLES[one.verdict]), *map(Text, cells)
        )
    Console().print(table)
    lines = []
    for one in result.decisions:
        remark = words.remark(one, result)
        if remark and remark != "identical":
            lines.append(f"{one.paired.name}: {remark}")
    lines += [f"not judged: {name}, {reason}" for name, reason in result.unjudged.items()]
    if result.verdict != "equivalent":
        lines += [
            f"lost most: {one.sample_id}, {words.loss(one)}" for one in result.worst[:WORST_SHOWN]
        ]
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"reference: {result.reference_path}", f"verdict: {result.verdict}"]
    sys.stdout.write("".join(f"{words.flat(line)}\n" for line in lines))
