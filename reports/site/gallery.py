"""What the gallery's script reads: a board's samples and scores as a JavaScript constant."""

from __future__ import annotations

import json
import math
from typing import Any

from reports.board import Board, Row
from reports.site import names
from reports.site.images import LARGEST, Samples, side_of


def gallery_script(board: Board, samples: Samples, has_sources: bool) -> str:
    """``const GALLERY = {...};``: pages opened from a folder can neither fetch nor import.

    Scores have 9 significant digits, which tell any two float32 values apart.
    """
    data = {
        "side": side_of(board),
        "images": list(board.image_ids),
        "prompts": list(board.prompts.values()),
        "sampleImages": samples.images,
        "samplePrompts": samples.prompts,
        "sources": names.sources(board.id) if has_sources else None,
        "sourceThumbs": _thumbnails(board, names.sources(board.id)) if has_sources else None,
        "metrics": [
            {"name": metric.name, "higher": metric.direction == "higher",
             "chosen": metric.name == board.style_metric}
            for metric in board.metrics
        ],
        "runs": [_run(board, row, samples) for row in board.rows],
    }  # fmt: skip
    return f'"use strict";\nconst GALLERY = {script_json(data)};\n'


def script_json(value: Any) -> str:
    """JSON that is safe in a script: nothing in it can end a tag, a comment or a line.

    Raises:
        ValueError: a number that is not finite.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _run(board: Board, row: Row, samples: Samples) -> dict[str, Any]:
    run = row.run
    places = samples.places_of(run)
    place_of = dict(zip(run.manifest.sample_ids, places, strict=True))
    problems: list[str | None] = ["never run"] * len(samples.images)
    for place, made in zip(places, run.made.tolist(), strict=True):
        problems[place] = None if made else "never run"
    for sample, reason in run.failures:
        problems[place_of[sample]] = f"failed: {reason}"
    folder = names.outputs(row.id)
    return {
        "label": row.label,
        "page": names.run_page(row.id),
        "folder": folder,
        "thumbs": _thumbnails(board, folder),
        "problems": {
            str(place): problem for place, problem in enumerate(problems) if problem is not None
        },
        "scores": [_scores(row, metric.name, places) for metric in board.metrics],
    }


def _thumbnails(board: Board, folder: str) -> str:
    return names.thumbnails(folder) if side_of(board) > LARGEST else folder


def _scores(row: Row, metric: str, places: list[int]) -> list[float | None] | None:
    found = row.run.scores.get(metric)
    if found is None:
        return None
    values: list[float | None] = [None] * len(places)
    for place, value in zip(places, found.values.tolist(), strict=True):
        values[place] = None if math.isnan(value) else float(f"{value:.9g}")
    return values
