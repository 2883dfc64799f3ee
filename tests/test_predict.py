"""Chunks on a CPU: one sample a batch, progress within a chunk."""

from __future__ import annotations

from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleRequest,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.predict import PredictModule, stylize_chunk
from benchmark.progress import RunProgress
from benchmark.zoo import ModelZoo


class Noisy(StyleTransferMethod):
    """Adds its noise, and remembers the sizes of the batches it was given."""

    card: ClassVar[MethodCard] = MethodCard("noisy", "none", None, ())
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        self.sizes: list[int] = []

    def prepare(self, zoo: ModelZoo) -> None:
        """Nothing to load."""

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        self.sizes.append(len(batch.images))
        return batch.images + noise.normal("all", batch.images.shape[1:])


def chunk(*names: str) -> StyleBatch:
    requests = tuple(
        StyleRequest(
            sample_id=name, image_id=name, domain="dogs", prompt_id="p", prompt="Golden",
            source_prompt="Photo",
        )
        for name in names
    )  # fmt: skip
    return StyleBatch(torch.zeros(len(names), 3, 4, 4), requests)


def test_every_sample_of_a_cpu_chunk_is_a_batch_of_its_own() -> None:
    method = Noisy(MethodConfig())
    together = stylize_chunk(method, chunk("a", "b", "c"), run_seed=3)
    assert method.sizes == [1, 1, 1]
    alone = stylize_chunk(method, chunk("b"), run_seed=3)
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


def test_progress_is_told_after_each_sample() -> None:
    told: list[tuple[int, float]] = []
    stylize_chunk(
        Noisy(MethodConfig()), chunk("a", "b"), 0, lambda count, s: told.append((count, s))
    )
    assert [count for count, _ in told] == [1, 2]
    assert 0 <= told[0][1] <= told[1][1]


def test_the_bar_moves_within_a_chunk_and_ends_where_it_should() -> None:
    seen: list[float] = []

    class Watched(RunProgress):
        def _within_chunk(self, count: int, seconds: float) -> None:
            super()._within_chunk(count, seconds)
            assert self._progress is not None
            (task,) = self._progress.tasks
            seen.append(task.completed)
            assert task.fields["chunk"] == "7"
            assert task.fields["rate"].endswith("images/s")

    trainer = pl.Trainer(
        accelerator="cpu", devices=1, inference_mode=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Watched("noisy / dogs", total_samples=5, done_samples=2)],
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(
        [(7, chunk("a", "b", "c"))], batch_size=1, collate_fn=lambda rows: rows[0]
    )
    trainer.predict(PredictModule(Noisy(MethodConfig()), 0), loader, return_predictions=False)
    assert seen == [3, 4, 5]
