"""The folder as a whole: pictures, determinism, bad input, hostile strings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.errors import RunDirectoryError, UsageError
from reports.board import Report
from reports.collect import collect
from reports.leaderboard import build_report
from reports.site import names, write_site
from reports.site.axes import Axis, Box, axis, place_labels
from reports.site.cards import link_of
from reports.site.gallery import script_json
from reports.site.matrix import matrices_of
from tests.reports.site.html import parse
from tests.reports.site.reports import COMMAND, HOSTILE, SCRIPT, board_named, pages_of
from tests.runs import write_run


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def gallery_of(site: Path, board_id: str) -> dict[str, object]:
    text = (site / names.gallery_data(board_id)).read_text(encoding="utf-8")
    start = '"use strict";\nconst GALLERY = '
    assert text.startswith(start)
    loaded = json.loads(text.removeprefix(start).removesuffix(";\n"))
    assert isinstance(loaded, dict)
    return loaded


def test_equal_reports_give_equal_bytes(report: Report, site: Path, tmp_path: Path) -> None:
    again = write_site(report, tmp_path / "again", command=COMMAND).parent
    assert tree(again) == tree(site)


def test_a_site_is_replaced_and_anything_else_is_left_alone(report: Report, tmp_path: Path) -> None:
    small = replace(report, boards=report.boards[1:], overviews=())
    write_site(small, tmp_path / "site", command=COMMAND)
    (tmp_path / "site" / "runs" / "of-an-earlier-report.html").write_text("old")
    write_site(small, tmp_path / "site", command=COMMAND)
    assert not (tmp_path / "site" / "runs" / "of-an-earlier-report.html").exists()
    other = tmp_path / "holiday"
    other.mkdir()
    (other / "photo.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="holiday is not empty and holds no site"):
        write_site(small, other, command=COMMAND)
    with pytest.raises(UsageError, match="is a file"):
        write_site(small, other / "photo.png", command=COMMAND)
    assert (other / "photo.png").read_bytes() == b"mine"


def test_pictures_are_copied_as_they_are(report: Report, site: Path) -> None:
    board = board_named(report, "afhq")
    for row in board.rows:
        run = row.run
        copies = sorted((site / names.outputs(row.id)).iterdir())
        assert len(copies) == run.n_made
        for index, (sample, made) in enumerate(zip(run.manifest.sample_ids, run.made, strict=True)):
            copy = site / names.outputs(row.id) / names.image(index)
            assert copy.exists() == bool(made)
            if made:
                original = run.path / "images" / f"{sample}.png"
                assert copy.read_bytes() == original.read_bytes()
    assert len(list((site / names.sources(board.id)).iterdir())) == len(board.image_ids)
    assert not (site / "thumbs").exists()


def test_large_pictures_get_thumbnails(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", n_images=1, side=300)
    report = build_report(collect([tmp_path / "runs"]))
    site = write_site(report, tmp_path / "site", command=COMMAND).parent
    row = report.boards[0].rows[0]
    copy = site / names.outputs(row.id) / "00001.png"
    assert copy.read_bytes() == (run / "images" / "image0000__red-bricks.png").read_bytes()
    with Image.open(site / names.thumbnails(names.outputs(row.id)) / "00001.png") as small:
        assert small.size == (256, 256)
    for page in pages_of(site):
        parse(page)


def test_gallery_data_hold_the_scores_and_the_failures(report: Report, site: Path) -> None:
    board = board_named(report, "afhq")
    data = gallery_of(site, board.id)
    assert data["images"] == list(board.image_ids)
    runs = data["runs"]
    assert isinstance(runs, list)
    for row, entry in zip(board.rows, runs, strict=True):
        for metric, stored in zip(board.metrics, entry["scores"], strict=True):
            if metric.name not in row.run.scores:
                assert stored is None
                continue
            values = row.run.scores[metric.name].values
            for value, found in zip(values.tolist(), stored, strict=True):
                assert found is None if value != value else found == pytest.approx(value, rel=1e-8)
        n_missing = len(row.run.made) - row.run.n_made
        assert len(entry["problems"]) == n_missing
    problems = {entry["label"]: set(entry["problems"].values()) for entry in runs}
    assert problems["zecon"] == {"failed: the output is not finite"}
    assert problems["broken-off"] == {"never run"}


@pytest.mark.parametrize("change", ["one run", "nothing complete", "nothing scored", "one sample"])
def test_poor_reports_are_written(change: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    if change == "one run":
        write_run(runs)
    elif change == "one sample":
        write_run(runs, n_images=1, prompts={"golden": "Golden"})
        write_run(runs, n_images=1, prompts={"golden": "Golden"}, method="zecon")
    else:
        for method in ("ours", "zecon"):
            write_run(runs, method=method, missing=3, unscored=change == "nothing scored")
    site = write_site(build_report(collect([runs])), tmp_path / "site", command=COMMAND).parent
    text = parse(site / "index.html").all("main")[0].text
    if change.startswith("nothing"):
        assert "incomplete: 5 of 8" in text
        assert "No complete run has both" in text
    if change != "one sample":
        assert "A comparison needs two complete runs" in text
    for page in pages_of(site):
        parse(page)


def test_a_sample_that_leads_out_of_the_run_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", n_images=1, prompts={"golden": "Golden"})
    report = build_report(collect([tmp_path / "runs"]))
    row = report.boards[0].rows[0]
    row.run.manifest.sample_ids[0] = "../../secret__golden"
    with pytest.raises(RunDirectoryError, match=r"lists the sample '\.\./\.\./secret__golden'"):
        write_site(report, tmp_path / "site", command=COMMAND)


def test_hostile_strings_are_shown_as_text(hostile_site: Path) -> None:
    flat = " ".join(HOSTILE.split())
    for page in pages_of(hostile_site):
        document = parse(page)
        scripts = [e for e in document.elements if e.tag == "script"]
        assert all("alert" not in e.text and "src" in e.attributes for e in scripts)
        assert all("onerror" not in e.attributes for e in document.elements)
        shown = " ".join(document.all("body")[0].text.split())
        assert flat in shown, f"{page} does not show the string whole"
        assert "{{ 7 * 7 }}" in shown
    for path in hostile_site.rglob("*"):
        assert all(sign not in path.name for sign in "<>\"' "), path
        assert len(path.name) < 130


def test_hostile_strings_cannot_end_a_script(hostile_site: Path) -> None:
    (path,) = (hostile_site / "data").iterdir()
    text = path.read_text(encoding="ascii")
    assert "<" not in text
    data = gallery_of(hostile_site, path.stem)
    prompts = data["prompts"]
    assert isinstance(prompts, list)
    assert prompts == [HOSTILE, "__proto__"]
    assert SCRIPT in prompts[0]


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists))
def test_script_json_is_json_without_signs_that_end_a_script(value: object) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set(text) & set("<>&\n")


def test_script_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json([float("nan")])


@given(st.text("abcdefghij0123456789-", min_size=1, max_size=400))
def test_file_names_are_short_and_tell_ids_apart(identifier: str) -> None:
    assert len(names.stem(identifier)) <= names.LONGEST
    if len(identifier) > names.LONGEST:
        assert names.stem(identifier) != names.stem(identifier + "x")


finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


@given(st.lists(finite, min_size=1, max_size=20))
def test_an_axis_holds_its_values_and_has_readable_ticks(values: list[float]) -> None:
    found = axis(values, 0, 100)
    assert found.low <= min(values)
    assert found.high >= max(values)
    assert 3 <= len(found.ticks) <= 12
    assert len({text for _, text in found.ticks}) == len(found.ticks)
    assert all(abs(float(text) - value) <= 1e-6 * max(1, abs(value)) for value, text in found.ticks)
    places = [found.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


def test_an_axis_runs_downwards_too() -> None:
    assert Axis(0, 1, 400, 20, ()).at(0.5) == 210


def test_labels_of_close_points_do_not_cover_each_other() -> None:
    points = [(100.0, 100.0, 6.0), (104.0, 102.0, 6.0), (96.0, 103.0, 6.0)]
    labels = place_labels(points, ["alpha", "beta", "gamma"], Box(0, 0, 300, 300))
    boxes = []
    for label, text in zip(labels, ("alpha", "beta", "gamma"), strict=True):
        width = 7.2 * len(text)
        left = label.x - {"start": 0, "middle": width / 2, "end": width}[label.anchor]
        boxes.append(Box(left, label.y - 12, left + width, label.y + 4))
    assert sum(a.overlap(b) for i, a in enumerate(boxes) for b in boxes[:i]) == 0


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("arXiv 2303.08622", "https://arxiv.org/abs/2303.08622"),
        ("Choi et al., CVPR 2020, arXiv 1912.01865", "https://arxiv.org/abs/1912.01865"),
        ("github.com/a/b@51e679e", "https://github.com/a/b/tree/51e679e"),
        ("javascript:alert(1)", None),
        ("https://example.org/", None),
        ("github.com/a/b@51e679e/../..", None),
        ("arXiv 2303.0862212345", None),
    ],
)
def test_links_are_made_only_of_what_is_known(text: str, url: str | None) -> None:
    assert link_of(text) == url


def test_notes_of_a_board_are_shown_and_pairs_that_were_not_compared_are_left_blank(
    report: Report, tmp_path: Path
) -> None:
    board = report.boards[0]
    name, duels = next((n, d) for n, d in board.duels.items() if len(d) > 2)
    against_first = tuple(duel for duel in duels if duel.first == duels[0].first)
    fewer = replace(board, notes=("a <remark>",), duels={name: against_first})
    index = write_site(
        replace(report, boards=(fewer,), overviews=()), tmp_path / "site", command=[]
    )
    assert "a &lt;remark&gt;." in index.read_text(encoding="utf-8")
    (matrix,) = matrices_of(fewer)
    shown = [[cell is not None for cell in row] for row in matrix.cells]
    runs = range(len(matrix.labels))
    assert shown == [[(i == 0) != (j == 0) for j in runs] for i in runs]
