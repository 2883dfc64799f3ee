"""The commands that make many runs: ``bench sweep`` and ``bench reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark import DEFAULT_PROTOCOL
from benchmark.cli_options import Json, WeightsDir

OUTPUT = "Output"
HARDWARE = "Hardware"

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show the runs, what is finished, and the time left; make nothing."
    ),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="A failed run does not stop the others.")
]
ShardOf = Annotated[str, typer.Option("--shard", help="i/n: this machine's share of the runs.")]
Accelerator = Annotated[str, typer.Option(rich_help_panel=HARDWARE)]
Devices = Annotated[
    str | None,
    typer.Option(
        help="Ids of accelerators like 0,1, a process for each; default: all.",
        rich_help_panel=HARDWARE,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Processes on a CPU; default: one.", rich_help_panel=HARDWARE),
]


def sweep(
    file: Annotated[Path, typer.Argument(help="YAML: what is varied, see docs/sweeps.md.")],
    out: Annotated[
        Path | None, typer.Option(help="The sweep's folder instead of the file's.")
    ] = None,
    dry_run: DryRun = False,
    keep_going: KeepGoing = False,
    shard: ShardOf = "1/1",
    accelerator: Accelerator = "auto",
    devices: Devices = None,
    jobs: Jobs = None,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Make all runs of a sweep; run the same command again to continue one that was stopped."""
    from benchmark.sweep import command
    from benchmark.sweep.plan import Shard

    done = command.sweep(
        file, out=out, dry_run=dry_run, as_json=json_output,
        execution=command.Execution(
            accelerator=accelerator, devices=devices, jobs=jobs, keep_going=keep_going,
            shard=Shard.parse(shard), weights_dir=weights_dir,
        ),
    )  # fmt: skip
    if not done:
        raise typer.Exit(1)


def reproduce(
    experiment: Annotated[
        str, typer.Argument(help="table-4-1 to table-4-4, figure-4-16 to figure-4-19, or all.")
    ],
    protocol: Annotated[str, typer.Option()] = DEFAULT_PROTOCOL,
    out: Annotated[Path, typer.Option(rich_help_panel=OUTPUT)] = Path("reproduction"),
    limit: Annotated[
        int | None, typer.Option(min=1, help="First N images of each dataset only.")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="quick, all, or prompt ids; default: the protocol's.")
    ] = None,
    dry_run: DryRun = False,
    keep_going: KeepGoing = False,
    shard: ShardOf = "1/1",
    accelerator: Accelerator = "auto",
    devices: Devices = None,
    jobs: Jobs = None,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Make a table or figure of the paper, and say which of its claims hold here."""
    from benchmark import registry
    from benchmark.sweep import command
    from benchmark.sweep.plan import Shard

    write = registry.load(registry.COMMANDS, "reproduce")
    done = write(
        experiment, protocol=protocol, out=out, limit=limit, prompts=prompts, dry_run=dry_run,
        as_json=json_output,
        execution=command.Execution(
            accelerator=accelerator, devices=devices, jobs=jobs, keep_going=keep_going,
            shard=Shard.parse(shard), weights_dir=weights_dir,
        ),
    )  # fmt: skip
    if not done:
        raise typer.Exit(1)
