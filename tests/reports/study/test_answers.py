from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import DataError
from reports.study.answers import read_answer_file, read_answers
from reports.study.key import KeyItem, StudyKey
from tests.reports.study.raters import answer_file, as_csv, make_study, write_answers

Edit = Callable[[dict[str, Any]], object]


def plain(item: KeyItem, question: str) -> float:
    return {"content": 60.0, "style": 80.0}[question] + item.entry


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> StudyKey:
    return make_study(tmp_path_factory.mktemp("study"), n_images=2, repeats=2)


def edited(key: StudyKey, edit: Edit) -> dict[str, Any]:
    content = answer_file(key, "anna", plain)
    edit(content)
    return content


def set_answer(name: str, value: Any) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        content["answers"][2][name] = value

    return edit


def test_json_and_csv_hold_the_same(tmp_path: Path, key: StudyKey) -> None:
    content = answer_file(
        key, "anna", lambda item, question: None if question == "style" else plain(item, question)
    )
    one = read_answer_file(write_answers(tmp_path / "a.json", content), key)
    table = tmp_path / "a.csv"
    table.write_text(as_csv(content), newline="")
    assert read_answer_file(table, key) == one
    assert not one.complete
    assert one.answers[0].style is None
    assert one.answers[0].seconds == 7.25
    # a byte order mark and other line ends, as spreadsheets write them
    table.write_text(as_csv(content).replace("\r\n", "\n"), encoding="utf-8-sig")
    assert read_answer_file(table, key) == one


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(study_id="0" * 12), "is of study 000000000000, not "),
        (lambda c: c.update(form_version=2), "is of form version 2"),
        (lambda c: c.update(schema_version=2), "schema_version: Input should be 1, got 2"),
        (lambda c: c.update(format="other"), "format: Input should be 'stylebench-answers'"),
        (lambda c: c.update(rater_id="=cmd()"), "rater_id: String should match"),
        (lambda c: c.update(seed=-1), "seed: Input should be greater than or equal to 0"),
        (lambda c: c.update(started="yesterday"), "started: Input should be a valid datetime"),
        (lambda c: c.update(started="2027-01-01T00:00:00Z"), "ended before it started"),
        (lambda c: c.update(complete=False), "complete is False, but the answers say otherwise"),
        (lambda c: c.update(extra=1), "extra: Extra inputs are not permitted"),
        (lambda c: c.pop("order"), "order: Field required"),
        (lambda c: c["answers"].pop(), "order and answers do not hold the same items"),
        (lambda c: c["answers"].append(c["answers"][0]), "answers has p.* more than once"),
        (set_answer("content", 100.5), "answers.2.content: .*less than or equal to 100, got 100.5"),
        (set_answer("content", -1), "answers.2.content: .*greater than or equal to 0, got -1"),
        (set_answer("style", float("nan")), "answers.2.style: Input should be .* number, got nan"),
        (set_answer("style", float("inf")), "answers.2.style"),
        (set_answer("style", "80"), "answers.2.style: Input should be a valid number, got '80'"),
        (set_answer("style", True), "answers.2.style: Input should be a valid number"),
        (set_answer("seconds", -3), "answers.2.seconds: .*greater than or equal to 0, got -3"),
    ],
)
def test_what_the_form_cannot_have_written_is_refused(
    tmp_path: Path, key: StudyKey, edit: Edit, message: str
) -> None:
    path = write_answers(tmp_path / "answers.json", edited(key, edit))
    with pytest.raises(DataError, match=message) as caught:
        read_answers([path], key, "fail")
    assert str(caught.value).startswith(f"{path}: ")


def test_items_that_the_key_does_not_know(tmp_path: Path, key: StudyKey) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["order"][0] = content["answers"][0]["item"] = "p999"

    path = write_answers(tmp_path / "a.json", edited(key, rename))
    with pytest.raises(DataError, match=r"a\.json: names item p999"):
        read_answers([path], key, "fail")

    def shorten(content: dict[str, Any]) -> None:
        content["order"].pop()
        content["answers"].pop()

    path = write_answers(tmp_path / "b.json", edited(key, shorten))
    with pytest.raises(DataError, match=r"b\.json: lacks item p"):
        read_answers([path], key, "fail")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("content", "inhalt"), "has no column content"),
        (lambda text: text.replace(",", ";"), "has no column format"),
        (lambda text: text.splitlines()[0], "has no rows"),
        (lambda text: "", "has no column format"),
        (lambda text: text[:-6], "line 11: seconds is '', not a number"),
        (lambda text: text[:-9], "line 11 has 13 cells, the header 14"),
        (lambda text: text[: text.rindex("stylebench")], "complete is True|lacks item p"),
        (lambda text: text.replace(",61.0,", ",nan,", 1), "Input should be .* number, got nan"),
        (lambda text: text.replace(",61.0,", ",much,", 1), "content is 'much', not a number"),
        (lambda text: text.replace(",anna,", ",anne,", 1), "column rater_id is not the same in"),
        (lambda text: text.replace(",true,1,", ",true,2,", 1), "position does not count from 1"),
        (
            lambda text: text.replace(",true,", ",perhaps,"),
            "complete: Input should be a valid bool",
        ),
    ],
)
def test_a_damaged_csv_is_refused(
    tmp_path: Path, key: StudyKey, change: Callable[[str], str], message: str
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(change(as_csv(answer_file(key, "anna", plain))), newline="")
    with pytest.raises(DataError, match=message) as caught:
        read_answers([path], key, "fail")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"format": "stylebench-answers"', "[]", "null", "\0"])
def test_truncated_json_is_named(tmp_path: Path, key: StudyKey, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(str(path))):
        read_answers([path], key, "fail")


def test_a_file_that_is_no_text_is_named(tmp_path: Path, key: StudyKey) -> None:
    path = tmp_path / "picture.json"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(DataError, match=r"picture\.json: is not UTF-8 text"):
        read_answers([path], key, "fail")


def test_skipping_lists_what_was_left_out(tmp_path: Path, key: StudyKey) -> None:
    write_answers(tmp_path / "good.json", answer_file(key, "anna", plain))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "notes.txt").write_text("not looked at")
    files, unused = read_answers([tmp_path], key, "skip")
    assert [file.answers.rater_id for file in files] == ["anna"]
    assert [Path(one.file).name for one in unused] == ["bad.json"]
    (tmp_path / "good.json").unlink()
    with pytest.raises(DataError, match="no answer file can be used"):
        read_answers([tmp_path], key, "skip")


def test_paths_must_hold_answers(tmp_path: Path, key: StudyKey) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_answers([tmp_path / "nowhere"], key, "skip")
    with pytest.raises(DataError, match="there is no answer file"):
        read_answers([tmp_path], key, "skip")


def test_a_file_given_twice_counts_once(tmp_path: Path, key: StudyKey) -> None:
    path = write_answers(tmp_path / "a.json", answer_file(key, "anna", plain))
    write_answers(tmp_path / "copy.json", answer_file(key, "anna", plain))
    files, unused = read_answers([path, tmp_path], key, "fail")
    assert len(files) == 1
    assert [one.reason for one in unused] == [f"the same answers as {path}"]


def test_of_one_session_the_newest_complete_file_counts(tmp_path: Path, key: StudyKey) -> None:
    def half(item: KeyItem, question: str) -> float | None:
        return plain(item, question) if question == "style" else None

    write_answers(tmp_path / "1.json", answer_file(key, "anna", plain, ended="10:05:00"))
    best = write_answers(tmp_path / "2.json", answer_file(key, "anna", plain, ended="10:10:00"))
    # later, but with answers taken away: two tabs of one browser can do that
    write_answers(tmp_path / "3.json", answer_file(key, "anna", half, ended="10:20:00"))
    files, unused = read_answers([tmp_path], key, "fail")
    assert [file.path for file in files] == [best]
    assert [one.reason for one in unused] == [f"superseded by {best}"] * 2


def test_without_a_complete_file_the_newest_counts(tmp_path: Path, key: StudyKey) -> None:
    def none(item: KeyItem, question: str) -> float | None:
        return None

    write_answers(tmp_path / "1.json", answer_file(key, "anna", none, ended="10:05:00"))
    newest = write_answers(tmp_path / "2.json", answer_file(key, "anna", none, ended="10:10:00"))
    files, _ = read_answers([tmp_path], key, "fail")
    assert [file.path for file in files] == [newest]


def test_two_sessions_under_one_name_are_refused(tmp_path: Path, key: StudyKey) -> None:
    write_answers(tmp_path / "1.json", answer_file(key, "anna", plain, seed=1))
    write_answers(tmp_path / "2.json", answer_file(key, "anna", plain, seed=2))
    write_answers(tmp_path / "3.json", answer_file(key, "bert", plain, seed=3))
    with pytest.raises(DataError, match=r"1\.json: rater anna .*more than once \(see .*2\.json\)"):
        read_answers([tmp_path], key, "fail")
    files, unused = read_answers([tmp_path], key, "skip")
    assert [file.answers.rater_id for file in files] == ["bert"]
    assert [Path(one.file).name for one in unused] == ["1.json", "2.json"]


def test_the_order_is_the_raters_own(tmp_path: Path, key: StudyKey) -> None:
    content = answer_file(key, "anna", plain)
    path = write_answers(tmp_path / "a.json", content)
    assert list(read_answer_file(path, key).order) == content["order"]
    assert json.loads(path.read_text())["order"] != sorted(key.items)
