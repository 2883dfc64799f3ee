"""What a forked command needs: the heavy imports, and the hand-over to ``bench``'s entry point."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import open_clip  # noqa: F401
import pytorch_lightning  # noqa: F401
import torchmetrics  # noqa: F401

from benchmark.cli import main


def run_command(argv: list[str], env: Mapping[str, str], out: str, err: str, cwd: str) -> None:
    """Become the command ``argv`` in this (forked) process.

    Args:
        argv: as the shell would give it, the program first.
        env: the whole environment. As when Python starts, the folders of ``PYTHONPATH`` come
            before the installed packages.
        out, err: files that take the streams.
        cwd: the working folder.
    """
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[1:1] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
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
