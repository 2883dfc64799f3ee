"""Chunks on a CPU: one sample a batch, progress within a chunk; what a chunk record tells."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmark.energy import joules_since, total_joules
from benchmark.errors import RunDirectoryError
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleRequest,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.predict import ChunkWriter, PredictModule, stylize_chunk
from benchmark.progress import RunProgress
from benchmark.records import ChunkRecord, merge_samples
from benchmark.run import RunDirectory
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

    watched = Watched("noisy / dogs", total_samples=5, done_samples=2)
    predict([(7, chunk("a", "b", "c"))], watched)
    assert seen == [3, 4, 5]


def predict(chunks: list[tuple[int, StyleBatch]], *callbacks: pl.Callback) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, inference_mode=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks),
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(chunks, batch_size=1, collate_fn=lambda rows: rows[0])
    trainer.predict(PredictModule(Noisy(MethodConfig()), 0), loader, return_predictions=False)


def test_chunk_records_tell_which_were_warm_and_no_energy_without_a_counter(
    tmp_path: Path,
) -> None:
    directory = RunDirectory(tmp_path)
    for folder in (directory.chunks_path, directory.images_path):
        folder.mkdir()
    predict([(0, chunk("a", "b")), (1, chunk("c"))], ChunkWriter(directory))
    records = directory.completed_chunks()
    assert [(record.warm, record.energy_joules) for record in records.values()] == [
        (False, None), (True, None),
    ]  # fmt: skip
    samples = merge_samples(["c", "a", "b"], records)
    assert [sample.warm for sample in samples] == [True, False, False]


def test_chunk_records_of_an_earlier_version_still_load_and_shares_are_even() -> None:
    old: dict[str, Any] = {
        "chunk": 0, "seconds": 4.0, "peak_memory_mib": 100.0, "warm": True, "rank": 0,
        "samples": [
            {"sample_id": name, "image_id": name, "prompt_id": "p", "prompt": "Golden",
             "source_prompt": "Photo", "domain": "dogs", "status": "ok", "sha256": "0" * 64}
            for name in ("a", "b")
        ],
    }  # fmt: skip
    record = ChunkRecord.model_validate_json(json.dumps(old))
    assert (record.energy_joules, record.preparation_seconds) == (None, None)
    (first, second) = merge_samples(["a", "b"], {0: record})
    assert (first.seconds, first.energy_joules, first.preparation_seconds) == (2.0, None, None)
    spent = {"energy_joules": 30.0, "preparation_seconds": {"golden": 9.0}}
    costly = record.model_copy(update=spent)
    (first, second) = merge_samples(["a", "b"], {0: costly})
    assert (second.energy_joules, second.preparation_seconds) == (15.0, 4.5)


def test_style_images_are_kept_by_prompt_id_whatever_their_size(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    levels = torch.arange(5 * 7 * 3, dtype=torch.uint8).view(5, 7, 3).numpy()
    directory.write_styles({"waves": levels, "night/sky": levels[:2, ::-1]})
    again = RunDirectory(tmp_path)
    assert (again.load_style("waves") == levels).all()
    assert (again.load_style("night/sky") == levels[:2, ::-1]).all()
    with pytest.raises(RunDirectoryError, match=r"styles\.parquet has no style image 'clay'"):
        again.load_style("clay")
    with pytest.raises(RunDirectoryError, match=r"has no styles\.parquet"):
        RunDirectory(tmp_path / "other").load_style("waves")


def test_a_cpu_has_no_energy_counter() -> None:
    assert total_joules(torch.device("cpu")) is None
    assert joules_since(None, torch.device("cpu")) is None
    assert joules_since(3.0, torch.device("cpu")) is None


class CountedGpu(ModuleType):
    """Answers as NVML's documentation says; there is no GPU where the tests run."""

    class NVMLError(Exception):
        pass

    def __init__(self, millijoules: list[int]) -> None:
        super().__init__("pynvml")
        self.millijoules = millijoules
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != "GPU-0123":
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        assert (handle, self.open) == ("handle", 1)
        if not self.millijoules:
            raise self.NVMLError("Not Supported")
        return self.millijoules.pop(0)


@pytest.mark.parametrize(("uuid", "millijoules", "expected"), [
    ("0123", [5_000_250, 5_012_750], 12.5), ("0123", [], None), ("0123", [7], None),
    ("4567", [1, 2], None),
])  # fmt: skip
def test_energy_is_the_difference_of_nvmls_counter_in_joules(
    uuid: str, millijoules: list[int], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = CountedGpu(millijoules)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuid)
    )
    device = torch.device("cuda", 1)
    assert joules_since(total_joules(device), device) == expected
    assert library.open == 0


def test_without_the_package_there_is_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert total_joules(torch.device("cuda", 0)) is None
