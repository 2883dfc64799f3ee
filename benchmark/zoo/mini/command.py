"""What the training commands share: options, checks, and errors without a traceback."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmark.errors import BenchError, DataError, UsageError

from .export import WEIGHTS

log = logging.getLogger(__name__)


def parser(module: str, what: str, state: str, *, ships: bool = True) -> argparse.ArgumentParser:
    """The options of a training command.

    Args:
        module: of the command.
        what: the models it trains, in words.
        state: where in ``--work-dir`` it keeps its state.
        ships: whether weights and a card can be exported.
    """
    p = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=f"Train {what}. A run that was stopped continues from its checkpoint when the "
        "same command is given again.",
    )
    p.add_argument(
        "--corpus", type=Path, required=True, help="folder of <domain>-<split>.parquet files"
    )
    p.add_argument("--work-dir", type=Path, required=True, help=f"state goes to {state}")
    p.add_argument(
        "--steps", type=int, help="length of the run (default: that of the shipped model)"
    )
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    p.add_argument("--threads", type=int, default=1, help="CPU threads")
    p.add_argument("--max-seconds", type=float, help="stop after this much training time in all")
    if not ships:
        return p
    group = p.add_mutually_exclusive_group()
    group.add_argument("--export", action="store_true", help="write weights and card afterwards")
    group.add_argument(
        "--export-only", action="store_true", help="write them from the checkpoint, without a step"
    )
    p.add_argument("--weights-dir", type=Path, default=WEIGHTS, help="where --export writes")
    return p


def prepare_device(arguments: argparse.Namespace, steps: int) -> torch.device:
    """The device that was asked for, with the threads that were asked for.

    Raises:
        UsageError: a number that makes no sense, a device that is not there.
    """
    if steps < 1 or arguments.threads < 1:
        raise UsageError("--steps and --threads must be at least 1")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device; use --device cpu")
    torch.set_num_threads(arguments.threads)
    return torch.device(arguments.device)


@contextmanager
def naming_the_corpus() -> Iterator[None]:
    """Turn a file that the corpus lacks into an error with a remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{error}: give the folder of the Parquet files with --corpus") from error


def require_checkpoint(path: Path, name: str) -> None:
    """Raise a DataError where there is nothing to export."""
    if not path.is_file():
        raise DataError(f"there is no checkpoint of {name} in {path.parent}: train first")


def main(
    run: Callable[[argparse.Namespace], None], options: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
) -> int:  # fmt: skip
    """Run the command; its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    try:
        run(options.parse_args(arguments))
    except BenchError as error:
        log.error("%s", error)
        return error.exit_code
    return 0
