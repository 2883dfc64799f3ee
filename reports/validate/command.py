"""``bench validate``: load a method, try every check, print what was found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from benchmark.config import load_protocol, method_config
from benchmark.interface import Guidance
from benchmark.zoo import ModelZoo
from reports.validate.checks import CHECKS, run_checks
from reports.validate.load import load_method
from reports.validate.outcome import Finding
from reports.validate.trial import DATASET, Trial, make_batch

_STYLES = {"passed": "green", "failed": "bold red", "warning": "yellow", "skipped": "dim"}


def validate(
    method: str, *, assignments: Sequence[str], images: int, protocol_name: str,
    weights_dir: Path | None, as_json: bool, dataset: str = DATASET,
) -> bool:  # fmt: skip
    """The command.

    Args:
        method: an entry point, or ``path/to/file.py[:Class]``.
        assignments: ``key=value`` over the protocol's values for that entry point.
        images: samples of the batch, at least 2.
        dataset: whose embedded images they are, for methods that do not draw everything.

    Returns:
        whether no check failed; warnings do not count.

    Raises:
        UsageError: the method, a config value, the protocol or ``images`` cannot be used.
    """
    found = findings(
        method, assignments=assignments, images=images, protocol_name=protocol_name,
        weights_dir=weights_dir, dataset=dataset,
    )  # fmt: skip
    good = not any(finding.status == "failed" for finding in found)
    if as_json:
        value = {"method": method, "protocol": protocol_name, "passed": good,
                 "checks": [asdict(finding) for finding in found]}  # fmt: skip
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
    else:
        _print(method, found)
    return good


def findings(
    method: str, *, assignments: Sequence[str] = (), images: int = 3,
    protocol_name: str = "mini-64-v1", weights_dir: Path | None = None, dataset: str = DATASET,
) -> list[Finding]:  # fmt: skip
    """All checks of a method, in their order. Arguments and errors as in :func:`validate`."""
    loaded = load_method(method)
    protocol = load_protocol(protocol_name)
    config = method_config(loaded.name, loaded.method, protocol, None, assignments)
    guidance = getattr(loaded.method, "guidance", frozenset({Guidance.TEXT}))
    batch = make_batch(protocol, images, guidance, dataset)
    trial = Trial(loaded.method, config, ModelZoo(protocol.models_for(dataset), weights_dir), batch)
    shown = track(
        run_checks(trial), f"checking {escape(method)}", total=len(CHECKS),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    return list(shown)


def _print(method: str, found: Sequence[Finding]) -> None:
    console = Console()
    table = Table("check", "result", "seen", title=escape(f"bench validate {method}"))
    for finding in found:
        style = _STYLES[finding.status]
        table.add_row(
            finding.name, f"[{style}]{finding.status}[/{style}]", escape(finding.seen or "-")
        )
    console.print(table)
    for finding in found:
        if finding.remedy:
            line = f"{finding.name} {finding.status}: {finding.sentence} Seen: {finding.seen}."
            console.print(escape(f"{line} {finding.remedy}"), soft_wrap=True, highlight=False)
    counts = {status: sum(f.status == status for f in found) for status in _STYLES}
    console.print(", ".join(f"{count} {status}" for status, count in counts.items() if count))
