"""``bench doctor``: is this machine ready, and if not, what is missing."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmark.cache import cache_root
from benchmark.environment import git_revision, hardware, package_versions

# a run of the full protocol writes about this much; less free space is worth a warning
ENOUGH_DISK_GIB = 2.0


@dataclass
class Report:
    """Findings; ``problems`` are what keeps the mini protocol from running."""

    versions: dict[str, str | None]
    hardware: dict[str, Any]
    git_revision: str | None
    models: list[dict[str, Any]]
    free_disk_gib: float
    cache: str
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return not self.problems


def examine(weights_dir: Path | None) -> Report:
    """Look at versions, devices, models (hashes verified) and disk."""
    from benchmark.inspect_cli import model_rows

    report = Report(
        versions=package_versions(),
        hardware=hardware(),
        git_revision=git_revision(),
        models=model_rows(weights_dir),
        free_disk_gib=round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        cache=str(cache_root()),
    )
    for name, version in report.versions.items():
        if version is None:
            report.problems.append(f"the package {name} is not installed: pip install {name}")
    for model in report.models:
        if model["ships"] and model["status"] != "verified":
            report.problems.append(
                f"the shipped model {model['name']} is {model['status']}: reinstall stylebench"
            )
    if report.free_disk_gib < ENOUGH_DISK_GIB:
        report.warnings.append(f"only {report.free_disk_gib} GiB of disk are free here")
    return report


def print_report(report: Report, as_json: bool) -> None:
    """To stdout, as tables or JSON."""
    if as_json:
        json.dump({**asdict(report), "healthy": report.healthy}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    console = Console()
    versions = Table("package", "version", title="Versions")
    for name, version in report.versions.items():
        versions.add_row(name, version or "[red]missing[/red]")
    console.print(versions)
    machine = Table("", "", title="Machine", show_header=False)
    for key, value in report.hardware.items():
        machine.add_row(key, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    machine.add_row("free disk", f"{report.free_disk_gib} GiB")
    machine.add_row("cache folder", report.cache)
    machine.add_row("git revision", report.git_revision or "-")
    console.print(machine)
    models = Table("model", "kind", "status", "place", title="Models")
    for row in report.models:
        models.add_row(row["name"], row["kind"], row["status"], row["path"])
    console.print(models)
    for text in report.warnings:
        console.print(f"warning: {text}", style="yellow", markup=False)
    for text in report.problems:
        console.print(f"problem: {text}", style="red", markup=False)
    console.print("ready" if report.healthy else "not ready", style="bold")
