"""Reads the answer files of raters, JSON or CSV, and says which of them count."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.errors import DataError
from reports.study.answer_csv import json_of_csv
from reports.study.key import FORM_FILE, KEY_FILE, StudyKey
from reports.study.result import HIGHEST, LOWEST, UnusedFile, first_problem

log = logging.getLogger(__name__)

OnBad = Literal["fail", "skip"]
Score = Annotated[float, Field(ge=LOWEST, le=HIGHEST, allow_inf_nan=False)]


class Answer(BaseModel):
    """What a rater said of one picture; None is a question left unanswered.

    Attributes:
        seconds: that the picture was on screen, over all visits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    item: str
    content: Score | None
    style: Score | None
    seconds: float = Field(ge=0, allow_inf_nan=False)

    @property
    def whole(self) -> bool:
        return self.content is not None and self.style is not None


class AnswerFile(BaseModel):
    """One rater's answers as the form saves them.

    Attributes:
        seed: from which the form drew this rater's order; it tells sessions apart.
        ended: when the last answer was given.
        complete: both questions are answered for every picture.
        order: items as they were shown.
        answers: one for every item.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["stylebench-answers"]
    schema_version: Literal[1]
    form_version: int
    study_id: str
    rater_id: str = Field(pattern=r"^[A-Za-z0-9._\-]{1,40}$")
    seed: int = Field(ge=0, lt=2**32)
    started: AwareDatetime
    ended: AwareDatetime
    complete: bool
    order: tuple[str, ...]
    answers: tuple[Answer, ...]

    @model_validator(mode="after")
    def _consistent(self) -> AnswerFile:
        answered = [answer.item for answer in self.answers]
        for what, names in (("order", self.order), ("answers", answered)):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            if twice:
                raise ValueError(f"{what} has {twice[0]} more than once")
        if set(answered) != set(self.order):
            odd = sorted(set(answered) ^ set(self.order))[0]
            raise ValueError(f"order and answers do not hold the same items: {odd}")
        if self.complete != all(answer.whole for answer in self.answers):
            raise ValueError(f"complete is {self.complete}, but the answers say otherwise")
        if self.ended < self.started:
            raise ValueError("it ended before it started")
        return self

    def by_item(self) -> dict[str, Answer]:
        return {answer.item: answer for answer in self.answers}


@dataclass(frozen=True)
class RaterFile:
    """The one file that counts for a rater."""

    path: Path
    answers: AnswerFile


def read_answers(
    paths: Sequence[Path], key: StudyKey, on_bad: OnBad, ignored: Sequence[Path] = ()
) -> tuple[list[RaterFile], list[UnusedFile]]:
    """Every rater's file that counts, sorted by rater, and the files that do not.

    Files of one rater and one session (the same seed) are saves of the same form: the newest
    complete one counts, or the newest if none is complete. Two sessions under one rater's name may
    be two people, so nobody can say which counts: that is an error.

    Args:
        paths: files, and folders of ``.json`` and ``.csv`` files.
        on_bad: whether a file that cannot be used ends everything or is listed and left out.
        ignored: files in those folders that are no answers (the study's own).

    Raises:
        DataError: a path does not exist, no file was found or is left, or (``fail``) a file is bad;
            the message names it.
    """
    good: list[RaterFile] = []
    unused: list[UnusedFile] = []

    def bad(path: Path, reason: str) -> None:
        if on_bad == "fail":
            raise DataError(
                f"{path}: {reason}. Mend or remove the file, or use --on-bad-answers skip."
            )
        log.warning("left out %s: %s", path, reason)
        unused.append(UnusedFile(file=str(path), reason=reason))

    for path in _files(paths, ignored):
        try:
            good.append(RaterFile(path, read_answer_file(path, key)))
        except DataError as error:
            bad(path, str(error))
    raters: dict[str, list[RaterFile]] = defaultdict(list)
    for file in good:
        raters[file.answers.rater_id].append(file)
    chosen = []
    for rater in sorted(raters):
        files = raters[rater]
        if len({file.answers.seed for file in files}) > 1:
            for file in files:
                others = ", ".join(str(other.path) for other in files if other is not file)
                bad(
                    file.path,
                    f"rater {rater} has filled the form in more than once (see {others}), or two "
                    f"people took one name: keep one file, or give one of them another rater_id",
                )
            continue
        best, superseded = _newest(files)
        chosen.append(best)
        unused += superseded
    if not chosen:
        raise DataError("no answer file can be used; see the reasons above")
    return chosen, unused


def _newest(files: Sequence[RaterFile]) -> tuple[RaterFile, list[UnusedFile]]:
    """The newest complete file of a session, else the newest; and what the others are."""
    best = max(files, key=lambda file: (file.answers.complete, file.answers.ended))
    others = []
    for file in files:
        if file is not best:
            same = file.answers == best.answers
            reason = f"{'the same answers as' if same else 'superseded by'} {best.path}"
            others.append(UnusedFile(file=str(file.path), reason=reason))
    return best, others


def _files(paths: Sequence[Path], ignored: Sequence[Path]) -> list[Path]:
    known = {path.resolve() for path in ignored}
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = [
                file for file in sorted(path.iterdir())
                if file.suffix.lower() in {".json", ".csv"} and file.resolve() not in known
            ]  # fmt: skip
            if not inside:
                raise DataError(f"there is no answer file (.json or .csv) in {path}")
            found |= dict.fromkeys(inside)
        elif path.is_file():
            found[path] = None
        else:
            raise DataError(f"{path} does not exist: give answer files or folders of them")
    return list(found)


def read_answer_file(path: Path, key: StudyKey) -> AnswerFile:
    """One file, checked against the key.

    Raises:
        DataError: it cannot be read, is of another study or form, or holds what the form cannot
            have written. The message does not name the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text") from error
    if path.suffix.lower() == ".csv":
        text = json_of_csv(text)
    try:
        answers = AnswerFile.model_validate_json(text)
    except ValidationError as error:
        raise DataError(first_problem(error)) from error
    if answers.study_id != key.study_id:
        raise DataError(f"is of study {answers.study_id}, not {key.study_id}")
    if answers.form_version != key.form_version:
        raise DataError(f"is of form version {answers.form_version}, the key of {key.form_version}")
    unknown = sorted(set(answers.order) - set(key.items))
    missing = sorted(set(key.items) - set(answers.order))
    if unknown:
        raise DataError(f"names item {unknown[0]}, which {FORM_FILE} and {KEY_FILE} do not have")
    if missing:
        raise DataError(f"lacks item {missing[0]}, which the form shows to everyone")
    return answers
