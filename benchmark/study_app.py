"""``bench study``. Heavy packages are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli_options import Json

study = typer.Typer(
    help="A user study: the form for raters, and what their answers say.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@study.command("new")
def study_new(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Finished runs of one protocol and dataset, or folders of them."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for form.html and key.json.")],
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Pairs of image and prompt. Default: 40, or all if fewer."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=0, help="Pictures shown twice, to find inattentive raters.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of pairs and repeats.")] = 0,
    title: Annotated[str | None, typer.Option(help="What raters see above the form.")] = None,
    json_output: Json = False,
) -> None:
    """Draw pictures from runs and write a form that rates them, blind to the method."""
    from benchmark import registry

    write = registry.load(registry.COMMANDS, "study-new")
    write(runs, out=out, n_pairs=images, repeats=repeats, seed=seed, title=title,
          as_json=json_output)  # fmt: skip


@study.command("score")
def study_score(
    folder: Annotated[Path, typer.Argument(help="What `bench study new` wrote.")],
    answers: Annotated[
        list[Path], typer.Argument(help="Saved answers (JSON or CSV), or folders of them.")
    ],
    out: Annotated[Path | None, typer.Option(help="Default: study.json in the folder.")] = None,
    max_repeat_difference: Annotated[
        float,
        typer.Option(help="Raters whose repeated answers differ by more on average are excluded."),
    ] = 25.0,
    on_bad_answers: Annotated[
        Literal["fail", "skip"], typer.Option(help="What a file that cannot be used does.")
    ] = "fail",
    json_output: Json = False,
) -> None:
    """Content and style of every method from raters' answers, with intervals and agreement."""
    from benchmark import registry

    evaluate = registry.load(registry.COMMANDS, "study-score")
    evaluate(folder, answers, out=out, max_repeat_difference=max_repeat_difference,
             on_bad=on_bad_answers, as_json=json_output)  # fmt: skip
