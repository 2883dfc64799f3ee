"""How the project's small commands end: ``python -m reports.anchors`` and its like."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from .errors import BenchError


def script(work: Callable[[], None]) -> Callable[[], int]:
    """A command's work made into its ``main``, which gives the exit code.

    A user's mistake, and a file that cannot be read or written, become a line on stderr without a
    traceback.
    """

    @functools.wraps(work)
    def main() -> int:
        try:
            work()
        except (BenchError, OSError) as error:
            sys.stderr.write(f"error: {error}\n")
            return error.exit_code if isinstance(error, BenchError) else 1
        return 0

    return main
