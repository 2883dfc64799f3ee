"""The README's run, made once as it stands there: its output, its report, its scores.

``tests/golden/mini-scores.json`` holds its means (all 32 samples) as this code computed them in
float32 on a CPU. After a change that is meant to move them, write them anew from a finished run:
``python -m tests.e2e.test_readme_run RUN``. The tolerance covers other processors, whose rounding
CLIP guidance amplifies over the chain.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, readme_block

STORED = Path(__file__).parent.parent / "golden" / "mini-scores.json"
# absolute, in each metric's own unit: well below the spread between samples
TOLERANCE = {
    "clip_score_patch": 0.02,
    "clip_score": 0.02,
    "clip_directional": 0.03,
    "lpips_vgg": 0.02,
    "dino_structure": 0.01,
    "ssim": 0.02,
    "psnr": 0.3,
}


def _means(run: Path) -> dict[str, float]:
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    return {name: round(metrics[name]["mean"], 5) for name in TOLERANCE}


@dataclass(frozen=True)
class ReadmeRun:
    """The README's run, finished."""

    stdout: str
    directory: Path


@pytest.fixture(scope="module")
def readme_run(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> ReadmeRun:
    """The last part of the README's run command, as it stands there."""
    out = tmp_path_factory.mktemp("readme")
    command = shlex.split(readme_block("run-command").rpartition("&&")[2])
    assert Path(command[0]).name == "bench"
    outcome = bench(*command[1:], "--out", out, timeout=900)
    assert outcome.code == 0, outcome.stderr
    (images,) = out.glob("*/*/*/*/images")
    return ReadmeRun(outcome.stdout, images.parent)


@pytest.mark.slow
def test_run_command_as_shown(readme_run: ReadmeRun) -> None:
    assert "contact sheet" in readme_run.stdout
    assert len(list((readme_run.directory / "images").iterdir())) == 32


def test_the_readme_run_becomes_a_report_with_its_own_means(
    bench: Bench, readme_run: ReadmeRun, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    outcome = bench("report", readme_run.directory, "--out", out, "--json")
    assert outcome.code == 0, outcome.stderr
    written = outcome.json()["files"]
    assert set(written) == {"markdown", "csv", "json", "latex", "site"}
    assert all(Path(path).is_file() for path in written.values())
    summary = json.loads((readme_run.directory / "summary.json").read_text())
    (board,) = json.loads((out / "report.json").read_text())["boards"]
    (row,) = board["rows"]
    faceless = {"face_id_distance", "face_detected"}  # dogs
    assert set(row["cells"]) == set(summary["metrics"]) - faceless
    for name in row["cells"]:
        entry = summary["metrics"][name]
        assert row["cells"][name]["mean"] == entry["mean"]
        assert row["cells"][name]["interval"] == entry["interval"]
    assert row["command"][:2] == ["bench", "run"]


@pytest.mark.slow
def test_means_are_the_stored_ones(readme_run: ReadmeRun) -> None:
    stored = json.loads(STORED.read_text())
    for name, value in _means(readme_run.directory).items():
        assert value == pytest.approx(stored[name], abs=TOLERANCE[name]), name


if __name__ == "__main__":
    STORED.write_text(json.dumps(_means(Path(sys.argv[1])), indent=2) + "\n")
    sys.stdout.write(STORED.read_text())
