"""The commands that read finished runs: reports, exports, distances, similarities.

Heavy packages are imported inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark import DEFAULT_PROTOCOL
from benchmark.cli_options import Json, WeightsDir


def distribution(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    reference: Annotated[Path, typer.Option(help="Folder of style images.")],
    encoder: Annotated[
        str | None,
        typer.Option(
            help="A CLIP, VGG or DINO of `bench list models`, or inception-fid; default: the "
            "protocol's judge."
        ),
    ] = None,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """FID, KID and ArtFID of outputs against style images, stored in the run directory."""
    from benchmark import registry

    write = registry.load(registry.COMMANDS, "distribution")
    write(runs, reference, encoder, weights_dir=weights_dir, as_json=json_output)


def similarity(
    paths: Annotated[list[Path], typer.Argument(help="Image files, folders or run directories.")],
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="A row; repeatable. Default: the protocol's prompt set."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="A CLIP of `bench list models`; default: the protocol's judge."),
    ] = None,
    protocol: Annotated[str, typer.Option()] = DEFAULT_PROTOCOL,
    out: Annotated[Path, typer.Option(help="Folder for the CSV and the heat map.")] = Path(
        "similarity"
    ),
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Cosines of prompts (rows) and images (columns): does an encoder tell the styles apart?"""
    from benchmark import registry

    report = registry.load(registry.COMMANDS, "similarity")
    report(paths, prompts, encoder, protocol, out=out, weights_dir=weights_dir, as_json=json_output)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders that hold some.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    formats: Annotated[
        str | None,
        typer.Option("--format", help="markdown, csv, json, latex, site (with commas); all."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Which one, if the runs follow several.")
    ] = None,
    study: Annotated[
        list[Path] | None, typer.Option(help="A result of `bench study score`; repeatable.")
    ] = None,
    verify_images: Annotated[
        bool, typer.Option(help="Compare every stored image with its hash.")
    ] = True,
    json_output: Json = False,
) -> None:
    """Leaderboards from runs: tables, figures, and a site that needs no server."""
    from benchmark import registry

    write = registry.load(registry.COMMANDS, "report")
    write(runs, out=out, formats=formats.split(",") if formats else [], protocol=protocol,
          studies=study or [], verify_images=verify_images, as_json=json_output)  # fmt: skip


def export(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    format_name: Annotated[
        Literal["hf", "csv", "tensorboard", "wandb"],
        typer.Option("--format", help="hf: a folder for `datasets.load_dataset` and the Hub."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    existing: Annotated[
        Literal["fail", "overwrite"], typer.Option(help="If an export is there already.")
    ] = "fail",
    limit_images: Annotated[
        int | None,
        typer.Option(min=0, help="Samples with images in the table of W&B (64)."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Write scored runs for other tools: Hugging Face datasets, CSV, TensorBoard, W&B."""
    from benchmark import registry

    write = registry.load(registry.COMMANDS, "export")
    write(runs, format_name, out, existing=existing, limit_images=limit_images,
           as_json=json_output)  # fmt: skip
