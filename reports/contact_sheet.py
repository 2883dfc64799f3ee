"""A picture of a run for a person: the source, and beside it one output per prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
Row = tuple[Pixels, Sequence[Pixels | None]]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

ROWS_PER_PAGE = 16
TILE_PIXELS = 192  # small images are enlarged to about this width
HEADER_LINES = 3
STAND_IN = "Stand-in images: not the images of the dataset."

_GAP = 8
_PAPER = (255, 255, 255)
_INK = (24, 24, 24)
_NOTE = (160, 60, 0)
_FAILED = (238, 222, 222)
_CROSS = (176, 64, 64)


def contact_sheet(
    rows: Sequence[Row],
    headers: Sequence[str],
    *,
    title: str,
    stand_in: bool = False,
    note: str | None = None,
    page: int = 1,
    rows_per_page: int = ROWS_PER_PAGE,
    scale: int | None = None,
) -> Image.Image:
    """Draw one page of a contact sheet.

    Images are enlarged by a whole factor without interpolation, so that every stored pixel can be
    seen as it is. Headers are wrapped to three lines and cut off with an ellipsis.

    Args:
        rows: for each content image its source and one output per header, [H, W, 3] uint8 RGB;
            None for a sample that failed, which is drawn as a crossed tile.
        headers: the prompts.
        title: first line (method and dataset).
        stand_in: say under the title that the sources stand in for the dataset's own images.
        note: more to say under the title.
        page: which rows: 1 for the first ``rows_per_page``.
        rows_per_page: rows of a page.
        scale: enlargement; None chooses 3 for 64 pixels and 1 from 192 on.

    Returns:
        RGB image.

    Raises:
        ValueError: no row, a row with another number of outputs than headers, an image that is not
            uint8 [H, W, 3], or a page that does not exist.
    """
    if not rows or not headers:
        raise ValueError("a contact sheet needs at least one row and one prompt")
    for number, (source, outputs) in enumerate(rows):
        if len(outputs) != len(headers):
            raise ValueError(f"row {number} has {len(outputs)} outputs for {len(headers)} prompts")
        for image in (source, *outputs):
            if image is not None and (
                image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3
            ):
                raise ValueError(
                    f"row {number}: expected uint8 [H, W, 3], got {image.dtype} {image.shape}"
                )
    pages = page_count(len(rows), rows_per_page)
    if not 1 <= page <= pages:
        raise ValueError(f"there is no page {page}: {len(rows)} rows make {pages} page(s)")
    first = (page - 1) * rows_per_page
    shown = rows[first : first + rows_per_page]
    if scale is None:
        scale = max(1, TILE_PIXELS // max(source.shape[1] for source, _ in rows))
    cell_width = scale * max(source.shape[1] for source, _ in rows)
    cell_height = scale * max(source.shape[0] for source, _ in rows)
    font, small = _font(18), _font(14)
    columns = 1 + len(headers)
    width = _GAP + columns * (cell_width + _GAP)

    lines = [(line, font, _INK) for line in wrap(title, font, width - 2 * _GAP, 2)]
    notes = " ".join(filter(None, (STAND_IN if stand_in else None, note)))
    lines += [(line, small, _NOTE) for line in wrap(notes, small, width - 2 * _GAP, HEADER_LINES)]
    if pages > 1:
        shown_rows = f"rows {first + 1} to {first + len(shown)} of {len(rows)}"
        lines.append((shown_rows, small, _INK))
    heads = [wrap(text, small, cell_width, HEADER_LINES) for text in ("Source", *headers)]
    title_height = sum(_line_height(face) for _, face, _ in lines)
    head_height = max(map(len, heads)) * _line_height(small)
    top = _GAP + title_height + _GAP + head_height + _GAP // 2
    sheet = Image.new("RGB", (width, top + len(shown) * (cell_height + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _GAP
    for text, face, colour in lines:
        draw.text((_GAP, y), text, fill=colour, font=face)
        y += _line_height(face)
    for column, head in enumerate(heads):
        x = _GAP + column * (cell_width + _GAP)
        draw.text((x, y + _GAP), "\n".join(head), fill=_INK, font=small, spacing=2)
    for index, (source, outputs) in enumerate(shown):
        y = top + index * (cell_height + _GAP)
        for column, image in enumerate((source, *outputs)):
            x = _GAP + column * (cell_width + _GAP)
            if image is None:
                _draw_failed(draw, (x, y, x + cell_width - 1, y + cell_height - 1), small)
            else:
                enlarged = np.kron(image, np.ones((scale, scale, 1), dtype=np.uint8))
                sheet.paste(Image.fromarray(enlarged), (x, y))
    return sheet


def page_count(rows: int, rows_per_page: int = ROWS_PER_PAGE) -> int:
    """Pages that so many rows take.

    Raises:
        ValueError: ``rows_per_page`` < 1.
    """
    if rows_per_page < 1:
        raise ValueError(f"rows_per_page must be at least 1, got {rows_per_page}")
    return -(-rows // rows_per_page)


def wrap(text: str, font: Font, width: int, max_lines: int) -> list[str]:
    """Lines of ``text`` that fit into ``width`` pixels, the last one ending in an ellipsis if cut.

    Words that are too long for a line are broken.
    """
    lines: list[str] = []
    line = ""
    for word in text.split():
        rest = f"{line} {word}" if line else word
        if font.getlength(rest) > width and line:
            lines.append(line)
            rest = word
        while font.getlength(rest) > width and len(rest) > 1:
            fitting = _fitting(rest, font, width)
            lines.append(rest[:fitting])
            rest = rest[fitting:]
        line = rest
    if line:
        lines.append(line)
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and font.getlength(last + "...") > width:
        last = last[:-1]
    return [*lines[: max_lines - 1], last.rstrip() + "..."]


def _fitting(text: str, font: Font, width: int) -> int:
    """How many characters of ``text`` fit, at least one."""
    for end in range(len(text), 1, -1):
        if font.getlength(text[:end]) <= width:
            return end
    return 1


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _line_height(font: Font) -> int:
    _, top, _, bottom = font.getbbox("Ag|")
    return int(bottom - top) + 5


def _draw_failed(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], font: Font) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, fill=_FAILED, outline=_CROSS, width=2)
    draw.line((left, top, right, bottom), fill=_CROSS, width=2)
    draw.line((left, bottom, right, top), fill=_CROSS, width=2)
    centre = ((left + right) / 2, (top + bottom) / 2)
    text = draw.textbbox(centre, "failed", font=font, anchor="mm")
    draw.rectangle((text[0] - 4, text[1] - 3, text[2] + 4, text[3] + 3), fill=_FAILED)
    draw.text(centre, "failed", fill=_CROSS, font=font, anchor="mm")
