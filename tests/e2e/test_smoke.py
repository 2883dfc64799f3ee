"""``bench run --smoke``: the architectures run, and nothing of it passes for a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Bench
from tests.runs import write_run


@pytest.fixture(scope="module")
def smoke(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A smoke run on the mini models' architectures, with one key set by hand."""
    out = tmp_path_factory.mktemp("smoke")
    # no checkpoint may be read: the folder of checkpoints does not exist
    outcome = bench(
        "run", "--smoke", "--method", "zecon", "--dataset", "celebahq", "--set", "respacing=20",
        "--weights-dir", out / "none", "--out", out, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    found: dict[str, Any] = outcome.json()
    return found


def test_every_role_is_loaded_run_and_measured(smoke: dict[str, Any]) -> None:
    report = smoke["smoke"]
    assert {row["role"] for row in report["models"]} == {
        "denoiser", "guide", "vgg", "judge", "dino", "face"
    }  # fmt: skip
    for row in report["models"]:
        assert row["parameters"] > 100_000 and row["peak_memory_mib"] > 100 and row["seconds"] >= 0
        assert "64x64" in row["input"]
    assert report["changed"] == {"t0": {"smoke": 2, "protocol": 25}}
    assert report["phases"]["sampling"]["seconds"] > 0 < report["phases"]["scoring"]["seconds"]


def test_the_manifest_says_so(smoke: dict[str, Any]) -> None:
    folder = Path(smoke["run_directory"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["smoke"] is True
    assert len(manifest["sample_ids"]) == 1
    assert manifest["config"]["method_config"]["respacing"] == 20
    assert all(model["random_weights"] and model["file"] is None and not model["pinned"]
               for model in manifest["models"].values())  # fmt: skip
    assert "smoke" in folder.relative_to(folder.parents[4]).parts
    assert json.loads((folder / "smoke.json").read_text()) == smoke["smoke"]


@pytest.mark.parametrize(
    "command",
    [
        ["report", "RUN"], ["score", "RUN"], ["verify", "RUN"], ["rerun", "RUN"], ["check", "RUN"],
        ["export", "RUN", "--format", "csv", "--out", "OUT"],
        ["study", "new", "RUN", "--out", "OUT"], ["distribution", "RUN", "--reference", "STYLES"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_no_command_takes_it_for_a_run(
    bench: Bench, smoke: dict[str, Any], command: list[str], tmp_path: Path
) -> None:
    styles = tmp_path / "styles"
    styles.mkdir()
    run = Path(smoke["run_directory"])
    for image in (run / "images").iterdir():
        (styles / image.name).write_bytes(image.read_bytes())
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    places = {"RUN": str(run), "OUT": str(tmp_path / "out"), "STYLES": str(styles)}
    outcome = bench(*(places.get(word, word) for word in command), "--json")
    said = " ".join((outcome.stdout + outcome.stderr).split())
    assert outcome.code != 0, said
    assert "is a smoke run" in said and "Traceback" not in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_report_over_a_folder_leaves_it_out(
    bench: Bench, smoke: dict[str, Any], tmp_path: Path
) -> None:
    write_run(tmp_path / "runs", method="ours")
    smoke_folder = Path(smoke["run_directory"]).parents[4]
    outcome = bench(
        "report", tmp_path / "runs", smoke_folder, "--out", tmp_path / "report", "--format", "json",
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert "left out" in outcome.stderr and "smoke run" in outcome.stderr
    boards = json.loads((tmp_path / "report" / "report.json").read_text())["boards"]
    assert [row["method"] for board in boards for row in board["rows"]] == ["ours"]


@pytest.mark.parametrize(
    ("method", "target"), [("recolor", "style"), ("identity", "prompt")]
)  # fmt: skip
def test_a_method_gets_one_target_of_its_kind(
    bench: Bench, tmp_path: Path, method: str, target: str
) -> None:
    outcome = bench("run", "--smoke", "--method", method, "--dataset", "afhq", "--out", tmp_path)
    assert outcome.code == 0, outcome.stderr
    words = " ".join(outcome.stdout.split())
    assert "random weights: scores mean nothing" in words
    assert "psnr" not in words, "scores of random weights were printed"
    (manifest,) = tmp_path.glob("smoke/*/*/*/*/manifest.json")
    (prompt,) = json.loads(manifest.read_text())["config"]["prompts"]
    assert ("style_sha256" in prompt) == (target == "style")
