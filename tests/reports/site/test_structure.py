"""Pages as documents: links that lead somewhere, headings in order, nothing from elsewhere."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from reports.board import Report
from tests.reports.site.html import Document, parse
from tests.reports.site.reports import board_named, pages_of


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[Path, Document]:
    return {page: parse(page) for page in pages_of(site)}


def test_there_is_a_page_for_every_run_and_board(report: Report, site: Path) -> None:
    rows = [row for board in report.boards for row in board.rows]
    assert len(rows) == 8
    assert {path.stem for path in (site / "runs").glob("*.html")} == {row.id for row in rows}
    boards = {board.id for board in report.boards}
    assert {path.stem for path in (site / "datasets").glob("*.html")} == boards
    assert {path.stem for path in (site / "gallery").glob("*.html")} == boards


def test_every_link_leads_to_a_file_or_an_id(documents: dict[Path, Document], site: Path) -> None:
    n_links = 0
    for page, document in documents.items():
        for element in document.elements:
            for name in ("href", "src"):
                target = element.attributes.get(name)
                if target is None:
                    continue
                parts = urlsplit(target)
                if parts.scheme:
                    assert element.tag == "a", f"{page} loads {target}"
                    assert parts.scheme == "https"
                    assert element.attributes["rel"] == "noreferrer"
                    continue
                n_links += 1
                file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                assert file.is_relative_to(site.resolve())
                assert file.is_file(), f"{page}: {target}"
                if parts.fragment:
                    ids = {found.attributes.get("id") for found in documents[file].elements}
                    assert parts.fragment in ids, f"{page}: {target}"
    assert n_links > 200


def test_ids_are_unique_and_references_meet_them(documents: dict[Path, Document]) -> None:
    for page, document in documents.items():
        ids = [e.attributes["id"] for e in document.elements if "id" in e.attributes]
        assert len(ids) == len(set(ids)), page
        for element in document.elements:
            for name in ("aria-labelledby", "aria-describedby", "for", "data-filter-for"):
                for wanted in (element.attributes.get(name) or "").split():
                    assert wanted in ids, f"{page}: {name}={wanted}"


def test_headings_are_in_order_and_pictures_have_texts(documents: dict[Path, Document]) -> None:
    n_pictures = 0
    for page, document in documents.items():
        levels = [int(e.tag[1]) for e in document.elements if re.fullmatch("h[1-6]", e.tag)]
        assert levels[0] == 1, page
        assert levels.count(1) == 1, page
        steps = [b - a for a, b in itertools.pairwise(levels)]
        assert all(step <= 1 for step in steps), f"{page}: {levels}"
        for image in document.all("img"):
            if "src" in image.attributes:  # the gallery's larger view gets both by script
                n_pictures += 1
                assert image.attributes["alt"]
                assert image.attributes["loading"] == "lazy"
                assert image.attributes["width"] == image.attributes["height"] == "64"
        for drawing in document.all("svg"):
            assert drawing.attributes.get("aria-labelledby") or drawing.attributes["aria-label"]
    assert n_pictures > 60


def test_pages_forbid_what_is_not_their_own(documents: dict[Path, Document]) -> None:
    for page, document in documents.items():
        (policy,) = [
            e.attributes["content"]
            for e in document.all("meta")
            if e.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy is not None
        assert policy.startswith("default-src 'none'; script-src 'self' file:;")
        assert "unsafe" not in policy
        assert "http" not in policy
        for element in document.elements:
            handlers = [name for name in element.attributes if name.startswith("on")]
            assert not handlers, page
            assert "style" not in element.attributes, page
        for script in document.all("script"):
            assert script.attributes.get("src"), f"{page} has an inline script"


def test_the_table_holds_the_reports_numbers(
    report: Report, documents: dict[Path, Document], site: Path
) -> None:
    board = board_named(report, "afhq")
    cells = [e for e in documents[site / "index.html"].all("td") if "data-value" in e.attributes]
    shown = {e.attributes["data-value"] for e in cells}
    for row in board.rows:
        for cell in row.cells.values():
            if cell.mean is not None:
                assert str(cell.mean) in shown
    best = [e for e in cells if re.match(r"\s*\S+ best", e.text)]
    n_columns = len(board.metrics) + len(report.boards[1].metrics)
    assert len(best) == n_columns, "one best run in each column of scores"
    (partly,) = [row for row in board.rows if row.run.method == "faceless"]
    assert partly.cells["edge_agreement"].n == 24
    assert any("n=24" in e.text for e in cells)


def test_an_incomplete_run_is_marked_and_has_no_means(
    report: Report, documents: dict[Path, Document], site: Path
) -> None:
    (row,) = [r for r in report.boards[0].rows if r.run.state == "incomplete"]
    (line,) = [
        e for e in documents[site / "index.html"].all("tr")
        if e.attributes.get("data-label") == row.label
    ]  # fmt: skip
    assert "incomplete: 23 of 28" in line.text
    assert line.text.count("n/a") >= len(report.boards[0].metrics)
    text = documents[site / "runs" / f"{row.id}.html"].all("main")[0].text
    assert "23 of 28 samples were made" in text


def test_a_run_page_has_what_reproduces_the_run(
    report: Report, documents: dict[Path, Document], site: Path
) -> None:
    for row in report.boards[0].rows:
        text = documents[site / "runs" / f"{row.id}.html"].all("main")[0].text
        manifest = row.run.manifest
        for wanted in (
            "bench run --method", manifest.config_hash, row.run.manifest_sha256,
            manifest.config.fingerprint, manifest.git_revision, "torch 2.5.0",
            "research use", "0" * 64, "Red bricks",
        ):  # fmt: skip
            assert wanted is not None
            assert wanted in text
        installed = row.run.method in {"ours", "zecon"}
        assert ("is not installed" in text) != installed
        copy = site / "manifests" / f"{row.id}.json"
        assert copy.read_bytes() == (row.run.path / "manifest.json").read_bytes()
    zecon = next(row for row in report.boards[0].rows if row.run.method == "zecon")
    page = documents[site / "runs" / f"{zecon.id}.html"]
    assert "https://arxiv.org/abs/2303.08622" in {e.attributes.get("href") for e in page.all("a")}
    assert page.all("main")[0].text.count("the output is not finite") == 2


def test_the_overview_is_empty_with_a_reason_where_a_dataset_is_missing(
    documents: dict[Path, Document], site: Path
) -> None:
    rows = [e.text for e in documents[site / "index.html"].all("tr") if "not run on" in e.text]
    faceless = [text for text in rows if text.startswith("faceless")]
    assert len(faceless) == 3, "one for each metric"
    for text in faceless:
        assert "not run on ffhq" in text
        assert "no mean, since 1 of 2 datasets are missing" in text


def test_reported_numbers_are_marked_as_such(documents: dict[Path, Document], site: Path) -> None:
    sections = documents[site / "index.html"].all("section")
    (reported,) = [e for e in sections if e.attributes.get("class") == "reported"]
    assert "Reported, not measured here" in reported.text
    assert "cannot be compared" in reported.text
    assert "0.092" in reported.text
