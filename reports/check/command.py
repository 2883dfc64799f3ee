"""The commands ``bench freeze`` and ``bench check``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path

from benchmark.errors import BenchError, UsageError
from benchmark.files import write_atomically
from benchmark.regression.check import CheckError, check, made_again
from benchmark.regression.freeze import freeze
from benchmark.regression.reference import find_reference, read_reference
from benchmark.rerun.options import Pictures
from benchmark.run import RunDirectory
from reports.check.annotations import workflow_commands
from reports.check.junit import to_junit
from reports.check.markdown import to_markdown
from reports.check.pictures import write_pictures
from reports.check.terminal import print_result

NOWHERE = Pictures()


def shipped_references() -> Path:
    """The folder of the references that come with the package."""
    return Path(str(files("reports") / "reference"))


def freeze_runs(
    runs: Sequence[Path], *, reference: Path | None, force: bool, as_json: bool
) -> None:
    """``bench freeze``: write the references of finished runs, print where.

    Raises:
        UsageError: no run was given, or another reference is there and ``force`` is not set.
        RunDirectoryError: a run cannot be used.
    """
    if not runs:
        raise UsageError("give the run directories to freeze")
    places = Counter(_place(run) for run in runs)
    for (protocol, dataset, method), count in places.items():
        if count > 1:
            raise UsageError(
                f"{count} of the runs are of {method} on {dataset} under {protocol}: a reference "
                f"holds one of them"
            )
    frozen = [freeze(run, reference or shipped_references(), force=force) for run in runs]
    if as_json:
        rows = [
            {
                "run_directory": str(run), "reference": str(one.path), "bytes": one.n_bytes,
                "written": one.written, "samples": len(one.record.sample_ids),
                "metrics": list(one.record.values),
            }
            for run, one in zip(runs, frozen, strict=True)
        ]  # fmt: skip
        json.dump(rows, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    for one in frozen:
        what = "frozen" if one.written else "unchanged"
        sys.stdout.write(
            f"{what}  {len(one.record.sample_ids)} samples, {len(one.record.values)} metrics, "
            f"{one.n_bytes / 1024:.1f} KiB\n{one.path}\n"
        )


def check_run(
    run: Path | None, method: str | None, dataset: str | None, protocol: str, *,
    reference: Path | None = None, any_config: bool = False, pictures: Pictures = NOWHERE,
    out: Path | None = None, accelerator: str | None = None, weights_dir: Path | None = None,
    junit: Path | None = None, markdown: Path | None = None, annotate: bool = False,
    as_json: bool = False,
) -> int:  # fmt: skip
    """``bench check``: compare a run, or one made now, with its reference; print and write.

    Args:
        run: a finished run; else ``method`` and ``dataset`` name the reference that is made again.
        protocol: of that reference; a finished run says its own.
        reference: folder of references; default: the shipped ones.
        any_config: a change of the method's config is what is judged.
        pictures: for a new run, where the user's own are.
        out: folder that keeps a new run; None for a temporary one.
        accelerator: of a new run; None for the reference's.
        weights_dir: of a new run.
        junit: file to write; likewise ``markdown``, with a folder of pictures beside it.
        annotate: print GitHub's workflow commands after the table.

    Returns:
        the exit code: 0 equivalent or improved, 1 regressed, 3 inconclusive.

    Raises:
        UsageError: wrong options, or runs that are not comparable.
        CheckError: anything else that keeps the check from being made. Both exit with 2.
    """
    if as_json and annotate:
        raise UsageError("--json and --annotations both write to stdout: give one of them")
    of_new_run = (method, dataset, out, accelerator, weights_dir)
    if run is not None and (any(of_new_run) or pictures != NOWHERE):
        raise UsageError(
            "a finished run is compared as it is: give either the run, or --method and --dataset "
            "with how they are run"
        )
    folder = reference or shipped_references()
    with _never_one(), ExitStack() as stack:
        if run is not None:
            file = find_reference(folder, *_place(run))
            frozen, path = read_reference(file), run
        elif method is not None and dataset is not None:
            file = find_reference(folder, protocol, dataset, method)
            frozen = read_reference(file)
            path = stack.enter_context(
                made_again(frozen, pictures, out=out, any_config=any_config,
                           accelerator=accelerator, weights_dir=weights_dir)
            )  # fmt: skip
        else:
            raise UsageError("give a finished run, or --method and --dataset to make one")
        result = check(path, frozen, file, any_config=any_config)
        if markdown is not None:
            shown = write_pictures(result, markdown)
            write_atomically(markdown, to_markdown(result, shown).encode())
        if junit is not None:
            write_atomically(junit, to_junit(result))
    if as_json:
        json.dump(result.as_json(), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        print_result(result)
        sys.stdout.write(
            "".join(f"{line}\n" for line in workflow_commands(result)) if annotate else ""
        )
    return result.exit_code


def _place(run: Path) -> tuple[str, str, str]:
    """Protocol, dataset and method of a run."""
    config = RunDirectory(run).read_manifest().config
    return config.protocol, config.dataset, config.method


@contextmanager
def _never_one() -> Iterator[None]:
    """Exit code 1 says that a method regressed; what keeps a check from being made exits with 2."""
    try:
        yield
    except BenchError as error:
        if error.exit_code != 1:
            raise
        raise CheckError(str(error)) from error
