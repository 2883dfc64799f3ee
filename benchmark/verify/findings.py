"""What a verification says: checks, each with what is wrong and what could not be checked."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, computed_field


class Finding(BaseModel):
    """One claim that is not true, or that could not be checked.

    Attributes:
        file: in the run directory, with the place in it after a colon.
        claimed: what the run says; None where it says nothing.
        found: what is there; None where nothing is, or where it could not be checked.
        note: in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    claimed: str | None = None
    found: str | None = None
    note: str | None = None


class Check(BaseModel):
    """All claims of one kind.

    Attributes:
        name: of the kind.
        true: how many claims were found true.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    true: int
    wrong: tuple[Finding, ...] = ()
    not_checked: tuple[Finding, ...] = ()


class Verification(BaseModel):
    """What :func:`benchmark.verify.verify_run` found.

    Attributes:
        path: of the run directory.
        what: the run in words: complete, partial (with counts), a smoke run, or unreadable.
        checks: in the order of the run's making.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    what: str
    checks: tuple[Check, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verified(self) -> bool | None:
        """Whether nothing was found wrong; None where nothing could be checked at all."""
        if any(check.wrong for check in self.checks):
            return False
        return True if any(check.true for check in self.checks) else None


class Tally:
    """Collects the claims of one check."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._true = 0
        self._wrong: list[Finding] = []
        self._not_checked: list[Finding] = []

    def compare(self, file: str, claimed: object, found: object, note: str | None = None) -> None:
        """Count a claim as true if both sides are equal, as wrong otherwise."""
        if claimed == found:
            self._true += 1
        else:
            self.wrong(file, claimed, found, note)

    def wrong(
        self, file: str, claimed: object = None, found: object = None, note: str | None = None
    ) -> None:
        self._wrong.append(
            Finding(file=file, claimed=_text(claimed), found=_text(found), note=note)
        )

    def not_checked(self, file: str, note: str, claimed: object = None) -> None:
        self._not_checked.append(Finding(file=file, claimed=_text(claimed), note=note))

    def check(self) -> Check:
        return Check(
            name=self._name, true=self._true, wrong=tuple(self._wrong),
            not_checked=tuple(self._not_checked),
        )  # fmt: skip


def _text(value: object) -> str | None:
    return None if value is None else str(value)
