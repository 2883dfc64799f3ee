"""A whole run through the command line: files, repeatability, batch size, processes, kills."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.e2e.conftest import BENCH, Bench, heed_ctrl_c, images_of, short_run


@pytest.fixture(scope="session")
def reference(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed short run, batch size 2."""
    out = tmp_path_factory.mktemp("reference")
    outcome = bench(*short_run(out))
    assert outcome.code == 0, outcome.stderr
    return Path(outcome.json()["run_directory"])


def test_run_directory_is_complete(reference: Path) -> None:
    manifest = json.loads((reference / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["schema_version"] == 2
    assert manifest["config_hash"] == reference.name
    assert manifest["config"]["stand_in"] is True
    assert set(manifest["models"]) >= {"denoiser", "guide", "judge"}
    assert manifest["models"]["guide"]["sha256"] != manifest["models"]["judge"]["sha256"]
    assert len(manifest["sample_ids"]) == 6
    names = sorted(f"{sample}.png" for sample in manifest["sample_ids"])
    assert sorted(path.name for path in (reference / "images").iterdir()) == names
    for data in images_of(reference).values():
        image = Image.open(io.BytesIO(data))
        assert image.format == "PNG"
        assert image.size == (64, 64)
        assert image.mode == "RGB"
    assert Image.open(reference / "contact-sheet.png").size[0] > 3 * 64
    leftovers = {path.name for path in reference.iterdir()} - {
        "manifest.json", "images", "chunks", "sources.parquet", "samples.parquet",
        "scores.parquet", "summary.json", "contact-sheet.png", ".lock",
    }  # fmt: skip
    assert leftovers == set()


def test_scores_cover_every_sample_and_metric(reference: Path) -> None:
    manifest = json.loads((reference / "manifest.json").read_text())
    rows = pq.read_table(reference / "scores.parquet").to_pylist()
    metrics = {row["metric"] for row in rows}
    assert {"clip_score_patch", "clip_directional", "lpips_vgg", "dino_structure"} <= metrics
    assert {(r["sample_id"], r["metric"]) for r in rows} == {
        (sample, metric) for sample in manifest["sample_ids"] for metric in metrics
    }
    for row in rows:
        assert (row["value"] is None) == (row["status"] != "ok")
    summary = json.loads((reference / "summary.json").read_text())
    clip = [row["value"] for row in rows if row["metric"] == "clip_score_patch"]
    assert summary["metrics"]["clip_score_patch"]["mean"] == pytest.approx(np.mean(clip))


def test_outputs_differ_from_sources_and_between_prompts(reference: Path) -> None:
    images = images_of(reference)
    by_image: dict[str, list[np.ndarray]] = {}
    for name, data in images.items():
        pixels = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)
        by_image.setdefault(name.split("__")[0], []).append(pixels)
    for first, second in by_image.values():
        assert np.abs(first - second).mean() > 2.0


def test_same_command_again_reuses_everything(bench: Bench, reference: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in (reference / "images").iterdir()}
    outcome = bench(*short_run(reference.parents[3]))
    assert outcome.code == 0, outcome.stderr
    assert before == {p.name: p.stat().st_mtime_ns for p in (reference / "images").iterdir()}


def test_another_seed_gives_other_pictures(bench: Bench, reference: Path, tmp_path: Path) -> None:
    outcome = bench(*short_run(tmp_path, limit=1, extra=["--seed", "1"]))
    assert outcome.code == 0, outcome.stderr
    other = images_of(Path(outcome.json()["run_directory"]))
    mine = images_of(reference)
    assert other
    assert all(mine[name] != data for name, data in other.items())


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("method", ["ours", "zecon"])
def test_batch_size_moves_no_pixel_by_more_than_one(
    bench: Bench, tmp_path: Path, batch_size: int, method: str,
    batch_size_reference: dict[str, dict[str, bytes]],
) -> None:  # fmt: skip
    outcome = bench(*short_run(tmp_path, method=method, batch_size=batch_size))
    assert outcome.code == 0, outcome.stderr
    for name, data in images_of(Path(outcome.json()["run_directory"])).items():
        mine = np.asarray(Image.open(io.BytesIO(data)), dtype=np.int16)
        theirs = np.asarray(
            Image.open(io.BytesIO(batch_size_reference[method][name])), dtype=np.int16
        )
        assert np.abs(mine - theirs).max() <= 1, name


@pytest.fixture(scope="session")
def batch_size_reference(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, bytes]]:
    result = {}
    for method in ("ours", "zecon"):
        outcome = bench(*short_run(tmp_path_factory.mktemp(method), method=method))
        assert outcome.code == 0, outcome.stderr
        result[method] = images_of(Path(outcome.json()["run_directory"]))
    return result


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 3])
def test_two_processes_give_the_bytes_of_one(
    bench: Bench, reference: Path, tmp_path: Path, limit: int
) -> None:
    """With ``limit=1`` there is one chunk, so the second rank owns none."""
    outcome = bench(
        *short_run(
            tmp_path, limit=limit,
            extra=["--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"],
        )
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    run = Path(outcome.json()["run_directory"])
    two, one = images_of(run), images_of(reference)
    assert two == {name: one[name] for name in two}
    assert len(two) == 2 * limit
    ranks = {json.loads(p.read_text())["rank"] for p in (run / "chunks").iterdir()}
    assert ranks == ({0, 1} if limit == 3 else {0})


def _wait_for_chunks(run_root: Path, count: int, process: subprocess.Popen[str]) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = sorted(run_root.glob("*/*/*/*/chunks/[0-9]*.json"))
        if len(found) >= count:
            return found[0].parents[1]
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.01)
    raise AssertionError("no chunk appeared")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_run_continues_to_the_same_bytes(
    bench: Bench, bench_env: dict[str, str], reference: Path, tmp_path: Path, how: signal.Signals
) -> None:
    arguments = [str(argument) for argument in short_run(tmp_path)]
    process = subprocess.Popen(
        [*BENCH, *arguments], env=bench_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, preexec_fn=heed_ctrl_c,
    )  # fmt: skip
    run = _wait_for_chunks(tmp_path, 1, process)
    os.kill(process.pid, how)
    _, stderr = process.communicate(timeout=120)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "same command" in stderr
        assert "Traceback" not in stderr
        assert json.loads((run / "manifest.json").read_text())["status"] == "partial"
    done = {path.name: path.stat().st_mtime_ns for path in (run / "chunks").glob("[0-9]*.json")}
    assert 1 <= len(done) < 3
    outcome = bench(*arguments)
    assert outcome.code == 0, outcome.stderr
    assert images_of(run) == images_of(reference)
    assert (run / "scores.parquet").read_bytes() == (reference / "scores.parquet").read_bytes()
    kept = {name: (run / "chunks" / name).stat().st_mtime_ns for name in done}
    assert kept == done, "a finished chunk was made again"
