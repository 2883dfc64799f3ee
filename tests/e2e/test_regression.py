"""Scores of the README's run against stored ones.

``tests/golden/mini-scores.json`` holds its means (all 16 samples) as this code computed them in
float32 on a CPU. After a change that is meant to move them, write them anew from a finished run:
``python -m tests.e2e.test_regression RUN``. The tolerance covers other processors, whose rounding
CLIP guidance amplifies over the chain.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ReadmeRun

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


@pytest.mark.slow
def test_means_are_the_stored_ones(readme_run: ReadmeRun) -> None:
    stored = json.loads(STORED.read_text())
    for name, value in _means(readme_run.directory).items():
        assert value == pytest.approx(stored[name], abs=TOLERANCE[name]), name


if __name__ == "__main__":
    STORED.write_text(json.dumps(_means(Path(sys.argv[1])), indent=2) + "\n")
    sys.stdout.write(STORED.read_text())
