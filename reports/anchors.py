"""Measures the ends of a protocol's scale: ``python -m reports.anchors mini-64-v1``.

Style is 0 where the untouched source scores and 1 where the styles drawn by procedure do; content
is 1 at the untouched source and 0 where another picture of the dataset stands in its place. Each
end is the mean over the datasets of the mean over their images and all prompts. The numbers go into
the protocol file by hand, since a protocol is not edited once it is released.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

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

Make = Callable[[Pixels, Pixels, StyleRequest], Pixels]


def anchors(protocol: Protocol) -> dict[str, dict[str, float]]:
    """Worst and best of the protocol's content and style metric.

    Raises:
        UsageError: the protocol has no balance, or prompts that no procedure draws.
    """
    if protocol.balance is None:
        raise BenchError(f"the protocol {protocol.id} names no content and style metric")
    content, style = protocol.balance.content.metric, protocol.balance.style.metric
    zoo = ModelZoo(protocol.models, None)
    datasets = registry.names(registry.DATASETS)

    def over_datasets(metric: str, make: Make) -> float:
        return float(np.mean([_mean(protocol, zoo, name, metric, make) for name in datasets]))

    return {
        "content": {"worst": over_datasets(content, _other), "best": over_datasets(content, _own)},
        "style": {"worst": over_datasets(style, _own), "best": over_datasets(style, _procedural)},
    }


def _mean(protocol: Protocol, zoo: ModelZoo, dataset_name: str, metric: str, make: Make) -> float:
    """Mean score of outputs that ``make`` gives for (image, the next image, request)."""
    dataset = registry.load(registry.DATASETS, dataset_name)
    frozen = dataset.freeze(
        dataset.source(None), size=protocol.resolution, resize_filter=protocol.resize_filter,
        limit=None, on_bad_image="fail",
    )  # fmt: skip
    prompts = dataset.all_prompts(protocol.prompt_set)
    sources = {image.image_id: image.pixels for image in frozen.images}
    order = list(sources)
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    outputs: dict[str, Pixels] = {}
    samples = []
    for image_id, pixels in sources.items():
        for prompt in prompts:
            request = StyleRequest(
                f"{image_id}__{prompt.id}", image_id, dataset.card.domain, prompt.id, prompt.text,
                dataset.card.source_prompt,
            )  # fmt: skip
            outputs[request.sample_id] = make(pixels, sources[following[image_id]], request)
            samples.append(_sample(request))
    table = score_samples(
        samples, sources.__getitem__, outputs.__getitem__, zoo, [metric],
        [prompt.text for prompt in prompts],
    )  # fmt: skip
    return float(np.mean(table["value"].to_numpy()))


def _sample(request: StyleRequest) -> ScoredSample:
    return ScoredSample(
        sample_id=request.sample_id,
        image_id=request.image_id,
        prompt_id=request.prompt_id,
        prompt=request.prompt,
        source_prompt=request.source_prompt,
        domain=request.domain,
        status="ok",
        reason=None,
        seconds=None,
        peak_memory_mib=None,
    )


def _own(own: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    return own


def _other(own: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    return following


def _procedural(own: Pixels, following: Pixels, request: StyleRequest) -> Pixels:
    image = torch.from_numpy(own.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    batch = StyleBatch(image, (request,))
    output = Procedural(MethodConfig()).stylize(batch, NoiseSource(0, batch.sample_ids))
    pixels = ((output[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reports.anchors", description=__doc__)
    parser.add_argument("protocol")
    try:
        found = anchors(load_protocol(parser.parse_args().protocol))
    except BenchError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    for name, ends in found.items():
        sys.stdout.write(f"{name}: worst {ends['worst']:.3f}, best {ends['best']:.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
