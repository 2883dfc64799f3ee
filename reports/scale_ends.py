"""Scores at the ends of a metric's scale: the source, another picture, the style by procedure.

:mod:`reports.anchors` measures a protocol's balance by them, :mod:`reports.reference.margins` its
margins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from baselines.procedural import Procedural
from benchmark import registry
from benchmark.config import Protocol
from benchmark.interface import MethodConfig, StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.pictures import Pixels
from benchmark.scoring import ScoredSample, score_samples
from benchmark.zoo import ModelZoo

End = Callable[[Pixels, Pixels, StyleRequest], Pixels]
"""The output for (content image, the next one of its dataset, request)."""


def own(image: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    """The untouched source."""
    return image


def other(image: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    """Another picture of the dataset."""
    return following


def drawn_on_other(image: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    """The style, drawn by procedure on another picture of the dataset."""
    return drawn(following, image, request)


def drawn(image: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    """The style, drawn by procedure."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    batch = StyleBatch(pixels, (request,))
    output = Procedural(MethodConfig()).stylize(batch, NoiseSource(0, batch.sample_ids))
    stored = ((output[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(stored.permute(1, 2, 0).numpy())


def means(
    protocol: Protocol,
    metrics: Sequence[str],
    end: End,
    n_prompts: int | None = None,
    style_image: End | None = None,
) -> dict[str, float]:
    """Mean scores of an end over the embedded images of all datasets and the prompts.

    Args:
        n_prompts: the first so many; all if None.
        style_image: what shows the style in the place of its prompt; None: the prompt tells it.

    Returns:
        By metric; without those that have no value on any image.
    """
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for name in registry.names(registry.DATASETS) if metrics else ():
        dataset = registry.load(registry.DATASETS, name)
        for row in _scores(protocol, dataset, metrics, end, n_prompts, style_image):
            if row["value"] is not None:  # no face in the source
                values[row["metric"]].append(row["value"])
    return {name: float(np.mean(found)) for name, found in values.items() if found}


def _scores(
    protocol: Protocol,
    dataset: Any,
    metrics: Sequence[str],
    end: End,
    n_prompts: int | None,
    style_image: End | None,
) -> list[dict[str, Any]]:
    frozen = dataset.freeze(
        dataset.source(None), size=protocol.resolution, resize_filter=protocol.resize_filter,
        limit=None, on_bad_image="fail",
    )  # fmt: skip
    prompts = dataset.all_prompts(protocol.prompt_set)[:n_prompts]
    sources = {image.image_id: image.pixels for image in frozen.images}
    order = list(sources)
    outputs: dict[str, Pixels] = {}
    styles: dict[str, Pixels] = {}
    samples = []
    for image_id, following in zip(order, [*order[1:], order[0]], strict=True):
        for prompt in prompts:
            request = StyleRequest(
                f"{image_id}__{prompt.id}", image_id, dataset.card.domain, prompt.id, prompt.text,
                dataset.card.source_prompt,
            )  # fmt: skip
            outputs[request.sample_id] = end(sources[image_id], sources[following], request)
            told, target_id = prompt.text, prompt.id
            if style_image is not None:  # which differs from picture to picture
                told, target_id = None, request.sample_id
                styles[target_id] = style_image(sources[image_id], sources[following], request)
            samples.append(
                ScoredSample(
                    request.sample_id, image_id, target_id, told, request.source_prompt,
                    request.domain, "ok", None, None, None,
                )
            )  # fmt: skip
    table = score_samples(
        samples, sources.__getitem__, outputs.__getitem__, ModelZoo(protocol.models, None),
        metrics, [prompt.text for prompt in prompts], load_style=styles.get,
    )  # fmt: skip
    return list(table.to_pylist())
