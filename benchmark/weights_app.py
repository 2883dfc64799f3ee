"""The commands ``bench weights ...``; what they do is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli_options import Json

weights = typer.Typer(
    help="Checkpoints that do not ship: list, fetch, verify, add.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WeightsDir = Annotated[
    Path | None,
    typer.Option(help="Default: `weights` in the cache folder ($STYLEBENCH_CACHE)."),
]
Id = Annotated[str, typer.Argument(help="A model of `bench weights list`.")]


@weights.command("list")
def weights_list(weights_dir: WeightsDir = None, json_output: Json = False) -> None:
    """Every registered checkpoint with size, licence and what is there; nothing is hashed."""
    from benchmark.zoo import weights_cli

    weights_cli.print_list(weights_dir, json_output)


@weights.command("fetch")
def weights_fetch(
    ids: Annotated[list[str] | None, typer.Argument(help="Models.")] = None,
    protocol: Annotated[str | None, typer.Option(help="All models of a protocol.")] = None,
    method: Annotated[
        str | None, typer.Option(help="What a run of this method needs, scoring included.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print sizes and the total.")] = False,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Download checkpoints, resumable and verified; exit code 1 if one could not be had."""
    from benchmark.zoo import weights_cli

    chosen = weights_cli.chosen_models(ids or (), protocol, method)
    _exit(weights_cli.fetch_models(chosen, weights_dir, dry_run, json_output))


@weights.command("verify")
def weights_verify(
    ids: Annotated[list[str] | None, typer.Argument(help="Default: all that are there.")] = None,
    load: Annotated[bool, typer.Option("--load", help="Load each into its architecture.")] = False,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Compare hashes; exit code 1 if a file is damaged, or was named and is missing."""
    from benchmark.zoo import weights_cli

    _exit(weights_cli.verify_models(ids or (), weights_dir, load, json_output))


@weights.command("path")
def weights_path(model: Id, weights_dir: WeightsDir = None) -> None:
    """Print where a checkpoint belongs."""
    from benchmark.zoo import weights_cli

    weights_cli.print_path(model, weights_dir)


@weights.command("add")
def weights_add(
    model: Id,
    file: Annotated[Path, typer.Argument(help="Your copy of the file.")],
    move: Annotated[bool, typer.Option("--move", help="Take it instead of copying it.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of another file or a recorded hash.")
    ] = False,
    weights_dir: WeightsDir = None,
) -> None:
    """Take a file that you have, once it is verified."""
    from benchmark.zoo import weights_cli

    weights_cli.add_model(model, file, weights_dir, move, replace)


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)
