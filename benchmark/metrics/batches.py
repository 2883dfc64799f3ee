"""From a run's stored images to the batches that metrics read."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark.errors import DataError
from benchmark.metrics.base import MetricBatch

if TYPE_CHECKING:
    from benchmark.scoring import ScoredSample

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
LoadPixels = Callable[[str], Pixels]
LoadStyle = Callable[[str], Pixels | None]

# with fewer images in a batch, CPU kernels round their features in another way
LEAST_BATCH = 4


@dataclass(frozen=True)
class _Pair:
    sample: ScoredSample
    output: Pixels
    source: Pixels
    style: Tensor | None


def cut_batches(
    samples: Sequence[ScoredSample], load_source: LoadPixels, load_output: LoadPixels,
    load_style: LoadStyle | None, device: torch.device, batch_size: int, failures: dict[str, str],
) -> Iterator[tuple[list[str], MetricBatch]]:  # fmt: skip
    """Sample ids and images of each batch, in the order of the ids; images of one size in each.

    Args:
        load_source: image_id -> [H, W, 3] uint8.
        load_output: sample_id -> [H, W, 3] uint8.
        load_style: prompt_id -> [h, w, 3] uint8 for samples without a prompt; None for those
            that have no style image either (mixtures), or altogether.
        batch_size: images of a batch; a rest of fewer than ``LEAST_BATCH`` joins the one before.
        failures: gets sample_id -> reason for what cannot be scored.
    """
    styles = _Styles(load_style, device)
    rest = LEAST_BATCH if batch_size > LEAST_BATCH else 0
    waiting: dict[tuple[int, ...], list[_Pair]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.sample_id):
        if sample.status != "ok":
            failures[sample.sample_id] = sample.reason or "the sample has no output"
            continue
        try:
            pair = _pair(sample, load_source, load_output, styles)
        except (DataError, OSError) as error:
            log.warning("%s cannot be scored: %s", sample.sample_id, error)
            failures[sample.sample_id] = str(error)
            continue
        group = waiting[pair.output.shape]
        group.append(pair)
        if len(group) == batch_size + rest:
            yield _batch(group[:batch_size], device)
            del group[:batch_size]
    for group in waiting.values():
        if group:
            yield _batch(group, device)


class _Styles:
    """The style images of a run, each read once; they are few."""

    def __init__(self, load: LoadStyle | None, device: torch.device) -> None:
        self._load = load
        self._device = device
        self._known: dict[str, Tensor | None] = {}

    def of(self, sample: ScoredSample) -> Tensor | None:
        if sample.prompt is not None or self._load is None:
            return None
        if sample.prompt_id not in self._known:
            pixels = self._load(sample.prompt_id)
            self._known[sample.prompt_id] = (
                None if pixels is None
                else _stack([_checked(pixels, "style image")], self._device)[0]
            )  # fmt: skip
        return self._known[sample.prompt_id]


def _pair(
    sample: ScoredSample, load_source: LoadPixels, load_output: LoadPixels, styles: _Styles
) -> _Pair:
    output = _checked(load_output(sample.sample_id), "output")
    source = _checked(load_source(sample.image_id), "source")
    if output.shape != source.shape:
        raise DataError(f"the output is {_size(output)}, its source {_size(source)}")
    return _Pair(sample, output, source, styles.of(sample))


def _batch(pairs: Sequence[_Pair], device: torch.device) -> tuple[list[str], MetricBatch]:
    samples = [pair.sample for pair in pairs]
    batch = MetricBatch(
        outputs=_stack([pair.output for pair in pairs], device),
        sources=_stack([pair.source for pair in pairs], device),
        prompts=[sample.prompt for sample in samples],
        source_prompts=[sample.source_prompt for sample in samples],
        domains=[sample.domain for sample in samples],
        style_images=[pair.style for pair in pairs],
    )
    return [sample.sample_id for sample in samples], batch


def _checked(pixels: Pixels, what: str) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DataError(
            f"the {what} is {pixels.dtype} of shape {list(pixels.shape)}, not uint8 [H, W, 3]"
        )
    return pixels


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def _stack(images: Sequence[Pixels], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().to(device)
