"""The command ``bench``. Every command is a thin call into one function.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted. Heavy packages are imported inside the commands, so that help stays quick.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benchmark import DEFAULT_PROTOCOL
from benchmark.cli_options import Json, WeightsDir
from benchmark.errors import BenchError, UsageError
from benchmark.regression.app import check, freeze
from benchmark.report_app import distribution, export, report, similarity
from benchmark.study_app import study
from benchmark.sweep_app import reproduce, sweep
from benchmark.weights_app import weights

if TYPE_CHECKING:
    from benchmark.finish import RunResult

app = typer.Typer(
    name="bench",
    help="A reproducible benchmark of text-guided image style transfer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WHAT = "What to run"
METHOD = "Method config"
OUTPUT = "Output"
HARDWARE = "Hardware (passed on to the Lightning Trainer)"
COMPILE = "Denoiser and CLIP by torch.compile: takes minutes before the first chunk, then faster."


@app.callback()
def _setup(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


@app.command()
def run(
    method: Annotated[str, typer.Option(help="See `bench list methods`.", rich_help_panel=WHAT)],
    dataset: Annotated[str, typer.Option(help="See `bench list datasets`.", rich_help_panel=WHAT)],
    protocol: Annotated[str, typer.Option(rich_help_panel=WHAT)] = DEFAULT_PROTOCOL,
    prompts: Annotated[
        str | None,
        typer.Option(help="quick, all, or prompt ids with commas.", rich_help_panel=WHAT),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A prompt of your own.", rich_help_panel=WHAT)
    ] = None,
    source_prompt: Annotated[
        str | None,
        typer.Option(help="What the source is, in words (Photo).", rich_help_panel=WHAT),
    ] = None,
    style_images: Annotated[
        Path | None,
        typer.Option(
            help="Style images in place of prompts, for image-guided methods: a file or a folder.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    style_dataset: Annotated[
        str | None,
        typer.Option(help="Style images from a dataset (wikiart).", rich_help_panel=WHAT),
    ] = None,
    style_source: Annotated[
        str,
        typer.Option(help="Where --style-dataset comes from, as --source.", rich_help_panel=WHAT),
    ] = "embedded",
    style_limit: Annotated[
        int | None, typer.Option(min=1, help="First N style images only.", rich_help_panel=WHAT)
    ] = None,
    mixes: Annotated[
        list[str] | None,
        typer.Option(
            "--mix",
            help="Styles to fuse: golden=0.5,red-bricks=0.5 (prompt ids, image files); repeatable.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            help="Another CLIP or SigLIP that guides (`bench list models`).", rich_help_panel=METHOD
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Your own images instead: a folder, .zip, .tar(.gz), .parquet or LMDB.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    images_within: Annotated[
        str | None,
        typer.Option(
            help="Of an archive: a folder inside, a column, or shards.", rich_help_panel=WHAT
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="embedded (stand-ins), hub (the dataset itself), or hub:OWNER/NAME (a mirror); "
            "default: the protocol's.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    samples: Annotated[
        str,
        typer.Option(help="Of the hub: paper (40 images) or full (1000).", rich_help_panel=WHAT),
    ] = "paper",
    limit: Annotated[
        int | None, typer.Option(min=1, help="First N images only.", rich_help_panel=WHAT)
    ] = None,
    on_bad_image: Annotated[
        Literal["fail", "skip"],
        typer.Option(help="What a corrupt image does.", rich_help_panel=WHAT),
    ] = "fail",
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=WHAT)] = 0,
    config: Annotated[
        Path | None, typer.Option(help="YAML with config keys.", rich_help_panel=METHOD)
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, repeatable.", rich_help_panel=METHOD),
    ] = None,
    weights_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with official checkpoints.", rich_help_panel=METHOD),
    ] = None,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="Try the architectures with random weights on one sample: shapes, memory, time. "
            "Nothing of it is a result.",
            rich_help_panel=METHOD,
        ),
    ] = False,
    out: Annotated[Path, typer.Option(rich_help_panel=OUTPUT)] = Path("runs"),
    existing: Annotated[
        Literal["resume", "overwrite", "fail"],
        typer.Option(help="If the run directory already exists.", rich_help_panel=OUTPUT),
    ] = "resume",
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=OUTPUT)
    ] = False,
    accelerator: Annotated[str, typer.Option(rich_help_panel=HARDWARE)] = "auto",
    devices: Annotated[
        str, typer.Option(help="A count, ids like 0,2, or auto.", rich_help_panel=HARDWARE)
    ] = "auto",
    strategy: Annotated[str, typer.Option(rich_help_panel=HARDWARE)] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, rich_help_panel=HARDWARE)] = 1,
    precision: Annotated[
        str, typer.Option(help="32-true, bf16-mixed, ...", rich_help_panel=HARDWARE)
    ] = "32-true",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples of a chunk.", rich_help_panel=HARDWARE)
    ] = None,
    compile_kernels: Annotated[
        bool, typer.Option("--compile", help=COMPILE, rich_help_panel=HARDWARE)
    ] = False,
) -> None:
    """Run a method over a dataset, score every output, print and store the result."""
    from benchmark import launch
    from benchmark.targets import TargetOptions

    result = launch.run(
        launch.RunOptions(
            method=method, dataset=dataset, protocol=protocol,
            target=TargetOptions(
                prompts=prompts, prompt=prompt, style_images=style_images,
                style_dataset=style_dataset, style_source=style_source,
                style_limit=style_limit, mixes=tuple(mixes or ()),
            ),
            source_prompt=source_prompt, guide=guide, images=images, source=source,
            samples=samples, images_within=images_within, limit=limit,
            on_bad_image=on_bad_image, seed=seed, config=config,
            assignments=tuple(assignments or ()),
            weights_dir=weights_dir, out=out, existing=existing, accelerator=accelerator,
            devices=devices, strategy=strategy, num_nodes=num_nodes, precision=precision,
            batch_size=batch_size, smoke=smoke, compile=compile_kernels,
        )
    )  # fmt: skip
    if result is None:
        return
    if result.smoke is None or json_output:
        _print_result(result, json_output)
    else:
        from benchmark.smoke import print_report

        print_report(result.smoke, result.directory)


@app.command()
def score(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    metrics: Annotated[
        str | None, typer.Option(help="Names with commas; default: the protocol's.")
    ] = None,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Score stored images again, without generating anything; other metrics' scores stay."""
    from benchmark import finish

    chosen = metrics.split(",") if metrics else None
    for path in runs:
        _print_result(finish.score_run(path, metrics=chosen, weights_dir=weights_dir), json_output)


@app.command()
def verify(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Hash again everything that runs claim; exit code 1 if something is not so."""
    from benchmark.verify import command

    if not command.verify(runs, weights_dir, json_output):
        raise typer.Exit(1)


@app.command()
def rerun(
    manifest: Annotated[Path, typer.Argument(help="A run's manifest.json, or its directory.")],
    out: Annotated[Path, typer.Option(help="Where the new run goes.")] = Path("reruns"),
    existing: Annotated[
        Literal["resume", "overwrite", "fail"],
        typer.Option(help="If an earlier rerun is there already."),
    ] = "fail",
    images: Annotated[
        Path | None, typer.Option(help="The folder or archive that the run was made on.")
    ] = None,
    images_within: Annotated[
        str | None, typer.Option(help="Of an archive: a folder inside, a column, or shards.")
    ] = None,
    style_images: Annotated[
        Path | None, typer.Option(help="The style images that guided the run: a file or a folder.")
    ] = None,
    accelerator: Annotated[str | None, typer.Option(help="Default: the manifest's.")] = None,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Make a run again from its manifest and compare; exit code 1 if a pixel differs."""
    from benchmark.rerun import command

    same = command.rerun(
        manifest, out=out, existing=existing, accelerator=accelerator, weights_dir=weights_dir,
        pictures=command.Pictures(images, images_within, style_images), as_json=json_output,
    )  # fmt: skip
    if not same:
        raise typer.Exit(1)


def _print_result(result: RunResult, json_output: bool) -> None:
    from benchmark import inspect_cli

    inspect_cli.print_result(result, json_output)


@app.command("list")
def list_(
    kind: Annotated[
        Literal["methods", "datasets", "metrics", "protocols", "models"], typer.Argument()
    ] = "methods",
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """List what is there."""
    from benchmark import inspect_cli

    inspect_cli.print_list(kind, weights_dir, json_output)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A method, dataset, metric, protocol or model.")],
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Everything known of one name."""
    from benchmark import inspect_cli

    inspect_cli.print_details(name, weights_dir, json_output)


@app.command()
def doctor(weights_dir: WeightsDir = None, json_output: Json = False) -> None:
    """Check versions, devices, models and disk; exit code 1 if something needed is broken."""
    from benchmark import doctor as check

    report = check.examine(weights_dir)
    check.print_report(report, json_output)
    if not report.healthy:
        raise typer.Exit(1)


@app.command()
def profile(
    method: Annotated[str, typer.Argument(help="See `bench list methods`.")],
    dataset: Annotated[str, typer.Option()] = "afhq",
    protocol: Annotated[str, typer.Option()] = DEFAULT_PROTOCOL,
    style_images: Annotated[
        Path | None, typer.Option(help="For image-guided methods: a file or a folder.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of the one batch.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Timed batches after one warm-up.")] = 2,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, repeatable.")
    ] = None,
    accelerator: Annotated[str, typer.Option()] = "auto",
    precision: Annotated[str, typer.Option()] = "32-true",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of runs: store profile.json beside the method's runs."),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Random weights: no checkpoint is needed.")
    ] = False,
    compile_kernels: Annotated[bool, typer.Option("--compile", help=COMPILE)] = False,
    compare: Annotated[
        str | None,
        typer.Option(metavar="official=DIR", help="Also time the official code, a checkout."),
    ] = None,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Time, FLOPs and memory of a method by phase."""
    from benchmark import profile_method

    kind, _, checkout = (compare or "").partition("=")
    if compare is not None and (kind != "official" or not checkout):
        raise UsageError(f"--compare {compare!r}: write official=DIR, the folder of a checkout")
    if smoke and out is not None:
        raise UsageError("--smoke: a profile of random weights is not kept beside runs, drop --out")
    report, official = profile_method.profile(
        method, dataset=dataset, protocol_name=protocol, samples=samples, repeats=repeats,
        assignments=tuple(assignments or ()), accelerator=accelerator, precision=precision,
        weights_dir=weights_dir, style_images=style_images, smoke=smoke,
        compiled=compile_kernels, official=Path(checkout) if checkout else None,
    )  # fmt: skip
    profile_method.print_report(report, official, json_output)
    if out is not None:
        stored = profile_method.store(report, out)
        if not json_output:
            sys.stdout.write(f"profile  {stored}\n")


@app.command()
def validate(
    method: Annotated[str, typer.Argument(help="An installed method, or path/to/file.py[:Class].")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, repeatable.")
    ] = None,
    images: Annotated[int, typer.Option(help="Samples of the batch, 2 or more.")] = 3,
    dataset: Annotated[str, typer.Option(help="Whose embedded images are taken.")] = "afhq",
    protocol: Annotated[str, typer.Option()] = DEFAULT_PROTOCOL,
    weights_dir: WeightsDir = None,
    json_output: Json = False,
) -> None:
    """Check that a method keeps the interface; exit code 1 if a check fails."""
    from benchmark import registry

    check = registry.load(registry.COMMANDS, "validate")
    if not check(method, assignments=assignments or (), images=images, protocol_name=protocol,
                 weights_dir=weights_dir, as_json=json_output, dataset=dataset):  # fmt: skip
        raise typer.Exit(1)


app.add_typer(study, name="study")
app.add_typer(weights, name="weights")
app.command()(report)
app.command()(export)
app.command()(distribution)
app.command()(similarity)
app.command()(freeze)
app.command()(check)
app.command()(sweep)
app.command()(reproduce)


@app.command()
def version() -> None:
    """Print the version."""
    from benchmark import __version__

    sys.stdout.write(f"stylebench {__version__}\n")


def main() -> None:
    """Entry point: errors a user can mend end as one message and an exit code."""
    from benchmark.environment import require_own_packages, share_the_processor

    share_the_processor()
    try:
        require_own_packages()
        app()
    except BenchError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
