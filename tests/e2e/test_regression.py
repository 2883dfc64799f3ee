"""Scores of the mini protocol against stored ones.

``tests/golden/mini-scores.json`` holds the means of the README's run (all 16 samples) as this code
computed them in float32 on a CPU; ``python -m tests.e2e.test_regression`` writes it anew after a
change that is meant. The tolerance covers other processors, whose rounding grows over the chain.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Bench

STORED = Path(__file__).parent.parent / "golden" / "mini-scores.json"
METHODS = ("ours", "zecon")
# absolute, in each metric's own unit: a tenth of the spread between samples or less
TOLERANCE = {
    "clip_score_patch": 0.01,
    "clip_score": 0.01,
    "clip_directional": 0.02,
    "lpips_vgg": 0.01,
    "dino_structure": 0.003,
    "ssim": 0.01,
    "psnr": 0.2,
}


def _means(summary: dict[str, Any]) -> dict[str, float]:
    return {name: summary["metrics"][name]["mean"] for name in TOLERANCE}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_means_are_the_stored_ones(bench: Bench, tmp_path: Path, method: str) -> None:
    outcome = bench(*_arguments(method, tmp_path))
    assert outcome.code == 0, outcome.stderr
    found = _means(outcome.json()["summary"])
    stored = json.loads(STORED.read_text())[method]
    for name, tolerance in TOLERANCE.items():
        assert found[name] == pytest.approx(stored[name], abs=tolerance), name


def _arguments(method: str, out: Path) -> list[str]:
    limit = ["--limit", "2"] if method == "zecon" else []
    return [
        "run", "--method", method, "--dataset", "afhq", "--out", str(out), "--json", *limit,
    ]  # fmt: skip


def _write() -> None:
    import subprocess
    import tempfile

    from tests.e2e.conftest import BENCH

    stored = {}
    for method in METHODS:
        with tempfile.TemporaryDirectory() as out:
            done = subprocess.run(
                [*BENCH, *_arguments(method, Path(out))], capture_output=True, text=True, check=True
            )
        stored[method] = _means(json.loads(done.stdout)["summary"])
    STORED.write_text(json.dumps(stored, indent=2) + "\n")
    sys.stdout.write(STORED.read_text())


if __name__ == "__main__":
    _write()
