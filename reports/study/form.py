"""The form: one HTML file with everything in it."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmark.errors import DataError
from benchmark.pictures import encode_png
from benchmark.run import RunDirectory
from reports.study.key import StudyKey

SECONDS_PER_ITEM = 12


def minutes_needed(n_items: int) -> int:
    """What raters are told, at 12 seconds a picture."""
    return max(1, math.ceil(n_items * SECONDS_PER_ITEM / 60))


def render_form(key: StudyKey, runs: Sequence[RunDirectory]) -> str:
    """HTML of the form. It names neither methods nor configs, and asks nothing of a network.

    Images are decoded and encoded again, so that no more than their pixels gets into the form.

    Args:
        key: items in any order; their names must be blind already.
        runs: of the key's entries, in their order.

    Raises:
        DataError: an output has another size than its source.
    """
    sources: dict[str, int] = {}
    outputs: dict[str, int] = {}
    source_urls: list[str] = []
    output_urls: list[str] = []
    items = []
    for name, item in key.items.items():
        shown = item.repeat_of or name
        source = runs[item.entry].load_source(item.image_id)
        if item.image_id not in sources:
            sources[item.image_id] = len(source_urls)
            source_urls.append(_data_url(encode_png(source)))
        if shown not in outputs:
            output = runs[item.entry].load_image(item.sample_id)
            if output.shape != source.shape:
                raise DataError(
                    f"{runs[item.entry].image_path(item.sample_id)} is not of the size of its "
                    f"source, and raters could tell methods by it"
                )
            outputs[shown] = len(output_urls)
            output_urls.append(_data_url(encode_png(output)))
        items.append({
            "id": name, "source": sources[item.image_id], "output": outputs[shown],
            "style": item.prompt,
        })  # fmt: skip
    study: dict[str, Any] = {
        "study_id": key.study_id,
        "form_version": key.form_version,
        "items": items,
        "twice": [
            [item.repeat_of, name] for name, item in key.items.items() if item.repeat_of is not None
        ],
        "sources": source_urls,
        "outputs": output_urls,
    }
    environment = Environment(
        loader=PackageLoader("reports.study"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("form.html.j2").render(
        title=key.title, study=study, n_items=len(items), minutes=minutes_needed(len(items))
    )


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
