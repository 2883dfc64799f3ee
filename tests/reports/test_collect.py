"""Reading run directories: which are found, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmark.errors import RunDirectoryError, UsageError
from benchmark.run import RunDirectory
from reports.collect import collect, find_runs, read_run
from tests.runs import smooth_scores, write_run


def edit_manifest(path: Path, **changes: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_runs_are_found_at_any_depth_each_once_and_in_order(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", method="zecon", n_images=1)
    second = write_run(tmp_path / "b" / "deep", method="ours", n_images=1)
    inside = second / "images" / "manifest.json"
    inside.write_text("{}")  # below a run nothing is searched
    assert find_runs([tmp_path, first, tmp_path / "b"]) == sorted([first, second])


def test_a_folder_without_runs_and_a_path_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run in or below"):
        find_runs([tmp_path])
    with pytest.raises(UsageError, match="is not a folder"):
        find_runs([tmp_path / "nothing"])


def test_a_run_is_read_as_it_was_scored(tmp_path: Path) -> None:
    def scores(metric: str, image_id: str, prompt_id: str) -> float | None:
        if metric == "lpips_vgg" and image_id == "image0001":
            return None
        return smooth_scores(0.1)(metric, image_id, prompt_id)

    path = write_run(tmp_path, n_images=3, scores=scores, failed=["image0002__golden"])
    run = read_run(path)
    assert run.state == "complete" and run.notes == ()
    assert run.image_ids == ("image0000",) * 2 + ("image0001",) * 2 + ("image0002",) * 2
    assert run.prompt_ids == ("golden", "red-bricks") * 3
    assert run.made.tolist() == [True] * 4 + [False, True]
    assert run.failures == (("image0002__golden", "the output is not finite"),)
    lpips = run.scores["lpips_vgg"]
    assert np.isnan(lpips.values).tolist() == [False, False, True, True, True, False]
    assert lpips.statuses == {"no_face": 2, "failed": 1}
    assert lpips.values[0] == scores("lpips_vgg", "image0000", "golden")


def test_missing_samples_make_a_run_incomplete(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, n_images=3, missing=2))
    assert run.state == "incomplete" and run.n_made == 4
    assert run.notes == ("2 of 6 samples were never run",)


def test_a_run_without_scores_is_incomplete(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, unscored=True))
    assert run.state == "incomplete" and "not scored" in run.notes


def test_a_changed_image_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    image = RunDirectory(path).image_path("image0001__golden")
    image.write_bytes(RunDirectory(path).image_path("image0000__golden").read_bytes())
    with pytest.raises(RunDirectoryError, match=r"image0001__golden\.png: the image is not"):
        read_run(path)
    assert read_run(path, verify_images=False).n_made == 8


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    RunDirectory(path).image_path("image0003__red-bricks").unlink()
    with pytest.raises(RunDirectoryError, match=r"image0003__red-bricks\.png: .* is missing"):
        read_run(path)


def test_a_changed_score_is_seen(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    file = path / "scores.parquet"
    table = pq.read_table(file)
    values = table["value"].to_pylist()
    values[0] = 0.99
    index = table.schema.get_field_index("value")
    pq.write_table(table.set_column(index, table.schema.field("value"), [values]), file)
    with pytest.raises(RunDirectoryError, match=r"scores\.parquet.*SHA-256") as caught:
        read_run(path)
    assert f"bench score {path}" in str(caught.value)


@pytest.mark.parametrize("name", ["samples.parquet", "summary.json", "sources.parquet"])
def test_a_lost_derived_file_is_named(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path)
    (path / name).unlink()
    with pytest.raises(RunDirectoryError, match=name.replace(".", r"\.")):
        read_run(path)


def test_an_edited_config_no_longer_fits_its_hash(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    config = json.loads((path / "manifest.json").read_text())["config"]
    edit_manifest(path, config={**config, "seed": 7})
    with pytest.raises(RunDirectoryError, match="the file was edited"):
        read_run(path)


def test_a_run_of_schema_1_is_read_and_marked(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["files"]
    (path / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 1}))
    run = read_run(path)
    assert run.state == "complete"
    assert any("before derived files were sealed" in note for note in run.notes)


def test_a_run_of_an_unknown_schema_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    edit_manifest(path, schema_version=99)
    with pytest.raises(RunDirectoryError, match="schema version 99"):
        read_run(path)


def test_all_bad_runs_are_named_at_once(tmp_path: Path) -> None:
    good = write_run(tmp_path, method="ours")
    bad = [write_run(tmp_path, method=name) for name in ("zecon", "gatys")]
    for path in bad:
        (path / "manifest.json").write_text("{")
    with pytest.raises(RunDirectoryError) as caught:
        collect([tmp_path])
    message = str(caught.value)
    assert all(str(path / "manifest.json") in message for path in bad)
    assert str(good) not in message


def test_progress_is_told_for_every_run(tmp_path: Path) -> None:
    for method in ("ours", "zecon", "gatys"):
        write_run(tmp_path, method=method, n_images=1)
    steps: list[tuple[int, int]] = []
    collect([tmp_path], progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
