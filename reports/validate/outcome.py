"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from reports.validate.trial import Trial

Status = Literal["passed", "failed", "warning", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """``seen``: what was measured; ``remedy``: what to do, where there is something to do."""

    status: Status
    seen: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """One rule of the interface.

    Attributes:
        name: short, for tables and JSON.
        sentence: the rule.
        run: tries it.
        needs: checks without whose success this one would say nothing of its own.
    """

    name: str
    sentence: str
    run: Callable[[Trial], Outcome]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A check with its outcome."""

    name: str
    sentence: str
    status: Status
    seen: str
    remedy: str


def passed(seen: str = "") -> Outcome:
    return Outcome("passed", seen)


def failed(seen: str, remedy: str) -> Outcome:
    return Outcome("failed", seen, remedy)
