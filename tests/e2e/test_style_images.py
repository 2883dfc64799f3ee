"""Runs that are guided by style images, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.run import RunDirectory
from data.styles import load_styles
from tests.e2e.conftest import Bench, images_of
from tests.runs import picture


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("styles")
    for name, side in (("Water Lilies", 90), ("night", 64)):
        Image.fromarray(picture(name, side)).save(folder / f"{name}.png")
    return folder


def run(bench: Bench, styles: Path, out: Path, *extra: str | Path) -> RunDirectory:
    outcome = bench("run", "--method", "recolor", "--dataset", "afhq", "--limit", "2",
                    "--style-images", styles, "--out", out, "--json", *extra)  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    return RunDirectory(Path(outcome.json()["run_directory"]))


def test_a_run_by_style_images_keeps_them_and_is_scored_against_them(
    bench: Bench, styles: Path, tmp_path: Path
) -> None:
    directory = run(bench, styles, tmp_path)
    manifest = directory.read_manifest()
    assert [prompt.id for prompt in manifest.config.prompts] == ["water-lilies", "night"]
    loaded = {style.id: style for style in load_styles(styles, 64, "lanczos")}
    for prompt in manifest.config.prompts:
        assert prompt.style_sha256 == loaded[prompt.id].sha256
        assert np.array_equal(directory.load_style(prompt.id), loaded[prompt.id].pixels)
    assert len(images_of(directory.path)) == 4
    assert directory.changed_files(manifest) == []
    assert "styles.parquet" in manifest.files
    outcome = bench("score", directory.path, "--metrics", "colour_histogram,gram_distance")
    assert outcome.code == 0, outcome.stderr
    rows = pq.read_table(directory.scores_path).to_pylist()
    style = [row for row in rows if row["metric"] in {"colour_histogram", "gram_distance"}]
    assert len(style) == 8 and all(row["status"] == "ok" for row in style)
    by_prompt = [row for row in rows if row["metric"] == "clip_score"]
    assert {row["status"] for row in by_prompt} == {"not_applicable"}
    shown = [row for row in rows if row["metric"] == "clip_style_image"]  # without being asked for
    assert {row["status"] for row in shown} == {"ok"}


def test_another_picture_under_the_same_name_is_another_run(
    bench: Bench, styles: Path, tmp_path: Path
) -> None:
    first = run(bench, styles / "night.png", tmp_path / "runs")
    again = run(bench, styles / "night.png", tmp_path / "runs")
    assert again.path == first.path
    changed = tmp_path / "night.png"
    Image.fromarray(picture("day")).save(changed)
    assert run(bench, changed, tmp_path / "runs").path != first.path


def test_a_report_shows_a_run_by_style_images(bench: Bench, styles: Path, tmp_path: Path) -> None:
    run(bench, styles, tmp_path / "runs")
    outcome = bench("report", tmp_path / "runs", "--out", tmp_path / "report")
    assert outcome.code == 0, outcome.stderr
    (board,) = json.loads((tmp_path / "report" / "report.json").read_text())["boards"]
    assert board["prompts"] == {
        "water-lilies": "style image water-lilies", "night": "style image night",
    }  # fmt: skip
    named = {metric["name"] for metric in board["metrics"]}
    assert {"clip_style_image", "edge_agreement"} <= named
    # neither are there prompts, nor faces
    assert not named & {"clip_score", "clip_score_patch", "style_retrieval", "face_detected"}


def test_style_images_of_a_dataset_are_recorded_as_what_they_are(
    bench: Bench, tmp_path: Path
) -> None:
    outcome = bench("run", "--method", "recolor", "--dataset", "afhq", "--limit", "1",
                    "--style-dataset", "wikiart", "--style-limit", "3", "--out", tmp_path,
                    "--json")  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    manifest = RunDirectory(Path(outcome.json()["run_directory"])).read_manifest()
    assert len(manifest.config.prompts) == 3
    origin = manifest.dataset["styles"]
    assert origin["dataset"] == "wikiart" and origin["stand_in"] is True
    assert "drawn by a small network" in origin["note"]


def test_two_styles_are_fused_in_one_picture(bench: Bench, styles: Path, tmp_path: Path) -> None:
    outcome = bench("run", "--method", "ours-multi", "--dataset", "afhq", "--limit", "1",
                    "--mix", "golden=0.5,red-bricks=0.5",
                    "--mix", f"golden=0.25,{styles / 'night.png'}=0.75",
                    "--set", "t0=2", "--set", "respacing=10", "--out", tmp_path / "runs",
                    "--json")  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    directory = RunDirectory(Path(outcome.json()["run_directory"]))
    words, shown = directory.read_manifest().config.prompts
    assert words.text == words.words == "Golden and Red bricks"
    assert shown.words is None and shown.mixture is not None
    assert [part.weight for part in shown.mixture] == [0.25, 0.75]
    assert shown.mixture[1].style_sha256 is not None
    rows = pq.read_table(directory.scores_path).to_pylist()
    status = {row["prompt_id"]: row["status"] for row in rows if row["metric"] == "clip_score"}
    assert status == {words.id: "ok", shown.id: "not_applicable"}
    outcome = bench("score", directory.path, "--metrics", "gram_distance")
    assert outcome.code == 0, outcome.stderr
    rows = pq.read_table(directory.scores_path).to_pylist()
    assert {r["status"] for r in rows if r["metric"] == "gram_distance"} == {"not_applicable"}
    outcome = bench("report", tmp_path / "runs", "--out", tmp_path / "report")
    assert outcome.code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "recolor"],
         "recolor is not guided by prompts: give it style images (--style-images"),
        (["--method", "ours", "--style-images", "STYLES"],
         "ours is not guided by style images: give it prompts (--prompts, ids of the set mini-v1"),
        (["--method", "ours-multi"], "give it mixtures (--mix golden=0.5,red-bricks=0.5"),
        (["--method", "ours", "--mix", "golden=0.5,clay=0.5"], "not guided by mixtures"),
        (["--method", "ours-multi", "--mix", "golden=0.5,clay=0.6"], "sum to 1.1, not to 1"),
        (["--method", "recolor", "--style-images", "STYLES", "--style-dataset", "wikiart"],
         "either --style-images or --style-dataset"),
        (["--method", "recolor", "--style-dataset", "wikiarts"], "Did you mean: wikiart"),
        (["--method", "recolor", "--style-dataset", "wikiart", "--style-source", "hubb"],
         "unknown source 'hubb'. Did you mean: hub"),
        (["--method", "ours", "--style-limit", "3"], "--style-limit counts"),
        (["--method", "recolor", "--style-images", "STYLES", "--prompts", "golden"],
         "either --prompts or --style-images, not both"),
        (["--method", "recolor", "--style-images", "nowhere"], "nowhere"),
        (["--method", "recolor", "--style-images", "BROKEN"], "broken.png"),
    ],
)  # fmt: skip
def test_wrong_guidance_is_refused_before_anything_is_written(
    bench: Bench, styles: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    places = {"STYLES": str(styles), "BROKEN": str(broken)}
    out = tmp_path / "runs"
    outcome = bench("run", "--dataset", "afhq", "--out", out,
                    *(places.get(word, word) for word in arguments))  # fmt: skip
    assert outcome.code in {1, 2} and "Traceback" not in outcome.stderr
    assert message in outcome.stderr
    assert not out.exists()
