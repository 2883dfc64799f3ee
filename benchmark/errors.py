"""Errors that a user can mend. The command line prints their text alone, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A failure with a remedy in its message. ``exit_code`` is what the command returns."""

    exit_code = 1


class UsageError(BenchError):
    """The command line, a config file or a config value is wrong."""

    exit_code = 2


class WeightsError(BenchError):
    """A checkpoint is missing, damaged, unsafe or of another architecture."""


class DataError(BenchError):
    """Images or a frozen sample set cannot be used."""


class RunDirectoryError(BenchError):
    """A run directory is in use, of another config or schema, or cannot be written."""


class SmokeRunError(RunDirectoryError):
    """A run directory was made with random weights, so nothing in it is a result."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """``unknown method 'our'. Did you mean: ours? Known methods: ...``"""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f" Did you mean: {', '.join(near)}?" if near else ""
    return UsageError(f"unknown {kind} {name!r}.{hint} Known {kind}s: {', '.join(names)}")
