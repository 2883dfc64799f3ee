"""``bench score``: metrics are added to a run, and nothing that is no longer true stays."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from benchmark.run import RunDirectory
from tests.e2e.conftest import Bench
from tests.runs import write_run


def scores_of(run: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in pq.read_table(run / "scores.parquet").to_pylist():
        found.setdefault(row["metric"], []).append(row["value"])
    return found


def test_a_metric_is_added_and_the_others_keep_their_scores(bench: Bench, tmp_path: Path) -> None:
    run = write_run(tmp_path, n_images=2, metrics=["psnr"])
    assert bench("score", run, "--metrics", "ssim,psnr").code == 0
    first = scores_of(run)
    images = {path: path.stat().st_mtime_ns for path in (run / "images").iterdir()}
    outcome = bench("score", run, "--metrics", "edge_agreement", "--json")
    assert outcome.code == 0, outcome.stderr
    second = scores_of(run)
    assert set(second) == {"ssim", "psnr", "edge_agreement"}
    assert all(second[name] == values for name, values in first.items())
    assert set(outcome.json()["summary"]["metrics"]) == set(second)
    assert {path: path.stat().st_mtime_ns for path in (run / "images").iterdir()} == images
    directory = RunDirectory(run)
    assert directory.changed_files(directory.read_manifest()) == []


def test_scores_by_weights_that_the_manifest_does_not_know_are_dropped_and_named(
    bench: Bench, tmp_path: Path
) -> None:
    # this manifest names no VGG, so who made its LPIPS scores cannot be told
    run = write_run(tmp_path, n_images=2, metrics=["lpips_vgg", "psnr"])
    outcome = bench("score", run, "--metrics", "ssim")
    assert outcome.code == 0
    assert set(scores_of(run)) == {"ssim", "psnr"}
    assert "earlier scores of lpips_vgg are dropped" in outcome.stderr
    # scored anew, the weights are known and the scores stay
    assert bench("score", run, "--metrics", "lpips_vgg").code == 0
    assert RunDirectory(run).read_manifest().models["vgg"]["sha256"]
    assert bench("score", run, "--metrics", "ssim").code == 0
    assert set(scores_of(run)) == {"ssim", "psnr", "lpips_vgg"}


def test_changed_scores_are_not_taken_over(bench: Bench, tmp_path: Path) -> None:
    run = write_run(tmp_path, n_images=2, metrics=["psnr"])
    table = pq.read_table(run / "scores.parquet")
    pq.write_table(table.slice(1), run / "scores.parquet")
    assert bench("score", run, "--metrics", "ssim").code == 0
    assert set(scores_of(run)) == {"ssim"}
