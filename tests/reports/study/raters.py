"""Studies and answer files as the form saves them, made without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reports.study.key import KeyItem, StudyKey, load_key
from reports.study.new import new_study
from tests.runs import write_run

Opinion = Callable[[KeyItem, str], float | None]


def make_study(
    folder: Path, methods: tuple[str, ...] = ("ours", "zecon"), n_images: int = 4,
    repeats: int = 4, **options: Any,
) -> StudyKey:  # fmt: skip
    """A study over all pairs of synthetic runs, in ``folder / "study"``."""
    for method in methods:
        write_run(folder / "runs", method=method, n_images=n_images)
    arguments: dict[str, Any] = {
        "out": folder / "study", "n_pairs": None, "repeats": repeats, "seed": 0, "title": None,
        "as_json": True, **options,
    }  # fmt: skip
    new_study([folder / "runs"], **arguments)
    return load_key(folder / "study")


def answer_file(
    key: StudyKey, rater: str, opinion: Opinion, *, seed: int = 1, ended: str = "10:20:00"
) -> dict[str, Any]:
    """What the form saves for a rater of that opinion (None leaves a question unanswered)."""
    order = np.random.default_rng(seed).permutation(sorted(key.items)).tolist()
    answers = [
        {
            "item": name, "content": opinion(key.items[name], "content"),
            "style": opinion(key.items[name], "style"), "seconds": 7.25,
        }
        for name in order
    ]  # fmt: skip
    return {
        "format": "stylebench-answers", "schema_version": 1, "form_version": 1,
        "study_id": key.study_id, "rater_id": rater, "seed": seed,
        "started": "2026-01-02T10:00:00.000Z", "ended": f"2026-01-02T{ended}.000Z",
        "complete": all(a["content"] is not None and a["style"] is not None for a in answers),
        "order": order, "answers": answers,
    }  # fmt: skip


def steady(key: StudyKey, level: dict[str, float], seed: int, noise: float = 5.0) -> Opinion:
    """A rater who gives each method about its level, and repeated pictures nearly the same."""
    rng = np.random.default_rng(seed)
    first = {
        (item.entry, item.sample_id, question): float(rng.normal(0, noise))
        for item in key.items.values()
        for question in ("content", "style")
    }

    def opinion(item: KeyItem, question: str) -> float:
        base = level[key.entries[item.entry].method]
        value = base + first[item.entry, item.sample_id, question]
        if item.repeat_of is not None:
            value += float(rng.normal(0, noise))
        return round(min(100.0, max(0.0, value)))

    return opinion


def write_answers(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def as_csv(content: dict[str, Any]) -> str:
    """The CSV that belongs to a JSON file, written without the form's code."""
    shared = [name for name in content if name not in {"order", "answers"}]
    by_item = {answer["item"]: answer for answer in content["answers"]}
    lines = [",".join([*shared, "position", "item", "content", "style", "seconds"])]
    for position, item in enumerate(content["order"], start=1):
        own = [by_item[item][name] for name in ("content", "style", "seconds")]
        cells = [*(content[name] for name in shared), position, item, *own]
        cells[shared.index("complete")] = "true" if content["complete"] else "false"
        lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    return "\r\n".join(lines) + "\r\n"
