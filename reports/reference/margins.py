"""Measures the margins of a protocol: ``python -m reports.reference.margins mini-64-v1``.

What must be caught is a loss of 2 % of the style or content that a method has. Each metric has a
scale: style from the untouched source to the styles drawn by procedure, content from another
picture of the dataset in the source's place to the source itself. Both ends are means over every
image of all datasets, style also over all prompts. Methods that are worth a check have at least a
quarter of it, so the least loss to catch is 0.02 x 0.25 of the scale; the margin is half of that,
to two digits, which leaves the other half to the spread between images.
The numbers go into the protocol file by hand, since a protocol is not edited once it is released.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from baselines.procedural import Procedural
from benchmark import registry
from benchmark.config import Protocol, load_protocol
from benchmark.errors import BenchError
from benchmark.interface import MethodConfig, StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.run import Pixels
from benchmark.scoring import ScoredSample, score_samples
from benchmark.zoo import ModelZoo

LOSS = 0.02
LEAST = 0.25  # of the scale
STYLE = ("clip_score_patch", "clip_score", "clip_directional")
CONTENT = ("edge_agreement", "ssim", "lpips_vgg", "dino_structure", "face_id_distance")

Make = Callable[[Pixels, Pixels, StyleRequest], Pixels]


def margins(protocol: Protocol) -> dict[str, tuple[float, float, float]]:
    """Of every style and content metric of the protocol: both ends of its scale and the margin.

    Raises:
        BenchError: the procedures draw none of the protocol's prompts.
    """
    style = [name for name in STYLE if name in protocol.metrics]
    content = [name for name in CONTENT if name in protocol.metrics]
    source = {**_means(protocol, style, own, None), **_means(protocol, content, own, 1)}
    ends = {**_means(protocol, style, drawn, None), **_means(protocol, content, other, 1)}
    return {name: (source[name], ends[name], margin(source[name], ends[name])) for name in source}


def margin(one_end: float, other_end: float) -> float:
    """Half of a loss of 2 % of a quarter of the scale between two ends, to two digits."""
    half = abs(one_end - other_end) * LEAST * LOSS / 2
    return round(half, 1 - math.floor(math.log10(half)))


def _means(
    protocol: Protocol, metrics: Sequence[str], make: Make, n_prompts: int | None
) -> dict[str, float]:
    """Means over datasets, images and prompts of what ``make`` gives for (image, next, style)."""
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for name in registry.names(registry.DATASETS) if metrics else ():
        dataset = registry.load(registry.DATASETS, name)
        for row in _scores(protocol, dataset, metrics, make, n_prompts):
            if row["value"] is not None:  # no face in the source
                values[row["metric"]].append(row["value"])
    return {name: float(np.mean(found)) for name, found in values.items() if found}


def _scores(
    protocol: Protocol, dataset: Any, metrics: Sequence[str], make: Make, n_prompts: int | None
) -> list[dict[str, Any]]:
    frozen = dataset.freeze(
        dataset.source(None), size=protocol.resolution, resize_filter=protocol.resize_filter,
        limit=None, on_bad_image="fail",
    )  # fmt: skip
    prompts = dataset.all_prompts(protocol.prompt_set)[:n_prompts]
    sources = {image.image_id: image.pixels for image in frozen.images}
    order = list(sources)
    outputs: dict[str, Pixels] = {}
    samples = []
    for image_id, following in zip(order, [*order[1:], order[0]], strict=True):
        for prompt in prompts:
            request = StyleRequest(
                f"{image_id}__{prompt.id}", image_id, dataset.card.domain, prompt.id, prompt.text,
                dataset.card.source_prompt,
            )  # fmt: skip
            outputs[request.sample_id] = make(sources[image_id], sources[following], request)
            samples.append(
                ScoredSample(
                    request.sample_id, image_id, prompt.id, prompt.text, request.source_prompt,
                    request.domain, "ok", None, None, None,
                )
            )  # fmt: skip
    table = score_samples(
        samples, sources.__getitem__, outputs.__getitem__, ModelZoo(protocol.models, None),
        metrics, [prompt.text for prompt in prompts],
    )  # fmt: skip
    return list(table.to_pylist())


def own(image: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    """The untouched source."""
    return image


def other(image: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    """Another picture of the dataset."""
    return following


def drawn(image: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    """The style, drawn by procedure."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    batch = StyleBatch(pixels, (request,))
    output = Procedural(MethodConfig()).stylize(batch, NoiseSource(0, batch.sample_ids))
    stored = ((output[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(stored.permute(1, 2, 0).numpy())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reports.reference.margins")
    parser.add_argument("protocol")
    try:
        found = margins(load_protocol(parser.parse_args().protocol))
    except BenchError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    for name, (source, end, value) in found.items():
        sys.stdout.write(f"{name}: source {source:.3f}, other end {end:.3f}, margin {value}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
