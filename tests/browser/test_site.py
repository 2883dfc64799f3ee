"""The report's site in a browser, opened from a folder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from reports.board import Board, Report
from reports.site import names, write_site
from tests.browser.conftest import Watched
from tests.reports.site.reports import COMMAND, board_named, hostile_report, small_report

LUMINANCE = (0.2126, 0.7152, 0.0722)  # WCAG 2, relative luminance


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return small_report(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def site(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(report, tmp_path_factory.mktemp("site") / "out", command=COMMAND).parent


@pytest.fixture(scope="module")
def board(report: Report) -> Board:
    return board_named(report, "afhq")


@pytest.fixture
def index(watched: Watched, site: Path) -> Page:
    watched.page.goto((site / "index.html").as_uri())
    return watched.page


@pytest.fixture
def gallery(watched: Watched, site: Path, board: Board) -> Page:
    watched.page.goto((site / names.gallery_page(board.id)).as_uri())
    return watched.page


def labels(page: Page, board: Board) -> list[str]:
    rows = page.locator(f"#t-{board.id} tbody tr:visible")
    found = rows.evaluate_all("rows => rows.map(row => row.dataset.label)")
    assert isinstance(found, list)
    return found


def by_hand(board: Board, values: dict[str, float | None], descending: bool) -> list[str]:
    """Labels sorted by value; ties in the board's order, missing ones last."""
    place = {row.label: number for number, row in enumerate(board.rows)}
    there = [(v, label) for label, v in values.items() if v is not None]
    there.sort(key=lambda item: (-item[0] if descending else item[0], place[item[1]]))
    missing = [row.label for row in board.rows if values[row.label] is None]
    return [label for _, label in there] + missing


def header(page: Page, board: Board, title: str) -> Any:
    starts = re.compile(rf"^{re.escape(title)}(\s|$)")
    button = page.locator("button").filter(has_text=starts)
    return page.locator(f"#t-{board.id} thead th").filter(has=button)


@pytest.mark.parametrize("metric", ["clip_score_patch", "lpips_vgg", "edge_agreement"])
def test_a_click_on_a_header_sorts_by_number_and_leaves_missing_last(
    index: Page, board: Board, metric: str
) -> None:
    values = {row.label: row.cells[metric].mean for row in board.rows}
    assert None in values.values()
    higher = metric != "lpips_vgg"
    column = header(index, board, metric)
    column.get_by_role("button").click()
    assert labels(index, board) == by_hand(board, values, descending=higher), "best first"
    assert column.get_attribute("aria-sort") == ("descending" if higher else "ascending")
    column.get_by_role("button").click()
    assert labels(index, board) == by_hand(board, values, descending=not higher)
    assert column.get_attribute("aria-sort") == ("ascending" if higher else "descending")
    assert index.locator(f"#t-{board.id} [aria-sort]").count() == 1


@pytest.mark.parametrize("key", ["Enter", " "])
def test_the_keyboard_sorts_seconds_as_numbers(index: Page, board: Board, key: str) -> None:
    seconds = {row.label: row.cost.seconds_median for row in board.rows}
    button = header(index, board, "s/image").get_by_role("button")
    button.focus()
    index.keyboard.press(key)
    assert labels(index, board) == by_hand(board, seconds, descending=False)
    assert labels(index, board)[-1] == "zecon", "12 s come after 9 s"
    expect(button).to_be_focused()
    index.keyboard.press(key)
    assert labels(index, board) == by_hand(board, seconds, descending=True)


def test_runs_sort_by_name_and_back(index: Page, board: Board) -> None:
    header(index, board, "Run").get_by_role("button").click()
    assert labels(index, board) == sorted((row.label for row in board.rows), key=str.lower)


def test_filter_by_text_and_method(index: Page, board: Board) -> None:
    form = index.locator(f"form[data-filter-for='t-{board.id}']")
    form.get_by_label("Filter runs").fill("T0=10")
    (wanted,) = [row.label for row in board.rows if "t0=10" in row.label]
    assert labels(index, board) == [wanted]
    expect(form.locator("output")).to_have_text("1 of 6 runs shown")
    form.get_by_label("Method").select_option("zecon")
    assert labels(index, board) == []
    form.get_by_label("Filter runs").fill("")
    assert labels(index, board) == ["zecon"]
    form.get_by_label("Method").select_option("")
    assert len(labels(index, board)) == 6
    expect(form.locator("output")).to_have_text("")


def test_a_cell_tells_its_story_on_hover_and_by_arrow_keys(index: Page, board: Board) -> None:
    cells = index.locator(f"#t-{board.id} td[data-tip]")
    assert cells.evaluate_all("cells => cells.filter(c => c.tabIndex === 0).length") == 1
    row = board.rows[0]
    cell = row.cells["clip_score_patch"]
    assert cell.p_first is not None
    line = index.locator(f"#t-{board.id} tbody tr").first
    line.locator("td").nth(3).hover()
    tip = index.locator("#tip")
    expect(tip).to_contain_text(f"clip_score_patch {cell.mean:.6g}; 95 % interval")
    expect(tip).to_contain_text(f"in {100 * cell.p_first:.3g} % of resamplings")
    index.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    line.locator("td").nth(2).focus()
    index.keyboard.press("ArrowRight")
    expect(tip).to_contain_text("clip_score_patch")
    index.keyboard.press("ArrowDown")
    second = board.rows[1].cells["clip_score_patch"]
    expect(tip).to_contain_text(f"clip_score_patch {second.mean:.6g}")
    index.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_one_metrics_matrix_is_shown_and_it_says_who_wins(index: Page, board: Board) -> None:
    group = index.locator("section.board").first.locator("[data-choice]")
    shown = group.locator("table.matrix:visible")
    expect(shown).to_have_count(1)
    group.locator("select").select_option(label="lpips_vgg ↓")
    expect(shown).to_have_count(1)
    duels = board.duels["lpips_vgg"]
    assert any(duel.winner for duel in duels)
    place = {row.id: number for number, row in enumerate(board.rows)}
    rows = sorted({name for d in duels for name in (d.first, d.second)}, key=place.__getitem__)
    for duel in duels:
        for own, other in ((duel.first, duel.second), (duel.second, duel.first)):
            line = shown.locator("tbody tr").nth(rows.index(own))
            verdict = "undecided" if duel.winner is None else "better"
            verdict = "worse" if duel.winner == other else verdict
            cell = line.locator("td").nth(rows.index(other))
            assert cell.get_attribute("class") == verdict
            mean = duel.comparison.mean_difference
            assert mean is not None
            text = re.sub(r"[▲▼]|better:|worse:|\s", "", cell.text_content() or "")
            assert float(text) == pytest.approx(mean * (1 if own == duel.first else -1), abs=6e-4)


def test_every_picture_that_comes_into_view_loads(gallery: Page) -> None:
    images = gallery.locator("#samples img")
    assert images.count() > 100
    gallery.evaluate("scrollTo(0, document.body.scrollHeight)")
    last = images.last
    last.scroll_into_view_if_needed()
    for picture in images.all()[-6:]:
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    assert images.evaluate_all("all => all.every(i => i.loading === 'lazy')")
    box = last.bounding_box()
    assert box is not None
    assert box["width"] == box["height"] == 128


def test_pictures_far_below_wait(browser: Browser, tmp_path: Path) -> None:
    from reports.collect import collect
    from reports.leaderboard import build_report
    from tests.runs import write_run

    for method in ("ours", "zecon"):
        write_run(tmp_path / "runs", method=method, n_images=40)
    found = build_report(collect([tmp_path / "runs"]))
    site = write_site(found, tmp_path / "site", command=COMMAND).parent
    context = browser.new_context(viewport={"width": 390, "height": 600})
    page = context.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto((site / names.gallery_page(found.boards[0].id)).as_uri())
    page.wait_for_load_state("networkidle")
    outputs = [url for url in requested if "/images/" in url and "-sources" not in url]
    assert 0 < len(outputs) < 48, "a page has 48 outputs, most of them far below"
    context.close()


def places(page: Page) -> list[int]:
    found = page.locator("#samples > li").evaluate_all(
        "items => items.map(item => Number(item.dataset.place))"
    )
    assert isinstance(found, list)
    return found


def all_places(page: Page) -> list[int]:
    found = places(page)
    following = page.get_by_role("button", name="Next", exact=True).first
    while following.is_enabled():
        following.click()
        found += places(page)
    return found


def test_pages_of_the_gallery_hold_every_sample_once(gallery: Page) -> None:
    expect(gallery.locator("#count")).to_have_text("samples 1 to 24 of 28")
    expect(gallery.get_by_role("button", name="Previous", exact=True).first).to_be_disabled()
    assert all_places(gallery) == list(range(28))
    expect(gallery.locator("#count")).to_have_text("samples 25 to 28 of 28")
    gallery.get_by_role("button", name="Previous", exact=True).last.click()
    assert places(gallery) == list(range(24))


@pytest.mark.parametrize("metric", ["clip_score_patch", "edge_agreement"])
@pytest.mark.parametrize("order", ["best", "worst"])
def test_the_gallery_sorts_by_a_metric_of_a_run(
    gallery: Page, board: Board, metric: str, order: str
) -> None:
    number, row = next((n, r) for n, r in enumerate(board.rows) if r.label == "faceless")
    values = row.run.scores[metric].values
    higher = next(m.direction for m in board.metrics if m.name == metric) == "higher"
    sign = -1 if higher == (order == "best") else 1
    expected = sorted(
        range(len(values)),
        key=lambda place: (
            bool(np.isnan(values[place])),
            np.nan_to_num(sign * values[place]),
            place,
        ),
    )
    gallery.locator("#order").select_option(order)
    names_of_metrics = [m.name for m in board.metrics]
    gallery.locator("#metric").select_option(str(names_of_metrics.index(metric)))
    gallery.locator("#of").select_option(str(number))
    assert all_places(gallery) == expected


def test_failures_come_first_when_asked_for(gallery: Page, board: Board) -> None:
    gallery.locator("#order").select_option("failures")
    failed = np.sum([~row.run.made for row in board.rows], axis=0)
    expected = sorted(range(28), key=lambda place: (-failed[place], place))
    assert all_places(gallery) == expected
    gallery.get_by_role("button", name="Previous", exact=True).first.click()
    expect(gallery.get_by_text("failed: the output is not finite").first).to_be_visible()


def test_the_gallery_filters_by_prompt_image_and_run(gallery: Page) -> None:
    gallery.get_by_label("Prompt").select_option(label="Golden")
    assert all_places(gallery) == list(range(0, 28, 2))
    gallery.get_by_role("searchbox", name="Image").fill("IMAGE0003")
    assert places(gallery) == [6]
    expect(gallery.locator("#samples figure")).to_have_count(7)
    gallery.get_by_role("checkbox", name="zecon").uncheck()
    expect(gallery.locator("#samples figure")).to_have_count(6)
    assert gallery.locator("#samples figcaption").filter(has_text="zecon").count() == 0
    gallery.get_by_role("searchbox", name="Image").fill("nothing like it")
    assert places(gallery) == []
    expect(gallery.locator("#count")).to_have_text("no sample fits")


def clip_of(page: Page, selector: str) -> str:
    found = page.locator(selector).first.evaluate("e => getComputedStyle(e).clipPath")
    assert isinstance(found, str)
    return found


def test_the_slider_is_moved_by_keyboard_and_uncovers_the_source(
    gallery: Page, board: Board
) -> None:
    gallery.locator("button.shot").first.focus()
    gallery.keyboard.press("Enter")
    view = gallery.locator("#view")
    expect(view).to_be_visible()
    slider = gallery.get_by_role("slider", name="Source shown")
    expect(slider).to_be_focused()
    assert clip_of(gallery, "#stage-output") == "inset(0px 0px 0px 50%)"
    for _ in range(3):
        gallery.keyboard.press("ArrowRight")
    assert clip_of(gallery, "#stage-output") == "inset(0px 0px 0px 53%)"
    assert slider.get_attribute("aria-valuetext") == "53 % source, 47 % output"
    gallery.keyboard.press("End")
    assert clip_of(gallery, "#stage-output") == "inset(0px 0px 0px 100%)"
    gallery.keyboard.press("Home")
    assert clip_of(gallery, "#stage-output") == "inset(0px 0px 0px 0%)"
    for picture in ("#stage-source", "#stage-output"):
        expect(gallery.locator(picture)).to_have_js_property("naturalWidth", 64)
    row = board.rows[0]
    for metric in board.metrics:
        line = view.locator("tbody tr").filter(has_text=metric.name)
        value = row.run.scores[metric.name].values[0]
        assert float(line.locator("td").text_content() or "") == pytest.approx(value, rel=1e-3)
    gallery.keyboard.press("Escape")
    expect(view).to_be_hidden()
    expect(gallery.locator("button.shot").first).to_be_focused()


def test_the_larger_view_is_dragged_and_turned(gallery: Page) -> None:
    gallery.locator("button.shot").first.click()
    stage = gallery.locator("#stage").bounding_box()
    assert stage is not None
    gallery.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + 20)
    gallery.mouse.down()
    gallery.mouse.move(stage["x"] + stage["width"] / 4, stage["y"] + 20)
    gallery.mouse.up()
    assert gallery.locator("#cut").input_value() == "25"
    expect(gallery.locator("#view-title")).to_have_text("Golden, image0000")
    gallery.get_by_role("button", name="Next sample").click()
    expect(gallery.locator("#view-title")).to_have_text("Red bricks, image0000")
    gallery.get_by_role("button", name="Close").click()
    expect(gallery.locator("#view")).to_be_hidden()


def test_one_slider_wipes_all_outputs(gallery: Page) -> None:
    output = "button.shot img:nth-child(2)"
    assert clip_of(gallery, output) == "inset(0px 0px 0px 0%)"
    gallery.get_by_label("Output ↔ source").focus()
    gallery.keyboard.press("End")
    assert clip_of(gallery, output) == "inset(0px 0px 0px 100%)"


def colours_of(page: Page) -> list[dict[str, Any]]:
    """Text colour, background and a word of every element that holds text."""
    found = page.evaluate(
        """() => {
          const pixel = document.createElement("canvas").getContext("2d",
            { willReadFrequently: true });
          const rgba = (colour) => {
            pixel.clearRect(0, 0, 1, 1);
            pixel.fillStyle = colour;
            pixel.fillRect(0, 0, 1, 1);
            return [...pixel.getImageData(0, 0, 1, 1).data];
          };
          const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
              const colour = rgba(getComputedStyle(at).backgroundColor);
              if (colour[3] === 255) return colour;
            }
            throw new Error("no background");
          };
          return [...document.querySelectorAll("body *")]
            .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
            .filter((e) => e.checkVisibility() && !e.matches(":disabled, title, desc, option"))
            .map((e) => ({
              text: e.textContent.trim().slice(0, 40),
              front: rgba(getComputedStyle(e)[e instanceof SVGElement ? "fill" : "color"]),
              back: behind(e),
            }));
        }"""
    )
    assert isinstance(found, list)
    return found


def contrast(front: list[int], back: list[int]) -> float:
    def luminance(colour: list[int]) -> float:
        shares = [value / 255 for value in colour[:3]]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return sum(w * s for w, s in zip(LUMINANCE, linear, strict=True))

    light, dark = sorted((luminance(front), luminance(back)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_formula_knows_the_known_pairs() -> None:
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert contrast([119, 119, 119], [255, 255, 255]) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast_in_both_themes(
    watched: Watched, site: Path, board: Board, theme: str
) -> None:
    page = watched.page
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    pages = ["index.html", names.run_page(board.rows[-1].id), names.gallery_page(board.id),
             names.dataset_page(board.id)]  # fmt: skip
    for name in pages:
        page.goto((site / name).as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        if name.startswith("gallery"):
            page.locator("button.shot").first.click()
        texts = colours_of(page)
        assert len(texts) > 20
        for text in texts:
            assert contrast(text["front"], text["back"]) >= 4.5, f"{name}: {text}"
    back = colours_of(page)[0]["back"]
    assert (sum(back[:3]) > 382) == (theme == "light")


def test_the_theme_is_switched_and_remembered(index: Page, site: Path, board: Board) -> None:
    def paper() -> str:
        return str(index.evaluate("getComputedStyle(document.body).backgroundColor"))

    index.emulate_media(color_scheme="light")
    light = paper()
    button = index.get_by_role("button", name="Dark theme")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    dark = paper()
    assert dark != light
    expect(button).to_have_attribute("aria-pressed", "true")
    index.goto((site / names.run_page(board.rows[0].id)).as_uri())
    assert paper() == dark
    index.get_by_role("button", name="Dark theme").click()
    assert paper() == light


@pytest.mark.parametrize("width", [320, 390, 820])
def test_no_page_is_wider_than_a_phone(
    watched: Watched, site: Path, board: Board, width: int
) -> None:
    page = watched.page
    page.set_viewport_size({"width": width, "height": 844})
    for name in ("index.html", names.run_page(board.rows[0].id), names.gallery_page(board.id),
                 names.dataset_page(board.id)):  # fmt: skip
        page.goto((site / name).as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        widths = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths[0] <= widths[1] == width, name
    page.goto((site / "index.html").as_uri())
    box = page.locator(f".scroll:has(#t-{board.id})")
    name_of_run = page.locator(f"#t-{board.id} tbody th").first
    before = name_of_run.bounding_box()
    box.evaluate("box => { box.scrollLeft = 300; }")
    after = name_of_run.bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] == pytest.approx(before["x"], abs=1), "the first column stays in view"
    assert box.evaluate("box => box.scrollLeft") > 0


def test_what_can_be_used_is_reached_by_keyboard(
    watched: Watched, site: Path, board: Board
) -> None:
    page = watched.page
    for name in ("index.html", names.gallery_page(board.id)):
        page.goto((site / name).as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(400):
            key = page.evaluate(
                """() => {
                  const at = document.activeElement;
                  at.dataset.reached = "yes";
                  const style = getComputedStyle(at);
                  return [at.tagName, style.outlineStyle];
                }"""
            )
            if key[0] == "BODY":
                break
            reached.add(key[0])
            assert key[1] != "none", f"{name}: {key[0]} shows no focus"
            page.keyboard.press("Tab")
        wanted = "a[href], button:not(:disabled), select:not(:disabled), input, summary, .scroll"
        left = page.locator(wanted).evaluate_all(
            "all => all.filter(e => e.checkVisibility() && !e.dataset.reached)"
            ".map(e => e.outerHTML.slice(0, 80))"
        )
        assert left == [], name
        assert {"A", "BUTTON", "SELECT", "INPUT"} <= reached
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_without_javascript_the_tables_are_there(
    browser: Browser, site: Path, report: Report, board: Board
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    rows = page.locator(f"#t-{board.id} tbody tr")
    expect(rows).to_have_count(6)
    expect(rows.first).to_be_visible()
    expect(page.locator("table.matrix").first).to_be_visible()
    n_matrices = sum(len(b.duels[m.name]) > 0 for b in report.boards for m in b.metrics)
    expect(page.locator("table.matrix:visible")).to_have_count(n_matrices)
    expect(page.locator("form:visible")).to_have_count(0)
    cell = rows.first.locator("td").nth(3)
    assert "95 % interval" in (cell.get_attribute("title") or "")
    page.goto((site / names.gallery_page(board.id)).as_uri())
    expect(page.get_by_text("The gallery needs JavaScript")).to_be_visible()
    context.close()


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    return write_site(
        hostile_report(folder / "runs"), folder / "site", command=("bench", "</script>")
    ).parent


@pytest.fixture
def dialogs(watched: Watched) -> Iterator[list[str]]:
    opened: list[str] = []

    def note(dialog: Any) -> None:
        opened.append(dialog.message)
        dialog.dismiss()

    watched.page.on("dialog", note)
    yield opened
    assert opened == []


@pytest.mark.usefixtures("dialogs")
def test_a_hostile_run_is_shown_and_not_run(watched: Watched, hostile_site: Path) -> None:
    page = watched.page
    for width, path in itertools.product((1200, 390), sorted(hostile_site.rglob("*.html"))):
        page.set_viewport_size({"width": width, "height": 844})
        page.goto(path.as_uri())
        expect(page.locator("h1")).to_be_visible()
        if path.parent.name == "gallery":
            page.locator("#order").select_option("failures")
            expect(page.locator(".shot.missing").first).to_contain_text("<script>alert(1)")
            page.locator("button.shot").first.click()
            expect(page.locator("#view-title")).to_contain_text("onmouseover=alert(3)")
            page.keyboard.press("Escape")
        if path.name == "index.html":
            page.locator("td[data-tip]").first.hover()
            page.locator("td[data-tip]").nth(3).focus()
            page.locator("form select").first.select_option(index=1)
        texts = page.evaluate("document.body.innerText")
        assert "<script>alert(1)</script>" in texts
        assert page.locator("img[src='x']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_the_first_table_is_shown_quickly(watched: Watched, site: Path) -> None:
    watched.page.goto((site / "index.html").as_uri())
    watched.page.locator("table.leaderboard").first.wait_for()
    # the entry appears after the frame is shown, which may be later than the element; Playwright's
    # wait_for_function polls by eval(), which the page's Content-Security-Policy forbids
    painted = watched.page.evaluate(
        """() => new Promise(resolve => {
            new PerformanceObserver(entries => {
                const first = entries.getEntriesByName("first-contentful-paint")[0];
                if (first) resolve(first.startTime);
            }).observe({type: "paint", buffered: true});
        })"""
    )
    assert 0 < painted < 2000
