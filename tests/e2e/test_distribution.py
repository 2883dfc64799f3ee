"""Style images through the real commands: ``bench score`` and ``bench distribution``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from benchmark.config import load_protocol
from benchmark.metrics.distribution import frechet_distance
from benchmark.metrics.pixels import to_float
from benchmark.metrics.style_distances import colour_histogram_distance
from benchmark.run import RunDirectory
from benchmark.zoo import ModelZoo
from tests.e2e.conftest import Bench
from tests.runs import picture, write_run

STYLE_IMAGE = ("clip_style_image", "gram_distance", "sliced_wasserstein", "colour_histogram")


@pytest.fixture
def references(tmp_path: Path) -> Path:
    folder = tmp_path / "references"
    folder.mkdir()
    for number in range(140):
        Image.fromarray(picture(f"style {number}")).save(folder / f"{number:03d}.png")
    return folder


def test_an_image_guided_run_is_scored_against_its_style_images(
    bench: Bench, tmp_path: Path
) -> None:
    styles = {"golden": picture("a style", 80)[:, :60], "red-bricks": picture("another style")}
    run = write_run(tmp_path, styles=styles, n_images=3, unscored=True)
    metrics = (*STYLE_IMAGE, "clip_score", "lpips_vgg")
    outcome = bench("score", run, "--metrics", ",".join(metrics), "--json")
    assert outcome.code == 0, outcome.stderr
    found = outcome.json()["summary"]["metrics"]
    assert {name: found[name]["statuses"] for name in metrics} == {
        **{name: {"ok": 6} for name in (*STYLE_IMAGE, "lpips_vgg")},
        "clip_score": {"not_applicable": 6},
    }
    directory = RunDirectory(run)
    clip = ModelZoo(load_protocol("mini-64-v1").models).clip("judge")
    for row in pq.read_table(directory.scores_path).to_pylist():
        pair = [
            torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
            for pixels in (directory.load_image(row["sample_id"]), styles[row["prompt_id"]])
        ]
        if row["metric"] == "colour_histogram":
            expected = colour_histogram_distance(*pair).item()
        elif row["metric"] == "clip_style_image":
            a, b = (clip.encode_image(clip.resize(to_float(x)))[0].double() for x in pair)
            expected = (a @ b / (a.norm() * b.norm())).item()
        else:
            continue
        assert row["value"] == pytest.approx(expected, abs=1e-6)
    # the style images are sealed with the scores
    assert directory.changed_files(directory.read_manifest()) == []
    directory.write_styles({**styles, "golden": styles["red-bricks"]})
    assert directory.changed_files(directory.read_manifest()) == [directory.styles_path]


def test_an_image_guided_run_without_its_style_images_is_refused(
    bench: Bench, tmp_path: Path
) -> None:
    run = write_run(tmp_path, styles={"golden": picture("a style")}, n_images=2, unscored=True)
    outcome = bench("score", run, "--metrics", "colour_histogram")
    assert outcome.code == 1
    assert "styles.parquet has no style image 'red-bricks'" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_distances_of_runs_to_a_folder_are_stored_and_printed(
    bench: Bench, tmp_path: Path, references: Path
) -> None:
    runs = [
        write_run(tmp_path / "runs", method=name, n_images=66, unscored=True)
        for name in ("ours", "zecon")
    ]
    assert bench("score", runs[0], "--metrics", "lpips_vgg").code == 0
    outcome = bench("distribution", *runs, "--reference", references, "--json")
    assert outcome.code == 0, outcome.stderr
    found = outcome.json()
    assert [row["file"] for row in found] == [str(run / "distribution.json") for run in runs]
    stored = [json.loads((run / "distribution.json").read_text()) for run in runs]
    assert [{"file": row["file"], **kept} for row, kept in zip(found, stored, strict=True)] == found
    clip = ModelZoo(load_protocol("mini-64-v1").models).clip("judge")

    def features(files: list[Path]) -> torch.Tensor:
        pixels = np.stack([np.asarray(Image.open(file)) for file in files])
        with torch.no_grad():
            return clip.encode_image(to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2)))

    expected = frechet_distance(
        features(sorted((runs[0] / "images").iterdir())), features(sorted(references.iterdir()))
    )
    first, second = stored
    assert first["encoder"]["id"] == "mini-clip-score" and first["encoder"]["pinned"]
    assert first["overall"]["fid"]["value"] == pytest.approx(expected, rel=1e-4)
    assert first["overall"]["artfid"]["value"] == pytest.approx(
        (1 + first["overall"]["lpips"]["value"]) * (1 + expected), rel=1e-4
    )
    assert (
        "at least n = 129 images in each set, got 66 and 140"
        in (first["prompts"]["golden"]["fid"]["status"])
    )
    assert first["prompts"]["golden"]["kid"]["status"] == "ok"
    assert second["overall"]["fid"]["status"] == "ok"
    assert second["overall"]["artfid"]["status"].startswith("not_scored")
    assert first["reference"]["fingerprint"] == second["reference"]["fingerprint"]

    outcome = bench("distribution", runs[1], "--reference", references, "--encoder", "mini-vgg")
    assert outcome.code == 0, outcome.stderr
    assert f"140 reference images of {references}, 64 features" in outcome.stdout
    assert f"stored in {runs[1] / 'distribution.json'}" in outcome.stdout


@pytest.mark.parametrize(("options", "code", "message"), [
    (("--encoder", "mini-vg"), 2, "unknown model 'mini-vg'. Did you mean: mini-vgg"),
    (("--encoder", "mini-face"), 2, "a model of kind 'face' gives no vector"),
    (("--encoder", "inception-fid"), 1, "SHA-256 6726825d0af5f729cebd5821db510b11"),
])  # fmt: skip
def test_encoders_that_cannot_be_used_say_why(
    options: tuple[str, str], code: int, message: str, bench: Bench, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "runs", n_images=2)
    Image.fromarray(picture("a style")).save(tmp_path / "a.png")
    outcome = bench(
        "distribution", run, "--reference", tmp_path, "--weights-dir", tmp_path, *options
    )
    assert (outcome.code, message in outcome.stderr) == (code, True), outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (run / "distribution.json").exists()
