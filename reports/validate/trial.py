"""One method on trial: its samples, and calls whose side effects are recorded."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from benchmark import registry
from benchmark.config import Protocol
from benchmark.errors import UsageError
from benchmark.interface import (
    Guidance,
    MethodConfig,
    StyleBatch,
    StylePart,
    StyleRequest,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.zoo import ModelZoo
from data.module import to_model_range
from reports.validate.rng import global_seed

DATASET = "afhq"  # embedded, so that nothing is downloaded
RUN_SEED = 0
OTHER_RUN_SEED = 1
GLOBAL_SEED = 11
OTHER_GLOBAL_SEED = 12


class WrongOutputError(Exception):
    """``stylize`` returned something that is no picture tensor."""


def make_batch(
    protocol: Protocol, count: int, guidance: frozenset[Guidance], dataset_name: str = DATASET
) -> StyleBatch:
    """Embedded photographs, one prompt, drawn style image or mixture for each, ids in sorted order.

    Raises:
        UsageError: unknown dataset, fewer than two images, or more than the dataset holds.
    """
    dataset = registry.load(registry.DATASETS, dataset_name)
    frozen = dataset.freeze(
        dataset.source(None), size=protocol.resolution, resize_filter=protocol.resize_filter,
        limit=None, on_bad_image="fail",
    )  # fmt: skip
    if not 2 <= count <= len(frozen.images):
        raise UsageError(f"--images {count}: allowed are 2 to {len(frozen.images)}")
    prompts = dataset.prompts(protocol.prompt_set, "all", None)
    textual = Guidance.TEXT in guidance
    requests = []
    for index, image in enumerate(frozen.images[:count]):
        prompt = prompts[index % len(prompts)]
        requests.append(
            StyleRequest(
                sample_id=f"{index:02d}-{image.image_id}__{prompt.id}",
                image_id=image.image_id,
                domain=dataset.card.domain,
                prompt_id=prompt.id if textual else f"drawn-{index}",
                prompt=prompt.text if textual else None,
                source_prompt=dataset.card.source_prompt,
            )
        )
    images = torch.stack([to_model_range(image.pixels) for image in frozen.images[:count]])
    if textual:
        return StyleBatch(images, tuple(requests))
    shown = style_images(count, protocol.resolution)
    if Guidance.IMAGE in guidance:
        return StyleBatch(images, tuple(requests), shown)
    mixed = tuple(
        (StylePart(0.5, prompts[index % len(prompts)].text), StylePart(0.5, image=style))
        for index, style in enumerate(shown)
    )
    return StyleBatch(images, tuple(requests), mixtures=mixed)


def style_images(count: int, side: int) -> Tensor:
    """Coloured waves as style images [count, 3, side, side] float32 in [-1, 1], always the same."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    pictures = []
    for _ in range(count):
        waves = generator.uniform(2, 8, (3, 2))
        phase = generator.uniform(0, 2 * np.pi, 3)
        pictures.append(
            [
                np.sin(2 * np.pi * (u * x + v * y) + p)
                for (u, v), p in zip(waves, phase, strict=True)
            ]
        )
    return torch.from_numpy(np.array(pictures)).float()


def chosen(batch: StyleBatch, order: Sequence[int]) -> StyleBatch:
    """The samples of a batch at ``order``."""
    rows = list(order)
    style, mixtures = batch.style_images, batch.mixtures
    return StyleBatch(
        batch.images[rows],
        tuple(batch.requests[row] for row in rows),
        None if style is None else style[rows],
        None if mixtures is None else tuple(mixtures[row] for row in rows),
    )


def models_of(method: StyleTransferMethod) -> Iterator[tuple[str, nn.Module]]:
    """The method itself and the models that it holds in plain lists, tuples and dicts."""
    yield "", method
    for name, value in vars(method).items():
        if name.startswith("_"):
            continue
        listed = enumerate(value) if isinstance(value, list | tuple) else ()
        for key, item in value.items() if isinstance(value, dict) else listed:
            if isinstance(item, nn.Module):
                yield f"{name}[{key!r}].", item


def weights_of(method: StyleTransferMethod) -> dict[str, Tensor]:
    """Parameters and buffers of all models by name."""
    found: dict[str, Tensor] = {}
    for prefix, model in models_of(method):
        found |= {prefix + name: value for name, value in model.named_parameters()}
        found |= {prefix + name: value for name, value in model.named_buffers()}
    return found


def digest(weights: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Two sums of each tensor, which a change of its values changes."""
    sums = {}
    for name, value in weights.items():
        wide = value.detach().double()
        sums[name] = (float(wide.sum()), float(wide.square().sum()))
    return sums


class Trial:
    """A prepared method and what its calls did. Every call gets copies of the samples.

    Args:
        method: class on trial.
        config: a valid config of it.
        zoo: the protocol's models.
        batch: samples on ``device``.

    Attributes:
        touched: global generators that construction, ``prepare`` or a call advanced.
        changed: inputs that a call changed.
    """

    def __init__(
        self, method: type[StyleTransferMethod], config: MethodConfig, zoo: ModelZoo,
        batch: StyleBatch,
    ) -> None:  # fmt: skip
        self.method_class = method
        self.config = config
        self.zoo = zoo
        self.batch = batch
        self.touched: dict[str, str] = {}
        self.changed: set[str] = set()

    def fresh(self) -> StyleTransferMethod:
        """A new prepared instance, in ``eval`` mode and on the batch's device as Lightning does."""
        with global_seed(GLOBAL_SEED) as touched:
            method = self.method_class(self.config)
            method.prepare(self.zoo)
            self._note(touched(), "prepare")
        return method.eval().to(self.batch.images.device)

    @cached_property
    def method(self) -> StyleTransferMethod:
        """The instance that most checks share."""
        method = self.fresh()
        self.weights_before = digest(self.shared_weights())
        return method

    def shared_weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of every model that the zoo has handed out."""
        return {
            f"{model_id}.{name}": value
            for model_id, model in self.zoo.loaded().items()
            for name, value in model.state_dict().items()
        }

    def call(
        self, batch: StyleBatch, *, seed: int = RUN_SEED, around: int = GLOBAL_SEED,
        method: StyleTransferMethod | None = None,
    ) -> Tensor:  # fmt: skip
        """``stylize`` with gradients on, as the harness calls it.

        Args:
            seed: of the run.
            around: seed of the global generators.

        Returns:
            what the method returned, detached, of whatever shape and type of numbers.

        Raises:
            WrongOutputError: it returned no tensor.
        """
        runner = method or self.method
        given = copy.deepcopy(batch)
        noise = NoiseSource(seed, batch.sample_ids, batch.images.device)
        with global_seed(around) as touched, torch.enable_grad():
            output = runner.stylize(given, noise)
            self._note(touched(), "stylize")
        self._compare(given, batch)
        if not isinstance(output, Tensor):
            raise WrongOutputError(f"stylize returned {type(output).__name__}, not a tensor")
        return output.detach().clone()

    def single(self, index: int) -> StyleBatch:
        """Sample ``index`` as a batch of its own."""
        return chosen(self.batch, [index])

    def without_guidance(self, batch: StyleBatch) -> StyleBatch:
        """The batch with neither prompts nor style images."""
        requests = tuple(replace(request, prompt=None) for request in batch.requests)
        return StyleBatch(batch.images, requests)

    @cached_property
    def singles(self) -> list[Tensor]:
        """The output of every sample alone: what `bench run` stores on a CPU."""
        return [self.call(self.single(index)) for index in range(len(self.batch.requests))]

    @cached_property
    def together(self) -> Tensor:
        """The output of all samples in one batch."""
        return self.call(self.batch)

    def _note(self, generators: list[str], place: str) -> None:
        for name in generators:
            self.touched.setdefault(name, place)

    def _compare(self, given: StyleBatch, batch: StyleBatch) -> None:
        if not _same(given.images, batch.images):
            self.changed.add("images")
        if given.requests != batch.requests:
            self.changed.add("requests")
        if not _same(given.style_images, batch.style_images):
            self.changed.add("style_images")


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.dtype == second.dtype and torch.equal(first.detach(), second)
