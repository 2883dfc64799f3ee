"""Runs that are guided by another encoder than the protocol's, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.run import RunDirectory
from benchmark.zoo.registry import model_card
from tests.e2e.conftest import Bench

QUICK = ("--dataset", "afhq", "--limit", "1", "--prompts", "golden", "--set", "t0=2",
         "--set", "respacing=10", "--set", "n_patches=4")  # fmt: skip


def run(bench: Bench, out: Path, method: str, *extra: str) -> RunDirectory:
    outcome = bench("run", "--method", method, *QUICK, "--out", out, "--json", *extra)
    assert outcome.code == 0, outcome.stderr
    return RunDirectory(Path(outcome.json()["run_directory"]))


@pytest.mark.parametrize("method", ["ours", "zecon"])
def test_a_siglip_guides_and_the_judge_stays(bench: Bench, tmp_path: Path, method: str) -> None:
    usual = run(bench, tmp_path, method)
    other = run(bench, tmp_path, method, "--guide", "mini-siglip-guide")
    assert other.path != usual.path
    manifest = other.read_manifest()
    assert manifest.models["guide"]["id"] == "mini-siglip-guide"
    assert manifest.config.models["guide"] == model_card("mini-siglip-guide").sha256
    assert manifest.models["judge"] == usual.read_manifest().models["judge"]
    sample = manifest.sample_ids[0]
    assert (other.load_image(sample) != usual.load_image(sample)).any()


@pytest.mark.parametrize(
    ("method", "guide", "message"),
    [
        ("ours", "mini-clip-score", "what guides a method must not judge it"),
        ("ours", "mini-vgg", "is a model of kind 'vgg', not clip"),
        ("ours", "mini-siglip", "Did you mean: mini-siglip-guide"),
        ("procedural", "mini-siglip-guide", "procedural is not guided by a CLIP"),
        ("ours", "siglip-vit-b-16-webli", "is not present"),
    ],
)
def test_a_guide_that_does_not_fit_is_refused(
    bench: Bench, tmp_path: Path, method: str, guide: str, message: str
) -> None:
    outcome = bench("run", "--method", method, "--dataset", "afhq", "--guide", guide,
                    "--weights-dir", tmp_path, "--out", tmp_path / "runs")  # fmt: skip
    assert outcome.code in {1, 2} and "Traceback" not in outcome.stderr
    assert message in " ".join(outcome.stderr.split())
    assert not (tmp_path / "runs").exists()
