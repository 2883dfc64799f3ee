"""Runs on images inside archives."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from benchmark.pictures import encode_png
from data.decode import decode, square
from tests.data.packing import pack, picture, write_zip
from tests.e2e.conftest import Bench


def test_run_on_a_zip_archive(bench: Bench, tmp_path: Path) -> None:
    files = {f"{name}.jpg": picture(seed, "JPEG", (90, 80)) for seed, name in enumerate("ba")}
    archive = write_zip(
        tmp_path / "afhq.zip",
        {f"afhq/val/{animal}/{name}": files[name] for animal in ("dog", "cat") for name in files},
    )
    command = ["run", "--method", "identity", "--dataset", "afhq", "--prompt", "Red Bricks",
               "--out", tmp_path / "runs", "--json", "--images"]  # fmt: skip
    outcome = bench(*command, archive)
    assert outcome.code == 1
    assert "afhq/val/cat (2), afhq/val/dog (2)" in outcome.stderr
    assert "--images-within FOLDER" in outcome.stderr
    assert "Traceback" not in outcome.stderr

    outcome = bench(*command, archive, "--images-within", "afhq/val/dog")
    assert outcome.code == 0, outcome.stderr
    run = Path(outcome.json()["run_directory"])
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["config"]["stand_in"] is False
    source = manifest["dataset"]["source"]
    assert source["name"] == "zip"
    assert source["within"] == "afhq/val/dog"
    assert source["archive"] == str(archive)
    size = manifest["config"]["resolution"]
    stored = pq.read_table(run / "sources.parquet").to_pylist()
    expected = [encode_png(square(decode(files[f"{name}.jpg"]), size, "lanczos")) for name in "ab"]
    assert [row["png"] for row in stored] == expected

    # the same images from a folder are the same run
    folder = pack("folder", tmp_path, files)
    again = bench(*command, folder)
    assert again.code == 0, again.stderr
    assert Path(again.json()["run_directory"]) == run


def test_within_needs_images(bench: Bench, tmp_path: Path) -> None:
    outcome = bench("run", "--method", "identity", "--dataset", "afhq", "--images-within", "x",
                    "--out", tmp_path / "runs")  # fmt: skip
    assert outcome.code == 2
    assert "selects of --images, which is not given" in outcome.stderr
