"""The paper's experiments through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import Bench


def test_the_plan_of_all_experiments_makes_nothing(bench: Bench, tmp_path: Path) -> None:
    outcome = bench(
        "reproduce", "all", "--limit", "1", "--out", tmp_path / "out", "--dry-run", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    plan = outcome.json()
    assert [line["experiment"] for line in plan["experiments"]][:2] == ["table-4-1", "table-4-2"]
    beyond = sum(line["samples_beyond_those_above"] for line in plan["experiments"])
    assert beyond == plan["samples"] == 68
    assert len({run["config_hash"] for run in plan["runs"]}) == len(plan["runs"]) == 34
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table-4-5"], "unknown experiment 'table-4-5'"),
        (["table-4-3", "--prompts", "goldne"], "goldne"),
        (["table-4-3", "--protocol", "mini"], "unknown protocol 'mini'"),
        (["table-4-3", "--shard", "3/2"], "expected i/n"),
    ],
)
def test_wrong_usage_ends_with_code_2(
    bench: Bench, tmp_path: Path, arguments: list[str], message: str
) -> None:
    outcome = bench("reproduce", *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert message in outcome.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_table_is_made_shown_and_taken_up_again(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = (
        "reproduce",
        "table-4-3",
        "--limit",
        "1",
        "--prompts",
        "golden",
        "--out",
        out,
        "--json",
    )
    outcome = bench(*command, timeout=900)
    assert outcome.code == 0, outcome.stderr
    (result,) = outcome.json()["experiments"]
    assert [claim["word"] for claim in result["claims"]] == ["undecided at this n"] * 3
    folder = out / "table-4-3"
    text = (folder / "table-4-3.md").read_text()
    assert "| Local &amp; Global |" in text
    assert "*91.50*" in text
    for name in ("table-4-3.png", "attention-imagenet.png", "pictures-imagenet-golden.png"):
        assert f"]({name})" in text
        with Image.open(folder / name) as picture:
            assert picture.size[0] > 500
    runs = json.loads((folder / "sweep.json").read_text())["runs"]
    assert [run["state"] for run in runs] == ["complete"] * 3
    pictures = {path.read_bytes() for path in out.glob("runs/*/*/*/*/images/*.png")}
    assert len(pictures) == 3, "the attention maps lead to different pictures"
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/**/*.parquet")}
    again = bench(*command)
    assert again.code == 0, again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("runs/**/*.parquet")}
    longer = bench("reproduce", "table-4-3", "--limit", "2", "--prompts", "golden", "--out", out)
    assert longer.code == 1
    assert "holds another sweep" in longer.stderr
