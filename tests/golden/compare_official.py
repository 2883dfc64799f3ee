"""CPU time and peak memory of methods beside their official code, on the same networks.

``python -m tests.golden.compare_official [METHOD ...] --zecon DIR --kornia DIR ...``: without a
method, all whose checkouts are named. The folders are those of the maker scripts;
``--kornia-0.5.4`` is VQGAN-CLIP's.

Both sides run in processes of their own on one thread, with the mini networks (or official ones at
the mini models' sizes, see :mod:`tests.golden.official_runs`), on the same picture, in the same
number of steps. Seconds are of CPU time, since a machine may be shared. Memory is the peak above
what the process held with its models loaded, in a run of its own where the allocator gives large
blocks back at once, so that freed memory is not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.golden.official_runs import RUNS

REPOSITORY = Path(__file__).parents[2]


def _needed(method: str) -> tuple[str, ...]:
    names: tuple[str, ...] = import_module(f"tests.golden.official_runs.{RUNS[method]}").CHECKOUTS
    return names


def _measured(method: str, side: str, what: str, folders: dict[str, Path]) -> float:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if what == "peak":
        # a fixed threshold: blocks above it are mapped and unmapped, so they never linger
        environment["MALLOC_MMAP_THRESHOLD_"] = "65536"
    flags = [word for name, path in folders.items() for word in (f"--{name}", str(path))]
    command = [sys.executable, "-m", "tests.golden.official_runs.child", method, side, what]
    done = subprocess.run(
        [*command, *(flags if side == "official" else [])],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _row(method: str, folders: dict[str, Path]) -> list[str]:
    row = [method]
    for what, places in (("seconds", 2), ("peak", 1)):
        theirs, ours = (_measured(method, side, what, folders) for side in ("official", "ours"))
        row += [f"{theirs:.{places}f}", f"{ours:.{places}f}", f"{ours / theirs:.2f}"]
    note: str = import_module(f"tests.golden.official_runs.{RUNS[method]}").NOTE
    return [*row, note]


def main() -> None:
    needed = {method: _needed(method) for method in RUNS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=", ".join(RUNS))
    for name in sorted({name for names in needed.values() for name in names}):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", dest=name)
    given = vars(parser.parse_args())
    there = {name for name, path in given.items() if name != "methods" and path is not None}
    methods = given["methods"] or [m for m, names in needed.items() if there.issuperset(names)]
    if not methods:
        parser.error("name the checkouts of at least one method")
    for method in methods:
        if method not in RUNS:
            parser.error(f"there is no comparison for {method!r}: choose among {', '.join(RUNS)}")
        for name in needed[method]:
            if given[name] is None or not given[name].is_dir():
                parser.error(f"{method} needs --{name} DIR, a checkout (see its maker script)")
    table = Table("method", "CPU s official", "ours", "ratio", "MiB official", "ours", "ratio")
    table.add_column("official side", overflow="fold")
    for method in methods:
        folders = {name: given[name].resolve() for name in needed[method]}
        row = _row(method, folders)
        sys.stderr.write("  ".join(row) + "\n")
        table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
