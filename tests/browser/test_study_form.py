"""The form of a user study in a real browser, and its files through ``bench study score``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from reports.study.answers import read_answer_file
from reports.study.key import load_key
from reports.study.new import new_study
from reports.study.result import load_study_result
from reports.study.score import score_study
from tests.browser.conftest import Watched
from tests.runs import write_run

STYLES = {"golden": "Golden", "odd": "</script><b>\"A\" & 'B'</b>"}
N_ITEMS = 10  # 2 images x 2 prompts x 2 methods, and 2 repeats


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("form")
    for method in ("ours", "zecon"):
        write_run(folder / "runs", method=method, n_images=2, prompts=STYLES)
    new_study([folder / "runs"], out=folder / "study", n_pairs=None, repeats=2, seed=0,
              title="Two & <two>", as_json=True)  # fmt: skip
    return folder / "study"


def address(study: Path) -> str:
    return (study / "form.html").as_uri()


def start(page: Page, study: Path, rater: str = "anna") -> None:
    page.goto(address(study))
    page.get_by_label("Your name in this study").fill(rater)
    page.get_by_label("I have read this and agree").check()
    page.get_by_role("button", name="Start").click()


def press(page: Page, question: str, value: int) -> None:
    """Click the line of a slider where ``value`` lies."""
    slider = page.get_by_role("slider", name=re.compile(question))
    box = slider.bounding_box()
    assert box is not None
    knob = 25.6
    x = knob / 2 + (box["width"] - knob) * value / 100
    slider.click(position={"x": x, "y": box["height"] / 2})


def answer(page: Page, content: int = 60, style: int = 80) -> None:
    press(page, "Content", content)
    press(page, "Style", style)


def save(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def stored(page: Page) -> dict[str, Any]:
    text = page.evaluate(
        "() => localStorage.getItem(Object.keys(localStorage).find("
        "(name) => name.startsWith('picture-study')))"
    )
    found: dict[str, Any] = json.loads(text)
    return found


def test_from_start_to_scores_by_keyboard_and_mouse(
    watched: Watched, study: Path, tmp_path: Path
) -> None:
    page = watched.page
    key = load_key(study)
    page.goto(address(study))
    expect(page.get_by_role("heading", level=1)).to_have_text("Two & <two>")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("checkbox")).to_be_focused()  # no start without consent
    page.get_by_label("Your name in this study").fill("anna")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")

    # the first picture by keyboard alone
    expect(page.get_by_role("heading", name=f"Picture 1 of {N_ITEMS}")).to_be_focused()
    content = page.get_by_role("slider", name=re.compile("Content"))
    style = page.get_by_role("slider", name=re.compile("Style"))
    for slider in (content, style):
        expect(slider).to_have_attribute("aria-valuetext", "not answered yet")
    page.keyboard.press("Tab")
    expect(content).to_be_focused()
    page.keyboard.press("Enter")  # does not leave a picture that has no answers
    expect(page.get_by_role("heading", name=f"Picture 1 of {N_ITEMS}")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    expect(content).to_have_attribute("aria-valuetext", "61 of 100")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # takes the middle, which no arrow key can reach at once
    expect(style).to_have_attribute("aria-valuetext", "50 of 100")
    page.keyboard.press("Enter")

    # the next ones by mouse, one left out
    expect(page.get_by_role("heading", name=f"Picture 2 of {N_ITEMS}")).to_be_focused()
    press(page, "Content", 50)  # exactly where the unseen knob lies
    expect(content).to_have_attribute("aria-valuetext", "50 of 100")
    press(page, "Style", 20)
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Skip for now").click()
    answer(page, 0, 100)
    expect(page.get_by_role("status").first).to_have_text(f"3 of {N_ITEMS} answered")
    before = stored(page)

    page.reload()
    expect(page.get_by_role("heading", name=f"Picture 4 of {N_ITEMS}")).to_be_visible()
    expect(content).to_have_attribute("aria-valuetext", "0 of 100")
    after = stored(page)
    assert (after["order"], after["seed"], after["rater"]) == (
        before["order"], before["seed"], "anna",
    )  # fmt: skip

    for _ in range(4, N_ITEMS):
        page.get_by_role("button", name="Next").click()
        answer(page)
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Not all pictures are answered")).to_be_focused()
    part = save(page, "Save answers", tmp_path)
    assert part.name == f"answers-{key.study_id}-anna.json"
    part = part.rename(tmp_path / "part.json")
    assert not read_answer_file(part, key).complete

    page.get_by_role("button", name="next unanswered picture").click()
    expect(page.get_by_role("heading", name=f"Picture 3 of {N_ITEMS}")).to_be_visible()
    answer(page, 33, 44)
    page.get_by_role("button", name="Overview").click()
    page.get_by_role("button", name="Stop here and save").click()
    expect(page.get_by_role("heading", name="All done")).to_be_visible()
    whole, table = save(page, "Save answers", tmp_path), save(page, "Save as CSV", tmp_path)

    answers = read_answer_file(whole, key)
    assert read_answer_file(table, key) == answers
    assert (answers.rater_id, answers.complete, list(answers.order)) == (
        "anna", True, before["order"],
    )  # fmt: skip
    given = [(a.content, a.style) for a in answers.answers]
    assert given[:4] == [(61, 50), (50, 20), (33, 44), (0, 100)]
    assert all(abs((c or 0) - 60) <= 1 and abs((s or 0) - 80) <= 1 for c, s in given[4:])
    assert 0 < sum(a.seconds for a in answers.answers) < 120
    assert answers.started <= answers.ended

    results = []
    for name, files in (("j", [part, whole]), ("c", [table])):
        out = tmp_path / f"{name}-study.json"
        score_study(study, files, out=out, max_repeat_difference=100, on_bad="fail", as_json=True)
        results.append(load_study_result(out))
    assert results[0].entries == results[1].entries
    assert results[0].n_raters == 1
    assert [Path(one.file).name for one in results[0].unused_files] == ["part.json"]
    means = [entry.content.mean for entry in results[0].entries]
    assert all(mean is not None for mean in means)


def test_pictures_are_those_of_the_key(watched: Watched, study: Path) -> None:
    page = watched.page
    key = load_key(study)
    start(page, study)
    data = json.loads(page.locator("#study").text_content() or "")
    shown = {item["id"]: item for item in data["items"]}
    for name in stored(page)["order"]:
        output = page.get_by_alt_text("Result to be judged")
        expect(output).to_have_attribute("src", data["outputs"][shown[name]["output"]])
        assert output.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 64
        expect(page.locator("#style-wanted")).to_have_text(key.items[name].prompt)
        page.get_by_role("button", name="Skip for now").click()


def test_the_overview_shows_and_opens_every_picture(watched: Watched, study: Path) -> None:
    page = watched.page
    start(page, study)
    answer(page)
    page.get_by_role("button", name="Next").click()
    press(page, "Style", 10)
    page.get_by_role("button", name="Overview").click()
    dialog = page.get_by_role("dialog", name="Overview")
    expect(dialog.get_by_role("listitem")).to_have_count(N_ITEMS)
    expect(dialog.get_by_role("button", name="Picture 1, answered")).to_be_visible()
    expect(dialog.get_by_role("button", name="Picture 2, one answer missing")).to_be_visible()
    dialog.get_by_role("button", name="Picture 7, unanswered").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("heading", name=f"Picture 7 of {N_ITEMS}")).to_be_visible()
    page.get_by_role("button", name="Overview").click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Back").click()
    expect(page.get_by_role("heading", name=f"Picture 6 of {N_ITEMS}")).to_be_visible()


def test_orders_differ_and_repeats_lie_apart(watched: Watched, study: Path) -> None:
    key = load_key(study)
    page = watched.page
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(address(study))
    orders, raters = [], set()
    for _ in range(12):
        raters.add(page.get_by_label("Your name in this study").input_value())
        page.get_by_label("I have read this").check()
        page.get_by_role("button", name="Start").click()
        orders.append(stored(page)["order"])
        page.get_by_role("button", name="Overview").click()
        page.get_by_role("button", name="Stop here and save").click()
        page.get_by_role("button", name="Start over").click()
    assert len(raters) == 12
    assert len({tuple(order) for order in orders}) == 12
    for order in orders:
        assert sorted(order) == list(key.items)
        for name, item in key.items.items():
            if item.repeat_of is not None:
                assert order.index(name) - order.index(item.repeat_of) >= N_ITEMS / 4
    # no item has a place of its own; in no more than two of ten, 12 fair draws put one in 10^6
    for name in key.items:
        assert len({order.index(name) for order in orders}) > 2


def test_a_name_that_no_file_can_carry_is_refused(watched: Watched, study: Path) -> None:
    page = watched.page
    start(page, study, rater='=1+1,"x"')
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    expect(page.get_by_label("Your name in this study")).to_be_focused()


def test_another_person_starts_from_nothing(watched: Watched, study: Path) -> None:
    page = watched.page
    start(page, study)
    answer(page)
    page.get_by_role("button", name="Overview").click()
    page.get_by_role("button", name="Stop here and save").click()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_role("heading", name="Not all pictures")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()
    expect(page.get_by_label("Your name in this study")).not_to_have_value("anna")
    expect(page.get_by_role("checkbox")).not_to_be_checked()
    assert page.evaluate("() => localStorage.length") == 0


def test_without_storage_it_says_so_and_works(
    watched: Watched, study: Path, tmp_path: Path
) -> None:
    page = watched.page
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', "
        "{ get() { throw new DOMException('denied', 'SecurityError'); } });"
    )
    start(page, study)
    expect(page.get_by_text("does not keep your answers")).to_be_visible()
    answer(page)
    page.get_by_role("button", name="Overview").click()
    page.get_by_role("button", name="Stop here and save").click()
    found = read_answer_file(save(page, "Save answers", tmp_path), load_key(study))
    assert sum(one.whole for one in found.answers) == 1


def test_damaged_storage_is_not_taken_up(watched: Watched, study: Path) -> None:
    page = watched.page
    start(page, study)
    # while the page lives it would store the sound state again
    page.add_init_script("localStorage.setItem(Object.keys(localStorage)[0], '{\"rater\": 1')")
    page.reload()
    expect(page.get_by_role("button", name="Start")).to_be_visible()


CONTRAST = """
() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.disabled) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    found.push([element.textContent.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_the_contrast_of_wcag_aa(browser: Browser, study: Path, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address(study))
    checked = page.evaluate(CONTRAST)
    start(page, study)
    checked += page.evaluate(CONTRAST)
    answer(page)
    page.get_by_role("button", name="Overview").click()
    checked += page.evaluate(CONTRAST)
    page.get_by_role("button", name="Stop here and save").click()
    checked += page.evaluate(CONTRAST)
    context.close()
    assert len(checked) > 40
    assert [text for text, ratio in checked if ratio < 4.5] == []


def test_on_a_phone_nothing_is_cut_off(browser: Browser, study: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    start(page, study)
    slider = page.get_by_role("slider", name=re.compile("Content"))
    box = slider.bounding_box()
    assert box is not None
    assert box["height"] >= 44  # what a thumb needs
    slider.tap(position={"x": box["width"] / 4, "y": box["height"] / 2})
    expect(slider).not_to_have_attribute("aria-valuetext", "not answered yet")
    widths = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    next_button = page.get_by_role("button", name="Skip for now").bounding_box()
    context.close()
    assert widths[0] <= widths[1]
    assert next_button is not None
    assert next_button["y"] + next_button["height"] <= 844  # a picture fits one screen
