"""The styles of finished runs to look at: ``python -m reports.style_sheet RUN... --out FILE.png``.

Blocks of a few styles, one column each, beside the sources; one row for each of the first pictures
of every run. A run's contact sheet has all its styles in one row, for which no page is wide enough.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmark.errors import DataError
from benchmark.run import RunDirectory
from benchmark.script import script
from reports.collect import CollectedRun, read_run
from reports.contact_sheet import Row, contact_sheet

STYLES_OF_BLOCK = 9
SCALE = 2


def style_sheet(runs: Sequence[CollectedRun], images: int) -> Image.Image:
    """Draw it.

    Args:
        runs: of the same styles, at least one.
        images: of each run, its first.

    Returns:
        RGB image.

    Raises:
        DataError: the runs have other styles than the first one.
    """
    styles = list(dict.fromkeys(runs[0].prompt_ids))
    for run in runs[1:]:
        if list(dict.fromkeys(run.prompt_ids)) != styles:
            raise DataError(
                f"{run.path} has other styles than {runs[0].path}; give runs of the same prompts"
            )
    names = sorted({run.manifest.config.dataset for run in runs})
    blocks = []
    for first in range(0, len(styles), STYLES_OF_BLOCK):
        shown = styles[first : first + STYLES_OF_BLOCK]
        rows = [row for run in runs for row in _rows(run, shown, images)]
        blocks.append(
            contact_sheet(
                rows, shown, scale=SCALE, rows_per_page=len(rows),
                note=None if first else _note(runs),
                title=f"{runs[0].method} on {', '.join(names)}, styles {first + 1} to "
                f"{first + len(shown)} of {len(styles)}",
            )
        )  # fmt: skip
    sheet = Image.new("RGB", (max(b.width for b in blocks), sum(b.height for b in blocks)), "white")
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet


def _rows(run: CollectedRun, styles: Sequence[str], images: int) -> list[Row]:
    directory = RunDirectory(run.path)
    made = {
        (image, style)
        for image, style, made in zip(run.image_ids, run.prompt_ids, run.made, strict=True)
        if made
    }
    return [
        (
            directory.load_source(image),
            [
                directory.load_image(f"{image}__{style}") if (image, style) in made else None
                for style in styles
            ],
        )
        for image in list(dict.fromkeys(run.image_ids))[:images]
    ]


def _note(runs: Sequence[CollectedRun]) -> str | None:
    notes = dict.fromkeys(run.manifest.stand_in_note for run in runs)
    return " ".join(filter(None, notes)) or None


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.style_sheet", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories of the same prompts")
    parser.add_argument("--images", type=int, default=2, help="pictures of each run (default: 2)")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error("--images must be at least 1")
    sheet = style_sheet([read_run(path) for path in arguments.runs], arguments.images)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.out, format="PNG")
    sys.stdout.write(f"{arguments.out}\n")


if __name__ == "__main__":
    sys.exit(main())
