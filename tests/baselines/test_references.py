"""The two reference points: the untouched source, and styles drawn by procedure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.identity import Identity
from baselines.procedural import Procedural
from benchmark.errors import UsageError
from benchmark.interface import MethodConfig, StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.zoo.mini.styles import STYLES
from tests.runs import picture


def batch_of(*prompts: str) -> StyleBatch:
    pixels = torch.from_numpy(np.stack([picture(f"source {i}") for i in range(len(prompts))]))
    requests = tuple(
        StyleRequest(f"image{i}__style", f"image{i}", "dogs", "style", prompt)
        for i, prompt in enumerate(prompts)
    )
    return StyleBatch(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, requests)


def noise_of(batch: StyleBatch, seed: int = 0) -> NoiseSource:
    return NoiseSource(seed, batch.sample_ids)


def test_identity_gives_the_source_in_memory_of_its_own() -> None:
    batch = batch_of("Golden")
    output = Identity(MethodConfig()).stylize(batch, noise_of(batch))
    assert torch.equal(output, batch.images)
    output.zero_()
    assert batch.images.any()


@pytest.mark.parametrize("prompt", [style.prompt for style in STYLES.values()])
def test_every_prompt_of_the_mini_zoo_is_drawn_in_range_and_changes_the_source(prompt: str) -> None:
    batch = batch_of(prompt)
    output = Procedural(MethodConfig()).stylize(batch, noise_of(batch))
    assert output.shape == batch.images.shape and output.dtype == torch.float32
    assert output.min() >= -1 and output.max() <= 1
    assert (output - batch.images).abs().mean() > 0.02


def test_a_procedure_depends_on_the_sample_and_the_seed_and_nothing_else() -> None:
    method = Procedural(MethodConfig())
    both = batch_of("Golden", "Red bricks")
    together = method.stylize(both, noise_of(both))
    alone = StyleBatch(both.images[1:], both.requests[1:])
    assert torch.equal(method.stylize(alone, noise_of(alone)), together[1:])
    assert not torch.equal(method.stylize(alone, noise_of(alone, seed=1)), together[1:])


def test_an_unknown_prompt_is_refused_with_the_known_ones() -> None:
    batch = batch_of("made of ice")
    with pytest.raises(UsageError, match=r"draws no 'made of ice'; it knows: .*Golden"):
        Procedural(MethodConfig()).stylize(batch, noise_of(batch))
