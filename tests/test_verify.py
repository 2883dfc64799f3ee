"""A real run, changed in every way that its claims must show."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmark.errors import RunDirectoryError, UsageError
from benchmark.finish import score_run
from benchmark.launch import RunOptions, run
from benchmark.pictures import decode_png, encode_png
from benchmark.run import RunDirectory
from benchmark.targets import TargetOptions
from benchmark.verify import Check, Finding, Verification, verify_run
from benchmark.verify.command import verify
from benchmark.zoo.registry import MINI_WEIGHTS, model_card, model_ids
from tests.runs import picture

HASHES: dict[Path, str] = {}  # the shipped weights need not be read for every case
Facts = dict[str, Any]


def options(out: Path, method: str, target: TargetOptions) -> RunOptions:
    return RunOptions(
        method=method, dataset="afhq", protocol="mini-64-v1", target=target, source_prompt=None,
        guide=None, images=None, limit=2, on_bad_image="fail", seed=0, config=None, assignments=(),
        weights_dir=None, out=out, existing="fail", accelerator="cpu", devices="1",
        strategy="auto", num_nodes=1, precision="32-true", batch_size=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Two real runs of two images and two styles in chunks of two: by prompts, by style images."""
    folder = tmp_path_factory.mktemp("verify")
    styles = folder / "styles"
    styles.mkdir()
    for name in ("night", "water"):
        Image.fromarray(picture(name, 80)).save(styles / f"{name}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLEBENCH_CACHE", str(folder / "cache"))
        found = {}
        for method, target in (
            ("identity", TargetOptions()), ("recolor", TargetOptions(style_images=styles)),
        ):  # fmt: skip
            result = run(options(folder / "runs", method, target))
            assert result is not None
            found[method] = result.directory
        yield found


@pytest.fixture
def copy(runs: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A run to be changed, under the same four folders."""

    def make(method: str = "identity") -> Path:
        place = tmp_path / Path(*runs[method].parts[-4:])
        shutil.copytree(runs[method], place)
        return place

    return make


def check(path: Path) -> Verification:
    return verify_run(path, Path("/nonexistent"), HASHES)


def named(found: Verification, name: str) -> Check:
    (one,) = (item for item in found.checks if item.name == name)
    return one


def wrong(found: Verification) -> dict[str, list[Finding]]:
    return {item.name: list(item.wrong) for item in found.checks if item.wrong}


def edit(path: Path, change: Callable[[Facts], None], name: str = "manifest.json") -> None:
    facts = json.loads((path / name).read_text())
    change(facts)
    (path / name).write_text(json.dumps(facts))


def reseal(path: Path) -> None:
    """Hide a change from the manifest's hashes, as somebody who edits on purpose would."""
    directory = RunDirectory(path)
    manifest = directory.read_manifest()
    directory.seal(manifest)
    directory.write_manifest(manifest)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("method", ["identity", "recolor"])
def test_an_untouched_run_is_verified(runs: dict[str, Path], method: str) -> None:
    found = check(runs[method])
    assert found.verified is True
    assert wrong(found) == {}
    assert found.what == "complete, 4 samples"
    assert all(item.true for item in found.checks)
    assert named(found, "images").true == 4
    assert named(found, "samples").true == 4
    expected = {"config", "sources", "weights", "chunk records", "images", "samples",
                "scores and summary", "derived files"}  # fmt: skip
    styles = {"style images"} if method == "recolor" else set()
    assert {item.name for item in found.checks} == expected | styles
    unchecked = [item.file for part in found.checks for item in part.not_checked]
    assert unchecked == ["contact-sheet.png"]


def test_a_changed_image_is_named_with_both_hashes(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    file = path / "images" / "dog-01__golden.png"
    before = sha(file)
    pixels = decode_png(file.read_bytes()).copy()
    pixels[0, 0, 0] ^= 1
    file.write_bytes(encode_png(pixels))
    (finding,) = wrong(check(path)).pop("images")
    assert finding.file == "images/dog-01__golden.png"
    assert (finding.claimed, finding.found) == (before, sha(file))
    assert before != sha(file)


def test_missing_and_foreign_images(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    (path / "images" / "dog-01__golden.png").unlink()
    (path / "images" / "thumbs.db").write_bytes(b"x")
    findings = wrong(check(path))["images"]
    assert [(item.file, bool(item.claimed)) for item in findings] == [
        ("images/dog-01__golden.png", True), ("images/thumbs.db", False),
    ]  # fmt: skip


def test_another_config_under_the_old_hash(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    edit(path, lambda facts: facts["config"].update(seed=7))
    findings = wrong(check(path))["config"]
    assert {item.file for item in findings} == {
        "manifest.json: config_hash", "the directory's place",
    }  # fmt: skip
    assert findings[0].claimed == path.name
    config = json.loads((path / "manifest.json").read_text())["config"]
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    assert findings[0].found == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_a_run_that_was_moved_under_another_method(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    moved = path.parents[1] / "ours" / path.name
    moved.parent.mkdir()
    path.rename(moved)
    (finding,) = wrong(check(moved))["config"]
    assert finding.file == "the directory's place"
    assert "afhq/identity/" in (finding.claimed or "")
    assert "afhq/ours/" in (finding.found or "")


def test_an_edited_chunk_record(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    edit(path, lambda facts: facts["samples"][0].update(prompt="Silver"), "chunks/000000.json")
    findings = wrong(check(path))
    assert "Silver" in (findings["chunk records"][0].found or "")
    assert "Golden" in (findings["chunk records"][0].claimed or "")
    assert findings["samples"][0].file == "samples.parquet: dog-01__golden"


def test_a_chunk_record_that_cannot_be_read(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    (path / "chunks" / "000001.json").write_text("{")
    findings = wrong(check(path))
    assert {item.file for item in findings["chunk records"]} >= {
        "chunks/000001.json", "manifest.json: status",
    }  # fmt: skip
    assert {item.file for item in findings["images"]} == {
        "images/dog-02__golden.png", "images/dog-02__red-bricks.png",
    }  # fmt: skip


def change_scores(path: Path) -> None:
    table = pq.read_table(path / "scores.parquet")
    values = pc.if_else(pc.equal(table["metric"], "clip_score"), pc.add(table["value"], 0.5),
                        table["value"])  # fmt: skip
    place = table.schema.get_field_index("value")
    pq.write_table(table.set_column(place, "value", values), path / "scores.parquet")


def test_changed_scores_are_seen_by_their_hash(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    before = sha(path / "scores.parquet")
    change_scores(path)
    (finding,) = wrong(check(path))["derived files"]
    assert (finding.file, finding.claimed) == ("scores.parquet", before)
    assert finding.found == sha(path / "scores.parquet")


def test_changed_scores_under_a_new_hash_contradict_the_summary(
    copy: Callable[[str], Path],
) -> None:
    path = copy("identity")
    change_scores(path)
    reseal(path)
    found = check(path)
    assert set(wrong(found)) == {"scores and summary"}
    mean = next(item for item in wrong(found)["scores and summary"]
                if item.file == "summary.json: metrics.clip_score.mean")  # fmt: skip
    assert float(mean.found or 0) == pytest.approx(float(mean.claimed or 0) + 0.5)


def test_a_better_summary_is_found_out(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    edit(path, lambda facts: facts["metrics"]["clip_score"].update(mean=0.99), "summary.json")
    reseal(path)
    (finding,) = wrong(check(path))["scores and summary"]
    assert finding.file == "summary.json: metrics.clip_score.mean"
    assert finding.claimed == "0.99"
    rows = pq.read_table(path / "scores.parquet").to_pylist()
    values = [row["value"] for row in rows if row["metric"] == "clip_score"]
    assert float(finding.found or 0) == pytest.approx(np.mean(values))


def test_a_score_row_that_was_dropped(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    table = pq.read_table(path / "scores.parquet")
    pq.write_table(table.slice(1), path / "scores.parquet")
    reseal(path)
    findings = wrong(check(path))["scores and summary"]
    first = table["metric"][0].as_py()
    assert findings[0].file == f"scores.parquet: {first}"
    assert "3 rows are not those of the 4 samples" in (findings[0].note or "")


def test_a_failed_sample_that_is_called_made(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    table = pq.read_table(path / "samples.parquet")
    place = table.schema.get_field_index("status")
    status = pa.array(["failed", "ok", "ok", "ok"])
    pq.write_table(table.set_column(place, "status", status), path / "samples.parquet")
    reseal(path)
    found = check(path)
    assert set(wrong(found)) == {"samples"}
    (finding,) = wrong(found)["samples"]
    assert (finding.claimed, finding.found) == ("status failed", "status ok")


@pytest.mark.parametrize(("file", "which", "place"), [
    ("sources.parquet", "sources", "sources.parquet"),
    ("styles.parquet", "style images", "styles.parquet: night"),
])  # fmt: skip
def test_other_pictures_under_the_old_ids(
    copy: Callable[[str], Path], file: str, which: str, place: str
) -> None:
    path = copy("recolor")
    table = pq.read_table(path / file)
    pngs = table["png"].to_pylist()
    pngs[0] = encode_png(255 - decode_png(pngs[0]))
    column = table.schema.get_field_index("png")
    pq.write_table(table.set_column(column, "png", pa.array(pngs)), path / file)
    reseal(path)
    found = check(path)
    assert set(wrong(found)) == {which}
    (finding,) = wrong(found)[which]
    assert finding.file == place
    config = RunDirectory(path).read_manifest().config
    claimed = config.fingerprint if which == "sources" else config.prompts[0].style_sha256
    assert finding.claimed == claimed != finding.found


def test_weights_of_another_hash(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    edit(path, lambda facts: facts["models"]["judge"].update(sha256="0" * 64))
    (finding,) = wrong(check(path))["weights"]
    assert finding.file == "clip-score.safetensors (judge)"
    assert finding.claimed == "0" * 64
    assert finding.found == sha(MINI_WEIGHTS / "clip-score.safetensors")


def test_an_official_checkpoint_that_is_not_here_is_not_checked(
    copy: Callable[[str], Path], tmp_path: Path
) -> None:
    path = copy("identity")
    card = next(
        card for card in map(model_card, model_ids()) if card.kind == "vgg" and not card.ships
    )
    facts = {"id": card.id, "file": card.file, "sha256": "1" * 64}
    edit(path, lambda manifest: manifest["models"].update(vgg19=facts))
    found = check(path)
    assert found.verified is True
    (finding,) = named(found, "weights").not_checked
    assert "(vgg19)" in finding.file
    assert "not here" in (finding.note or "")
    # and is checked where it is
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / card.file).write_bytes(b"other weights")
    found = verify_run(path, tmp_path / "weights", {})
    (finding,) = wrong(found)["weights"]
    assert finding.found == hashlib.sha256(b"other weights").hexdigest()


def test_a_partial_run_is_told_apart(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    (path / "chunks" / "000001.json").unlink()
    for file in (path / "images").glob("dog-02*"):
        file.unlink()
    found = check(path)
    assert found.verified is False, "the manifest still says complete"
    score_run(path, metrics=["ssim"], weights_dir=None)
    found = check(path)
    assert found.verified is True
    assert found.what.startswith("partial: 2 of 4 samples were made")


def test_a_run_that_was_never_finished(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    for name in ("samples.parquet", "scores.parquet", "summary.json", "contact-sheet.png"):
        (path / name).unlink()
    edit(path, lambda facts: facts.update(status="running", files={}, counts={}))
    found = check(path)
    assert found.verified is True
    assert "never finished" in found.what
    notes = [item.note for part in found.checks for item in part.not_checked]
    assert "the run was never scored" in notes
    assert "the manifest holds no hash of it" in notes


def test_a_smoke_run_is_never_verified(
    copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy("identity")
    edit(path, lambda facts: facts.update(smoke=True))
    assert verify([path], None, as_json=True) is False
    (report,) = json.loads(capsys.readouterr().out)["runs"]
    assert report["verified"] is None
    assert "random weights" in report["what"]


def test_a_metric_of_another_version_is_not_computed_anew(copy: Callable[[str], Path]) -> None:
    path = copy("identity")
    table = pq.read_table(path / "scores.parquet")
    place = table.schema.get_field_index("metric_version")
    old = pc.if_else(pc.equal(table["metric"], "ssim"), 99, table["metric_version"])
    pq.write_table(
        table.set_column(place, table.schema.field(place), old.cast(pa.int32())),
        path / "scores.parquet",
    )
    reseal(path)
    found = check(path)
    assert found.verified is True
    (finding,) = named(found, "scores and summary").not_checked
    assert finding.file == "scores.parquet: ssim"
    assert "version 99" in (finding.note or "")


@pytest.mark.parametrize("garbage", ["{}", "[]", "null", "", '{"metrics": [1]}',
                                     '{"metrics": {"ssim": 3}}'])  # fmt: skip
def test_a_summary_that_is_none(copy: Callable[[str], Path], garbage: str) -> None:
    path = copy("identity")
    (path / "summary.json").write_text(garbage)
    assert set(wrong(check(path))) == {"scores and summary", "derived files"}


def test_damaged_and_missing_runs(
    copy: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy("identity")
    (path / "manifest.json").write_text("{")
    with pytest.raises(RunDirectoryError):
        check(path)
    assert verify([tmp_path], None, as_json=False) is False
    assert "cannot be read" in capsys.readouterr().out
    with pytest.raises(UsageError, match="not a folder"):
        verify([tmp_path / "nothing"], None, as_json=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no run in or below"):
        verify([tmp_path / "empty"], None, as_json=False)


def test_several_runs_are_found_below_a_folder(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = runs["identity"].parents[3]
    assert verify([root, runs["identity"]], None, as_json=True) is True
    found = json.loads(capsys.readouterr().out)
    assert [report["path"] for report in found["runs"]] == sorted(map(str, runs.values()))


FILES = ("sources.parquet", "styles.parquet", "samples.parquet", "scores.parquet", "summary.json",
         "images/dog-01__night.png", "images/dog-02__water.png")  # fmt: skip


@settings(max_examples=25, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(file=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_sealed_file_is_found(
    runs: dict[str, Path], tmp_path: Path, file: str, where: float, bit: int
) -> None:
    path = tmp_path / Path(*runs["recolor"].parts[-4:])
    if not path.exists():
        shutil.copytree(runs["recolor"], path)
    before = (path / file).read_bytes()
    data = bytearray(before)
    data[int(where * len(data))] ^= 1 << bit
    (path / file).write_bytes(bytes(data))
    try:
        found = check(path)
    finally:
        (path / file).write_bytes(before)
    assert found.verified is False
    assert any(item.file.startswith(file) for items in wrong(found).values() for item in items)
