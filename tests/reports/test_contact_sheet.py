from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from reports.contact_sheet import contact_sheet, page_count, wrap

FONT = ImageFont.load_default(14)
Pixels = npt.NDArray[np.uint8]


def tile(seed: int, size: tuple[int, int] = (64, 64)) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def enlarged(image: Pixels, scale: int) -> Pixels:
    return image.repeat(scale, 0).repeat(scale, 1)


def positions(sheet: Image.Image, wanted: Pixels) -> list[tuple[int, int]]:
    """Top left corners at which an image lies on the sheet."""
    area = np.asarray(sheet)
    height, width, _ = wanted.shape
    corners = np.argwhere((area == wanted[0, 0]).all(-1))
    return [
        (int(x), int(y))
        for y, x in corners
        if np.array_equal(area[y : y + height, x : x + width], wanted)
    ]


def test_source_left_and_one_column_per_prompt_pixel_for_pixel() -> None:
    rows = [(tile(10 * r), [tile(10 * r + 1), tile(10 * r + 2)]) for r in range(2)]
    sheet = contact_sheet(rows, ["Golden", "Clay"], title="ours on afhq")
    assert sheet.mode == "RGB"
    places = [
        [positions(sheet, enlarged(image, 3)) for image in (source, *outputs)]
        for source, outputs in rows
    ]
    assert all(len(found) == 1 for row in places for found in row)
    corners = [[found[0] for found in row] for row in places]
    for row in corners:
        assert [x for x, _ in row] == [8, 208, 408]
        assert len({y for _, y in row}) == 1
    assert corners[1][0][1] - corners[0][0][1] == 3 * 64 + 8


def test_large_images_keep_their_size() -> None:
    source, output = tile(0, (256, 256)), tile(1, (256, 256))
    sheet = contact_sheet([(source, [output])], ["Clay"], title="t")
    assert len(positions(sheet, output)) == 1
    half = contact_sheet([(tile(0, (96, 96)), [tile(1, (96, 96))])], ["Clay"], title="t")
    assert len(positions(half, enlarged(tile(1, (96, 96)), 2))) == 1


def test_a_failed_sample_is_a_marked_tile_in_its_place() -> None:
    source, output = tile(0), tile(1)
    sheet = contact_sheet([(source, [None, output])], ["Golden", "Clay"], title="t")
    ((x, y),) = positions(sheet, enlarged(output, 3))
    failed = np.asarray(sheet)[y : y + 192, x - 200 : x - 8]
    assert (failed == (238, 222, 222)).all(-1).mean() > 0.8
    for corner in (failed[0, 0], failed[-1, -1], failed[0, -1], failed[-1, 0]):
        assert tuple(corner) == (176, 64, 64)


def test_pages_hold_sixteen_rows_and_say_which() -> None:
    rows = [(tile(r), [tile(100 + r)]) for r in range(20)]
    first = contact_sheet(rows, ["Clay"], title="t")
    second = contact_sheet(rows, ["Clay"], title="t", page=2)
    assert positions(first, enlarged(tile(15), 3)) and not positions(first, enlarged(tile(16), 3))
    assert positions(second, enlarged(tile(16), 3)) and not positions(second, enlarged(tile(15), 3))
    assert first.height - second.height == 12 * (192 + 8)
    with pytest.raises(ValueError, match=r"no page 3: 20 rows make 2 page\(s\)"):
        contact_sheet(rows, ["Clay"], title="t", page=3)


@pytest.mark.parametrize("extra", [{"stand_in": True}, {"note": "windows of skimage photographs"}])
def test_notes_are_drawn_in_their_own_colour(extra: dict[str, Any]) -> None:
    rows = [(tile(0), [tile(1)])]
    plain = np.asarray(contact_sheet(rows, ["Clay"], title="ours on afhq"))
    noted = np.asarray(contact_sheet(rows, ["Clay"], title="ours on afhq", **extra))
    colour = (160, 60, 0)
    assert not (plain[: plain.shape[0] - 200] == colour).all(-1).any()
    assert (noted[: noted.shape[0] - 200] == colour).all(-1).sum() > 50
    assert noted.shape[0] > plain.shape[0]
    both = contact_sheet(rows, ["Clay"], title="t", stand_in=True, note="a longer note " * 4)
    assert both.height > noted.shape[0]


def test_equal_input_gives_equal_pixels() -> None:
    rows = [(tile(0), [tile(1)])]
    first, second = (contact_sheet(rows, ["Clay"], title="t") for _ in range(2))
    assert first.tobytes() == second.tobytes()


@given(st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "Zs"]), max_size=200),
       st.integers(60, 300), st.integers(1, 4))  # fmt: skip
def test_wrapped_lines_fit(text: str, width: int, max_lines: int) -> None:
    lines = wrap(text, FONT, width, max_lines)
    assert len(lines) <= max_lines
    assert all(FONT.getlength(line) <= width + FONT.getlength("W") for line in lines)
    if not (lines and lines[-1].endswith("...")):
        assert "".join("".join(lines).split()) == "".join(text.split())


def test_long_prompts_end_in_an_ellipsis() -> None:
    lines = wrap("A very long prompt about crayons " * 10, FONT, 192, 3)
    assert len(lines) == 3 and lines[2].endswith("...")
    assert wrap("Golden", FONT, 192, 3) == ["Golden"]
    assert "".join(wrap("x" * 60, FONT, 192, 9)) == "x" * 60


def test_images_of_several_sizes_do_not_overlap() -> None:
    wide, tall = tile(1, (32, 64)), tile(2, (64, 48))
    sheet = contact_sheet([(wide, [wide]), (tall, [tall])], ["Clay"], title="t")
    assert len(positions(sheet, enlarged(wide, 3))) == 2
    assert len(positions(sheet, enlarged(tall, 3))) == 2


def test_what_cannot_be_drawn_is_refused() -> None:
    good = tile(0)
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], ["Clay"], title="t")
    with pytest.raises(ValueError, match="row 0 has 2 outputs for 1 prompts"):
        contact_sheet([(good, [good, good])], ["Clay"], title="t")
    with pytest.raises(ValueError, match="row 0: expected uint8"):
        contact_sheet([(good, [good / 255.0])], ["Clay"], title="t")
    with pytest.raises(ValueError, match="rows_per_page"):
        page_count(3, 0)
