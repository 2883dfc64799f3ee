"""A check as GitHub's workflow commands, which mark a job with errors and warnings.

The format is that of GitHub's page "Workflow commands for GitHub Actions"; the escapes are those of
``packages/core/src/command.ts`` in ``actions/toolkit``.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.regression.check import CheckResult
from reports.check import words

_LEVELS = {"regressed": "error", "inconclusive": "warning", "improved": "notice"}


def workflow_commands(result: CheckResult) -> Iterator[str]:
    """A line for each metric that is not equivalent."""
    for one in result.decisions:
        if one.verdict in _LEVELS:
            title = _property(f"{result.title}: {one.verdict}")
            yield f"::{_LEVELS[one.verdict]} title={title}::{_data(words.sentence(one, result))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
