"""``bench report`` through the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import UsageError
from reports import report
from reports.study.result import StudyEntry, StudyResult
from tests.e2e.conftest import Bench
from tests.runs import smooth_scores, write_run


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_terminal_shows_the_board_and_the_files(bench: Bench, tmp_path: Path) -> None:
    for method, quality in (("ours", 0.2), ("zecon", 0.1)):
        write_run(tmp_path / "runs", method=method, scores=smooth_scores(quality))
    out = tmp_path / "report"
    outcome = bench("report", tmp_path / "runs", "--out", out, "--format", "csv,markdown")
    assert outcome.code == 0, outcome.stderr
    assert "afhq: 4 images, 2 styles" in outcome.stdout and "zecon" in outcome.stdout
    assert str(out / "report.md") in outcome.stdout
    assert not (out / "site").exists() and not (out / "report.tex").exists()
    with (out / "report.csv").open() as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"ours", "zecon"}


def test_a_second_report_over_the_same_runs_has_the_same_bytes(
    bench: Bench, tmp_path: Path
) -> None:
    for method in ("ours", "zecon"):
        write_run(tmp_path / "runs", method=method)
    out = tmp_path / "report"
    found = []
    for _ in range(2):
        assert bench("report", tmp_path / "runs", "--out", out).code == 0
        found.append(files_of(out))
        (out / "stale.txt").write_text("of an earlier report")
    assert found[0] == found[1]


def test_a_folder_that_no_report_wrote_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    write_run(tmp_path / "runs")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    outcome = bench("report", tmp_path / "runs", "--out", precious)
    assert outcome.code == 2 and "holds no report" in outcome.stderr
    assert (precious / "thesis.tex").read_text() == "years of work"
    outcome = bench("report", tmp_path / "runs", "--out", precious / "thesis.tex")
    assert outcome.code == 2 and "is a file" in outcome.stderr


def test_tampered_and_damaged_runs_are_named_and_nothing_is_written(
    bench: Bench, tmp_path: Path
) -> None:
    tampered = write_run(tmp_path / "runs", method="ours")
    damaged = write_run(tmp_path / "runs", method="zecon")
    (tampered / "images" / "image0000__golden.png").write_bytes(b"not the image")
    (damaged / "scores.parquet").write_bytes(b"not the scores")
    outcome = bench("report", tmp_path / "runs", "--out", tmp_path / "report")
    assert outcome.code == 1 and "Traceback" not in outcome.stderr
    assert "image0000__golden.png" in outcome.stderr
    assert str(damaged / "scores.parquet") in outcome.stderr
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pdf"], "unknown format 'pdf'; known: markdown"),
        (["--protocol", "paper-256-v1"], "no run follows the protocol paper-256-v1"),
        (["--study", "nothing.json"], "nothing.json"),
    ],
)
def test_wrong_usage_is_told(
    bench: Bench, tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_run(tmp_path / "runs")
    outcome = bench("report", tmp_path / "runs", "--out", tmp_path / "report", *arguments)
    assert outcome.code in {1, 2} and "Traceback" not in outcome.stderr
    assert message in outcome.stderr


def test_a_folder_without_runs_is_told(bench: Bench, tmp_path: Path) -> None:
    outcome = bench("report", tmp_path)
    assert outcome.code == 2 and "there is no run in or below" in outcome.stderr


def test_a_user_study_fills_its_columns(bench: Bench, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", method="ours")
    write_run(tmp_path / "runs", method="zecon")
    rated = {"mean": 91.2, "interval": [88.0, 94.0], "note": None, "n": 40}
    entry = {
        "method": "ours", "config_hash": run.name, "n_ratings": 40, "n_images": 4, "n_raters": 10,
        "content": rated, "style": {**rated, "mean": 90.5},
    }  # fmt: skip
    study = tmp_path / "study.json"
    study.write_text(
        StudyResult(
            study_id="s", title="t", protocol="mini-64-v1", dataset="afhq", stand_in=True,
            n_raters=10, n_raters_excluded=0, entries=(StudyEntry.model_validate(entry),),
            agreement=(), comparisons=(), raters=(), excluded=(), unused_files=(), screening="",
            interval_method="",
        ).model_dump_json()
    )  # fmt: skip
    out = tmp_path / "report"
    arguments = ["report", tmp_path / "runs", "--out", out, "--study", study, "--format"]
    assert bench(*arguments, "json,markdown").code == 0
    (board,) = json.loads((out / "report.json").read_text())["boards"]
    scores = {row["method"]: row["study_content"] for row in board["rows"]}
    assert scores["ours"] == {"mean": 91.2, "interval": [88.0, 94.0], "n_ratings": 40}
    assert scores["zecon"] is None
    assert "90.50 [88.00, 94.00]" in (out / "report.md").read_text()
    outcome = bench(*arguments, "json", "--study", study)
    assert outcome.code == 2 and "is rated in another study too" in outcome.stderr


def test_more_runs_than_a_site_can_show_give_the_other_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for knob in range(3):
        write_run(tmp_path / "runs", method_config={"knob": knob}, n_images=2)
    monkeypatch.setattr(report, "MOST_SITE_RUNS", 2)
    options: dict[str, Any] = {
        "protocol": None, "studies": [], "verify_images": True, "as_json": True,
    }  # fmt: skip
    report.report([tmp_path / "runs"], out=tmp_path / "out", formats=[], **options)
    assert "holds at most 2 runs, here are 3: it is left out" in capsys.readouterr().err
    assert (tmp_path / "out" / "report.md").is_file() and not (tmp_path / "out" / "site").exists()
    with pytest.raises(UsageError, match="give fewer runs"):
        report.report([tmp_path / "runs"], out=tmp_path / "out", formats=["site"], **options)
