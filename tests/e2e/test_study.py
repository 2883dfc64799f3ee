"""``bench study new`` and ``bench study score`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.study.key import load_key
from reports.study.result import load_study_result
from tests.e2e.conftest import Bench
from tests.reports.study.raters import answer_file, as_csv, steady, write_answers
from tests.runs import write_run

LEVELS = {"ours": 75.0, "zecon": 55.0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    for method in LEVELS:
        write_run(out, method=method, n_images=6)
    return out


@pytest.fixture(scope="module")
def study(bench: Bench, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "first"
    outcome = bench("study", "new", runs, "--out", out, "--images", "10", "--title", "A <study>")
    assert outcome.code == 0, outcome.stderr
    assert "10 of 6 images and 2 prompts" in outcome.stdout
    assert "24 per rater, 4 of them shown a second time" in outcome.stdout
    assert str(out / "form.html") in outcome.stdout
    return out


@pytest.fixture(scope="module")
def answers(study: Path) -> Path:
    key = load_key(study)
    for number in range(5):
        content = answer_file(key, f"r{number}", steady(key, LEVELS, seed=number), seed=number)
        if number % 2:
            folder = study / "answers"
            folder.mkdir(exist_ok=True)
            (folder / f"r{number}.csv").write_text(as_csv(content), newline="")
        else:
            write_answers(study / "answers" / f"r{number}.json", content)
    return study / "answers"


def test_new_reports_as_json(bench: Bench, runs: Path, tmp_path: Path) -> None:
    outcome = bench("study", "new", runs, "--out", tmp_path / "s", "--repeats", "0", "--json")
    assert outcome.code == 0, outcome.stderr
    found = outcome.json()
    assert (found["pairs"], found["repeats"], found["items"]) == (12, 0, 24)
    assert [entry["method"] for entry in found["entries"]] == ["ours", "zecon"]
    assert "inattentive raters cannot be told" in outcome.stderr


def test_score_prints_tables_and_writes_the_result(
    bench: Bench, study: Path, answers: Path, tmp_path: Path
) -> None:
    outcome = bench("study", "score", study, answers)
    assert outcome.code == 0, outcome.stderr
    for text in (
        "A <study>: afhq (stand-in images), mini-64-v1", "ours - zecon", "Krippendorff",
        "5 counted, 0 excluded", str(study / "study.json"),
    ):  # fmt: skip
        assert text in outcome.stdout
    result = load_study_result(study / "study.json")
    assert [entry.method for entry in result.entries] == ["ours", "zecon"]
    as_json = bench("study", "score", study, answers, "--json", "--out", tmp_path / "x" / "r.json")
    assert as_json.code == 0, as_json.stderr
    assert as_json.json() == json.loads((study / "study.json").read_text())
    assert (tmp_path / "x" / "r.json").is_file()


def test_the_whole_folder_can_be_given(bench: Bench, study: Path, tmp_path: Path) -> None:
    """Key and result that lie beside the answers are not taken for answers."""
    key = load_key(study)
    for name in ("form.html", "key.json"):
        (tmp_path / name).write_bytes((study / name).read_bytes())
    for n in range(2):
        write_answers(tmp_path / f"r{n}.json", answer_file(key, f"r{n}", steady(key, LEVELS, n)))
    for _ in range(2):
        outcome = bench("study", "score", tmp_path, tmp_path)
        assert outcome.code == 0, outcome.stderr


def test_bad_answers_end_it_or_are_left_out(
    bench: Bench, study: Path, answers: Path, tmp_path: Path
) -> None:
    content = answer_file(load_key(study), "late", steady(load_key(study), LEVELS, seed=9))
    content["answers"][0]["style"] = 101
    bad = write_answers(tmp_path / "late.json", content)
    refused = bench("study", "score", study, answers, bad)
    assert refused.code == 1
    assert f"error: {bad}: answers.0.style" in refused.stderr
    assert "Traceback" not in refused.stderr
    out = tmp_path / "r.json"
    skipped = bench("study", "score", study, answers, bad, "--on-bad-answers", "skip", "--out", out)
    assert skipped.code == 0, skipped.stderr
    assert str(bad) in skipped.stderr
    (unused,) = load_study_result(out).unused_files
    assert unused.file == str(bad)
    assert "less than or equal to 100, got 101" in unused.reason


def test_usage_errors_have_code_2_and_no_traceback(
    bench: Bench, runs: Path, study: Path, answers: Path, tmp_path: Path
) -> None:
    write_run(tmp_path / "other", method="zecon", dataset="ffhq")
    cases = {
        ("study", "new", runs, tmp_path / "other", "--out", tmp_path / "s"): "differ in their",
        ("study", "new", runs, "--out", tmp_path / "s", "--images", "13"): "made 12 pairs",
        ("study", "new", runs, "--out", tmp_path / "s", "--title", "zecon?"): "names 'zecon'",
        ("study", "new", tmp_path / "none", "--out", tmp_path / "s"): "is not a folder",
        ("study", "score", study, answers, "--max-repeat-difference", "101"): "0 to 100",
    }
    for arguments, message in cases.items():
        outcome = bench(*arguments)
        assert outcome.code == 2, (arguments, outcome.stderr)
        assert message in outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "s").exists()


def test_data_errors_have_code_1_and_name_the_file(
    bench: Bench, runs: Path, study: Path, tmp_path: Path
) -> None:
    tampered = write_run(tmp_path / "tampered", method="zecon")
    image = tampered / "images" / "image0001__golden.png"
    image.write_bytes(image.read_bytes() + b"\0")
    truncated = tmp_path / "cut.json"
    truncated.write_text('{"format": "stylebench-ans')
    cases = {
        ("study", "new", tampered, "--out", tmp_path / "s"): str(image),
        ("study", "new", runs, "--out", study): "exists already",
        ("study", "score", study, truncated): str(truncated),
        ("study", "score", tmp_path, truncated): "bench study new",
        ("study", "score", study, tmp_path / "none.json"): "does not exist",
    }
    for arguments, message in cases.items():
        outcome = bench(*arguments)
        assert outcome.code == 1, (arguments, outcome.stderr)
        assert message in outcome.stderr
        assert "Traceback" not in outcome.stderr
