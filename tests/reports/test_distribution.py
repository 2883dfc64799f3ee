"""The distances of a run's outputs to a folder of style images, beside the formulas."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console

from benchmark.errors import DataError, RunDirectoryError, UsageError
from benchmark.metrics.distribution import artfid, frechet_distance, kernel_distance
from benchmark.metrics.pixels import to_float
from benchmark.metrics.set_features import SetEncoder, set_encoder
from benchmark.run import RunDirectory
from reports.distribution import (
    compare,
    distribution_report,
    read_reference,
    remarks,
    terminal_table,
)
from tests.runs import picture, write_run

COLOURS = SetEncoder("colours", "0" * 64, True, lambda images: images.double().mean((2, 3)))


@pytest.fixture
def styles(tmp_path: Path) -> Path:
    """Nine pictures, wide and high ones among them."""
    folder = tmp_path / "styles"
    folder.mkdir()
    for number in range(9):
        wide = picture(f"style {number}", 90)[:, 5 * number % 20 :]
        Image.fromarray(wide if number % 2 else wide.transpose(1, 0, 2)).save(
            folder / f"style{number}.png"
        )
    return folder


def scored(run: Path) -> tuple[RunDirectory, Any]:
    """A run whose derived files are sealed, as a real scoring leaves it."""
    directory = RunDirectory(run)
    manifest = directory.read_manifest()
    directory.seal(manifest)
    directory.write_manifest(manifest)
    return directory, manifest


def outputs_of(directory: RunDirectory, prompt: str = "") -> torch.Tensor:
    files = sorted(directory.images_path.glob(f"*__{prompt}*.png"))
    return torch.stack([torch.from_numpy(np.array(Image.open(f))).permute(2, 0, 1) for f in files])


def test_references_are_cut_and_resized_as_a_dataset_is(styles: Path) -> None:
    found = read_reference(styles, COLOURS, 48, "lanczos")
    rows = []
    for file in sorted(styles.iterdir()):
        image = Image.open(file)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        rows.append(np.asarray(image.resize((48, 48), Image.Resampling.LANCZOS)).mean((0, 1)))
    np.testing.assert_allclose(found.features.numpy(), np.array(rows), atol=1e-9)


def test_the_fingerprint_follows_the_pixels_and_the_way_they_were_resized(styles: Path) -> None:
    first = read_reference(styles, COLOURS, 48, "lanczos").fingerprint
    assert first == read_reference(styles, COLOURS, 48, "lanczos").fingerprint
    assert first != read_reference(styles, COLOURS, 32, "lanczos").fingerprint
    assert first != read_reference(styles, COLOURS, 48, "box").fingerprint
    (styles / "notes.txt").write_text("no image")
    assert first == read_reference(styles, COLOURS, 48, "lanczos").fingerprint
    Image.fromarray(picture("another", 90)).save(styles / "style3.png")
    assert first != read_reference(styles, COLOURS, 48, "lanczos").fingerprint


def test_all_outputs_and_each_prompt_agree_with_the_formulas(tmp_path: Path, styles: Path) -> None:
    directory, manifest = scored(write_run(tmp_path / "runs", n_images=8))
    reference = read_reference(styles, COLOURS, 64, "lanczos")
    found = compare(directory, manifest, COLOURS, reference, "lanczos")
    rows = pq.read_table(directory.scores_path).to_pylist()
    for prompt, entry in {"": found["overall"], **found["prompts"]}.items():
        features = COLOURS.features(outputs_of(directory, prompt))
        lpips = np.mean([
            row["value"] for row in rows
            if row["metric"] == "lpips_vgg" and row["sample_id"].endswith(prompt)
        ])  # fmt: skip
        fid = frechet_distance(features, reference.features)
        assert entry["n"] == len(features) == (8 if prompt else 16)
        assert entry["fid"] == {"value": pytest.approx(fid), "status": "ok"}
        kid = kernel_distance(features, reference.features)
        assert entry["kid"]["value"] == pytest.approx(kid)
        assert entry["lpips"]["value"] == pytest.approx(lpips)
        assert entry["artfid"]["value"] == pytest.approx(artfid(lpips, fid))
    assert set(found["prompts"]) == {"golden", "red-bricks"}
    assert (found["partial"], found["feature_dimension"], found["reference"]["n"]) == (False, 3, 9)
    assert found["samples"] == {"planned": 16, "run": 16, "ok": 16}
    digest = hashlib.sha256(directory.scores_path.read_bytes()).hexdigest()
    assert found["scores_sha256"] == digest
    assert "comparable only with others of the same encoder" in found["note"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_outputs_of_another_picture_set_are_further_away(tmp_path: Path) -> None:
    directory, manifest = scored(write_run(tmp_path / "runs", n_images=8))
    near, far = tmp_path / "near", tmp_path / "far"
    for folder in (near, far):
        folder.mkdir()
        for number in range(12):
            pixels = picture(f"style {number}")
            Image.fromarray(pixels if folder == near else pixels // 4 + 190).save(
                folder / f"{number}.png"
            )
    values = [
        compare(directory, manifest, COLOURS, read_reference(folder, COLOURS, 64, "box"), "box")
        for folder in (near, far)
    ]
    for name in ("fid", "kid", "artfid"):
        assert values[0]["overall"][name]["value"] < values[1]["overall"][name]["value"]


def test_few_images_partial_runs_and_missing_scores_are_told(tmp_path: Path, styles: Path) -> None:
    path = write_run(
        tmp_path / "runs", n_images=3, missing=1, failed=["image0000__golden"],
        metrics=("clip_score",),
    )  # fmt: skip
    directory, manifest = scored(path)
    reference = read_reference(styles, COLOURS, 64, "lanczos")
    found = compare(directory, manifest, COLOURS, reference, "lanczos")
    assert found["partial"] is True
    assert found["samples"] == {"planned": 6, "run": 5, "ok": 4}
    assert found["overall"]["fid"]["status"] == "ok"
    for row in found["prompts"].values():
        assert row["n"] == 2
        assert row["fid"]["value"] is None
        assert row["fid"]["status"].startswith("insufficient_n:")
        assert row["artfid"]["status"] == row["fid"]["status"]
    assert found["overall"]["artfid"]["status"] == "not_scored: 0 of 4 outputs have an LPIPS"
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(terminal_table(found))
    shown = capture.get()
    assert "insufficient_n" in shown and "not_scored" in shown
    below = remarks(found)
    assert "partial: 4 outputs of 6 planned samples" in below
    assert [line for line in below if "at least n = 4 images in each set, got 2 and 9" in line]
    assert below[-1] == found["note"]


def test_an_unscored_run_has_fid_and_kid(tmp_path: Path, styles: Path) -> None:
    directory = RunDirectory(write_run(tmp_path / "runs", n_images=8, unscored=True))
    reference = read_reference(styles, COLOURS, 64, "lanczos")
    found = compare(directory, directory.read_manifest(), COLOURS, reference, "lanczos")
    assert found["overall"]["fid"]["status"] == found["overall"]["kid"]["status"] == "ok"
    assert found["overall"]["artfid"]["status"].startswith("not_scored: 0 of 16")
    assert found["scores_sha256"] is None


def test_scores_that_were_changed_are_not_used(tmp_path: Path, styles: Path) -> None:
    directory, manifest = scored(write_run(tmp_path / "runs"))
    rows = pq.read_table(directory.scores_path)
    pq.write_table(pa.Table.from_pylist(rows.to_pylist()[:-1], schema=rows.schema),
                   directory.scores_path)  # fmt: skip
    reference = read_reference(styles, COLOURS, 64, "lanczos")
    with pytest.raises(RunDirectoryError, match=r"scores\.parquet was changed.*bench score"):
        compare(directory, manifest, COLOURS, reference, "lanczos")


@pytest.mark.parametrize(("content", "message"), [
    (b"no picture", r"style0\.png: it cannot be decoded"), (None, "has no images: it is empty"),
])  # fmt: skip
def test_bad_references_are_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "styles [bold]"
    folder.mkdir()
    if content is not None:
        (folder / "style0.png").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_reference(folder, COLOURS, 64, "lanczos")
    with pytest.raises(DataError, match=r"--reference .* is not a folder"):
        read_reference(folder / "style0.png", COLOURS, 64, "lanczos")


@pytest.mark.parametrize("name", ["mini-clip-score", "mini-vgg", "mini-dino"])
def test_encoders_give_one_finite_vector_for_each_picture(name: str) -> None:
    encoder = set_encoder(name, None)
    pictures = [picture(f"style {number}") for number in range(33)]
    found = encoder.embed(iter(pictures))
    assert found.ndim == 2 and len(found) == 33 and bool(found.isfinite().all())
    assert encoder.pinned and len(encoder.sha256) == 64
    # the last picture makes a batch of its own
    alone = encoder.features(torch.from_numpy(pictures[32].copy()).permute(2, 0, 1)[None])
    torch.testing.assert_close(found[32], alone[0], rtol=1e-4, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_vgg_and_dino_features_are_the_documented_ones() -> None:
    from benchmark.zoo import ModelZoo

    zoo = ModelZoo({"vgg": "mini-vgg", "dino": "mini-dino"})
    images = torch.from_numpy(picture("style 1").copy()).permute(2, 0, 1)[None]
    deepest = zoo.vgg()(images / 255, ("conv5_4",))["conv5_4"]
    torch.testing.assert_close(set_encoder("mini-vgg", None).features(images), deepest.mean((2, 3)))
    tokens = zoo.dino()(to_float(images))
    torch.testing.assert_close(set_encoder("mini-dino", None).features(images), tokens[:, 0])


@pytest.mark.parametrize(("name", "message"), [
    ("mini-face", "a model of kind 'face' gives no vector"),
    ("mini-clip-scor", "Did you mean: mini-clip-score"),
])  # fmt: skip
def test_encoders_that_do_not_fit_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        set_encoder(name, None)


def test_a_folder_without_a_run_is_refused(tmp_path: Path, styles: Path) -> None:
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        distribution_report([tmp_path], styles, None, weights_dir=None, as_json=True)
