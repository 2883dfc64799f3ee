"""``bench verify``: which runs, and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.errors import RunDirectoryError, SmokeRunError, UsageError
from benchmark.verify.findings import Check, Finding, Tally, Verification
from benchmark.verify.run import verify_run
from benchmark.zoo.checkpoint_file import default_weights_dir

_VERDICTS = {
    True: "verified: everything that could be checked is as the run claims",
    False: "NOT verified",
    None: "nothing verified: there is nothing that could be checked",
}
SHOWN = 20  # findings of a check that the terminal lists; JSON holds all


def verify(paths: Sequence[Path], weights_dir: Path | None, as_json: bool) -> bool:
    """Verify runs and print what was found.

    Args:
        paths: run directories, or folders of them.

    Returns:
        whether nothing is wrong in any, and there is one that is no smoke run.

    Raises:
        UsageError: a path is no folder, or there is no run in or below it.
    """
    hashes: dict[Path, str] = {}
    reports = []
    for run in _runs(paths):
        try:
            report = verify_run(run, weights_dir or default_weights_dir(), hashes)
        except SmokeRunError as error:
            report = Verification(path=run, what=str(error), checks=())
        except RunDirectoryError as error:
            tally = Tally("manifest")
            tally.wrong("manifest.json", note=str(error))
            report = Verification(path=run, what="cannot be read", checks=(tally.check(),))
        reports.append(report)
        if not as_json:
            _print(report)
    verdicts = {report.verified for report in reports}
    good = True in verdicts and False not in verdicts
    if as_json:
        found = {"verified": good, "runs": [report.model_dump(mode="json") for report in reports]}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return good


def _runs(paths: Sequence[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder: give run directories or folders of them")
        runs = sorted(manifest.parent for manifest in path.rglob("manifest.json"))
        if not runs:
            raise UsageError(f"there is no run in or below {path}: no manifest.json is there")
        found |= dict.fromkeys(runs)
    return list(found)


def _print(report: Verification) -> None:
    console = Console()
    table = Table("check", "", "true", "wrong", "not checked")
    for check in report.checks:
        verdict = ("[red]wrong[/red]" if check.wrong
                   else "[green]true[/green]" if check.true else "not checked")  # fmt: skip
        table.add_row(check.name, verdict, str(check.true), str(len(check.wrong) or ""),
                      str(len(check.not_checked) or ""))  # fmt: skip
    # paths and hashes stay on one line each, so that they can be copied
    sys.stdout.write(f"{report.path}\n{report.what}\n")
    if report.checks:
        console.print(table)
    for check in report.checks:
        _print_findings(console, check, "wrong", "red")
        _print_findings(console, check, "not_checked", "yellow")
    console.print(Text(_VERDICTS[report.verified]), style="bold")


def _print_findings(console: Console, check: Check, which: str, style: str) -> None:
    findings: tuple[Finding, ...] = getattr(check, which)
    for finding in findings[:SHOWN]:
        head = f"{which.replace('_', ' ')}: {check.name}: {finding.file}"
        lines = [head + (f" ({finding.note})" if finding.note else "")]
        if which == "wrong" and (finding.claimed or finding.found):
            lines += [f"  claimed {finding.claimed or '-'}", f"  found   {finding.found or '-'}"]
        console.print(Text("\n".join(lines)), style=style, soft_wrap=True)
    if len(findings) > SHOWN:
        console.print(Text(f"  ... and {len(findings) - SHOWN} more"), style=style)
