"""Pictures of the samples that lost most, written beside the Markdown.

Files and not data URIs: GitHub strips those from job summaries, and a summary is limited to 1 MiB.
A job summary shows no files of the workspace either, so the folder goes up as an artifact; where
Markdown is rendered from a folder or a repository the pictures are in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.files import explain_write_errors, write_atomically
from benchmark.pictures import Pixels, encode_png
from benchmark.regression.check import CheckResult
from benchmark.run import RunDirectory

SIDE = 128  # smaller pictures are enlarged by a whole factor
GAP = 4
_GREY = 128


def write_pictures(result: CheckResult, markdown: Path) -> dict[str, str]:
    """Source and output of each of the worst samples side by side; grey stands for no output.

    Those of an earlier check are removed.

    Returns:
        by sample id, the path relative to the Markdown's folder.
    """
    folder = markdown.parent / f"{markdown.stem}-images"
    with explain_write_errors(folder):
        for old in folder.glob("worst-[0-9][0-9].png"):
            old.unlink()
    directory = RunDirectory(result.run_path)
    found = {}
    for number, one in enumerate(result.worst, start=1):
        source = directory.load_source(one.image_id)
        output = directory.load_image(one.sample_id) if one.margins is not None else None
        name = f"worst-{number:02d}.png"
        write_atomically(folder / name, encode_png(_side_by_side(source, output)))
        found[one.sample_id] = f"{folder.name}/{name}"
    return found


def _side_by_side(source: Pixels, output: Pixels | None) -> Pixels:
    shown = np.full_like(source, _GREY) if output is None else output
    gap = np.full((len(source), GAP, 3), 255, np.uint8)
    row = np.concatenate([source, gap, shown], axis=1)
    factor = max(1, SIDE // len(source))
    size = (row.shape[1] * factor, row.shape[0] * factor)
    return np.asarray(Image.fromarray(row).resize(size, Image.Resampling.NEAREST))


def alt_text(pictures: Mapping[str, str], sample_id: str) -> str:
    return f"{Path(pictures[sample_id]).stem}: source and output"
