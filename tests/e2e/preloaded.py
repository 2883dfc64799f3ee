"""What a forked command needs: the heavy imports, and the hand-over to ``bench``'s entry point."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import open_clip  # noqa: F401
import pytorch_lightning  # noqa: F401
import torchmetrics  # noqa: F401

from benchmark.cli import main


def run_command(
    argv: list[str], env: Mapping[str, str], out: str, err: str, cwd: str, site: str | None
) -> None:
    """Become the command ``argv`` in this (forked) process.

    Args:
        argv: as the shell would give it, the program first.
        env: the whole environment.
        out, err: files that take the streams.
        cwd: the working folder.
        site: a folder of packages, before the installed ones.
    """
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if site is not None:
        # what Python makes of PYTHONPATH, which processes that this one starts read themselves
        sys.path.insert(1, site)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, env.get("PYTHONPATH")]))
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, stream.fileno())
        os.close(file)
    sys.argv = argv
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
