"""Records from synthetic runs, and changed copies of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.regression.record import Record, record_of
from tests.runs import write_run

METRICS = ("clip_score_patch", "edge_agreement", "lpips_vgg", "psnr", "face_id_distance")


def record(folder: Path, **options: Any) -> Record:
    """Of a run with 8 images and 2 prompts, unless the options of ``write_run`` say other."""
    return record_of(write_run(folder, **{"n_images": 8, "metrics": METRICS, **options}))


def with_values(one: Record, **changes: np.ndarray) -> Record:
    """Other scores; NaN becomes ``no_face``."""
    statuses = {
        name: tuple("ok" if np.isfinite(value) else "no_face" for value in values)
        for name, values in changes.items()
    }
    return replace(
        one, values={**one.values, **changes}, statuses={**one.statuses, **statuses}
    )  # fmt: skip


def with_config(one: Record, **changes: Any) -> Record:
    manifest = one.facts.manifest
    config = manifest.config.model_copy(update=changes)
    return replace(
        one,
        facts=one.facts.model_copy(
            update={"manifest": manifest.model_copy(update={"config": config})}
        ),
    )
