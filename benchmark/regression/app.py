"""``bench freeze`` and ``bench check``. Heavy packages are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark import DEFAULT_PROTOCOL
from benchmark.cli_options import Json

NEW_RUN = "A run made now"
OUTPUT = "Output"

Reference = Annotated[
    Path | None,
    typer.Option(help="Folder of references; default: those that ship with the package."),
]


def freeze(
    runs: Annotated[list[Path], typer.Argument(help="Finished run directories.")],
    reference: Reference = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take the place of another reference.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Store the scores of finished runs as references for `bench check`."""
    from benchmark import registry

    write = registry.load(registry.COMMANDS, "freeze")
    write(runs, reference=reference, force=force, as_json=json_output)


def check(
    run: Annotated[
        Path | None, typer.Argument(help="A finished run directory; else --method and --dataset.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Make the reference's run again.", rich_help_panel=NEW_RUN)
    ] = None,
    dataset: Annotated[str | None, typer.Option(rich_help_panel=NEW_RUN)] = None,
    protocol: Annotated[str, typer.Option(rich_help_panel=NEW_RUN)] = DEFAULT_PROTOCOL,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Where a reference on your own images finds them.", rich_help_panel=NEW_RUN
        ),
    ] = None,
    images_within: Annotated[
        str | None, typer.Option(help="Of an archive, as in bench run.", rich_help_panel=NEW_RUN)
    ] = None,
    style_images: Annotated[
        Path | None,
        typer.Option(help="The same of its style images.", rich_help_panel=NEW_RUN),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Keep the run there, in place of an earlier one.", rich_help_panel=NEW_RUN
        ),
    ] = None,
    accelerator: Annotated[
        str | None, typer.Option(help="Default: the reference's.", rich_help_panel=NEW_RUN)
    ] = None,
    weights_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with official checkpoints.", rich_help_panel=NEW_RUN),
    ] = None,
    reference: Reference = None,
    any_config: Annotated[
        bool,
        typer.Option(
            "--any-config",
            help="Judge a change of the method's config: a new run takes the present defaults.",
        ),
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(help="Write JUnit XML.", rich_help_panel=OUTPUT)
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="Write Markdown for a CI job, with pictures beside it.", rich_help_panel=OUTPUT
        ),
    ] = None,
    annotate: Annotated[
        bool,
        typer.Option("--annotations", help="Print GitHub annotations.", rich_help_panel=OUTPUT),
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Compare a run with its reference; exit 0 as good, 1 regressed, 3 inconclusive, 2 not done."""
    from benchmark import registry
    from benchmark.rerun.options import Pictures

    judge = registry.load(registry.COMMANDS, "check")
    code = judge(
        run, method, dataset, protocol, reference=reference, any_config=any_config,
        pictures=Pictures(images, images_within, style_images), out=out, accelerator=accelerator,
        weights_dir=weights_dir, junit=junit, markdown=markdown, annotate=annotate,
        as_json=json_output,
    )  # fmt: skip
    if code:
        raise typer.Exit(code)
