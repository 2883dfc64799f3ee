"""What ``bench study score`` writes, and how a leaderboard reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import DataError

SCHEMA_VERSION: Literal[1] = 1
LOWEST, HIGHEST = 0.0, 100.0

Question = Literal["content", "style"]
QUESTIONS: tuple[Question, Question] = ("content", "style")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rating(_Record):
    """Mean of one question for one entry, 0 (worst) to 100.

    Attributes:
        interval: 95 %, raters and content images both random; None if it cannot be had.
        note: why there is no interval, or what is odd about it.
        n: ratings of this question.
    """

    mean: float | None
    interval: tuple[float, float] | None
    note: str | None
    n: int = Field(ge=0)


class StudyEntry(_Record):
    """One method under one config.

    Attributes:
        n_ratings: pictures rated, summed over raters, with at least one of the two questions
            answered; repeated pictures count once.
        n_images: content images among them.
        n_raters: raters among them.
    """

    method: str
    config_hash: str
    n_ratings: int = Field(ge=0)
    n_images: int = Field(ge=0)
    n_raters: int = Field(ge=0)
    content: Rating
    style: Rating


class Coefficient(_Record):
    """A coefficient of agreement, at most 1; None with a note where it is not defined."""

    value: float | None
    interval: tuple[float, float] | None
    note: str | None


class Agreement(_Record):
    """How far raters agree on one question, over the pictures of all entries.

    Attributes:
        n_raters: raters who answered the question for every picture: the ICC needs a full table.
        n_items: pictures of that table.
        icc_single: ICC(2,1) of Shrout & Fleiss, absolute agreement of single raters.
        icc_average: ICC(2,k), of the mean of ``n_raters`` raters.
        alpha: Krippendorff's, interval metric, all raters, missing answers left out.
        alpha_raters: raters with a value that alpha uses.
        alpha_items: pictures with at least two values.
    """

    question: Question
    n_raters: int
    n_items: int
    icc_single: Coefficient
    icc_average: Coefficient
    alpha: Coefficient
    alpha_raters: int
    alpha_items: int


class EntryName(_Record):
    """A method under one config."""

    method: str
    config_hash: str


class Comparison(_Record):
    """``a`` minus ``b`` over pictures of the same source and prompt by the same rater.

    Attributes:
        p: two-sided, of the t test that belongs to the interval.
        p_holm: adjusted over all pairs of entries within the question.
    """

    question: Question
    a: EntryName
    b: EntryName
    n: int
    mean_difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    note: str | None


class RaterSummary(_Record):
    """One rater's answer file.

    Attributes:
        n_items: pictures of the form, repeated ones included.
        n_answered: of these, how many have both answers.
        n_repeats: repeated pictures that were answered both times.
        repeat_difference: mean of the absolute differences between the two times, over both
            questions; None without repeats.
        median_seconds: per picture that was answered.
        counted: whether the means below use this rater.
        note: what the researcher should know.
    """

    rater_id: str
    file: str
    complete: bool
    n_items: int
    n_answered: int
    n_repeats: int
    repeat_difference: float | None
    median_seconds: float | None
    counted: bool
    note: str | None


class Exclusion(_Record):
    """A rater whose answers do not count, and why."""

    rater_id: str
    reason: str


class UnusedFile(_Record):
    """A file that does not count, and why."""

    file: str
    reason: str


class StudyResult(_Record):
    """A scored study.

    Attributes:
        n_raters: raters whose answers count.
        n_raters_excluded: raters listed in ``excluded``.
        stand_in: whether the dataset's images are stand-ins for the dataset that it names.
        screening: the rule by which raters are excluded, in words.
        interval_method: how the intervals were made, in words.
        unused_files: superseded, duplicate and unreadable answer files.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    study_id: str
    title: str
    protocol: str
    dataset: str
    stand_in: bool
    n_raters: int
    n_raters_excluded: int
    entries: tuple[StudyEntry, ...]
    agreement: tuple[Agreement, ...]
    comparisons: tuple[Comparison, ...]
    raters: tuple[RaterSummary, ...]
    excluded: tuple[Exclusion, ...]
    unused_files: tuple[UnusedFile, ...]
    screening: str
    interval_method: str


def load_study_result(path: Path) -> StudyResult:
    """Read a file that ``bench study score`` wrote.

    Raises:
        DataError: it cannot be read, is no such file, or is of another schema version.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. `bench study score` writes it.") from error
    try:
        return StudyResult.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            f"{path} is not a study result that this version of stylebench reads: "
            f"{first_problem(error)}. Make it again with `bench study score`."
        ) from error


def first_problem(error: ValidationError) -> str:
    """Where the first thing is wrong, and what."""
    detail = error.errors()[0]
    where = ".".join(str(part) for part in detail["loc"])
    got = detail.get("input")
    # pydantic's text has no value for scalars, which are what a reader looks for in the file
    shown = f", got {got!r}" if isinstance(got, str | int | float) and len(repr(got)) < 60 else ""
    return f"{where + ': ' if where else ''}{detail['msg']}{shown}"
