"""The cache of fine-tuned weights: keyed by content, one trainer, refusals, and its accounting."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.errors import WeightsError
from benchmark.interface import (
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleRequest,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.predict import PredictModule
from benchmark.records import ChunkRecord, SampleRecord, merge_samples
from benchmark.tuning import TunedWeights, TuningClock

FACTS = {"prompt": "Golden", "domain": "dogs", "lr": 1e-3}


class Trainer:
    """Counts how often it was asked, and takes a moment."""

    def __init__(self, value: float = 1.0) -> None:
        self.calls = 0
        self.value = value

    def __call__(self) -> dict[str, Tensor]:
        self.calls += 1
        time.sleep(0.05)
        return {"w": torch.full((2, 3), self.value), "steps": torch.tensor(7)}


def test_weights_are_trained_once_and_come_back_from_disk(tmp_path: Path) -> None:
    train = Trainer(0.25)
    first = TunedWeights("m", 1, tmp_path).get(FACTS, train)
    again = TunedWeights("m", 1, tmp_path).get(dict(reversed(FACTS.items())), train)
    assert train.calls == 1
    assert all(torch.equal(first[name], again[name]) for name in ("w", "steps"))
    assert again["steps"].dtype == torch.int64


@pytest.mark.parametrize("change", [{"prompt": "Clay"}, {"lr": 2e-3}, {"sha": "00"}])
def test_another_fact_means_other_weights(tmp_path: Path, change: dict[str, object]) -> None:
    cache, train = TunedWeights("m", 1, tmp_path), Trainer()
    cache.get(FACTS, train)
    cache.get({**FACTS, **change}, train)
    assert train.calls == 2


def test_another_version_of_the_training_or_another_method_does_not_reuse(tmp_path: Path) -> None:
    train = Trainer()
    for cache in (TunedWeights("m", 1, tmp_path), TunedWeights("m", 2, tmp_path),
                  TunedWeights("n", 1, tmp_path)):  # fmt: skip
        cache.get(FACTS, train)
    assert train.calls == 3


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("m/*.safetensors")
    return path


def test_a_file_of_an_older_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())
    path = file_of(tmp_path)
    save_file(load_file(path), path, metadata={"format": "stylebench-tuned/0"})
    with pytest.raises(WeightsError, match=r"format 'stylebench-tuned/0'.*reads.*/1.*Delete"):
        TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())


def test_a_truncated_and_an_altered_file_are_refused(tmp_path: Path) -> None:
    TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())
    path = file_of(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
    with pytest.raises(WeightsError, match="does not hold the weights it was written with"):
        TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())
    path.write_bytes(whole)
    other = path.with_name(f"{TunedWeights('m', 1, tmp_path).key({'prompt': 'Clay'})}.safetensors")
    path.rename(other)
    with pytest.raises(WeightsError, match="does not hold"):
        TunedWeights("m", 1, tmp_path).get({"prompt": "Clay"}, Trainer())


def test_a_failed_training_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> dict[str, Tensor]:
        raise RuntimeError("no gradient")

    with pytest.raises(RuntimeError, match="no gradient"):
        TunedWeights("m", 1, tmp_path).get(FACTS, broken)
    assert not list(tmp_path.glob("m/*.safetensors"))
    assert TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())["steps"] == 7


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match=r"cannot be kept.*STYLEBENCH_CACHE"):
        TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())


_RACER = """
import sys, time, torch, pathlib
from benchmark.tuning import TunedWeights
folder = pathlib.Path(sys.argv[1])
def train():
    (folder / f"trained-{sys.argv[2]}").touch()
    time.sleep(1.0)
    return {"w": torch.full((1,), float(sys.argv[2]))}
print(float(TunedWeights("m", 1, folder).get({"prompt": "Golden"}, train)["w"]))
"""


@pytest.mark.slow
def test_of_two_processes_one_trains_and_both_get_its_weights(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(tmp_path), str(k)], stdout=subprocess.PIPE, text=True
        )
        for k in range(2)
    ]
    outputs = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(list(tmp_path.glob("trained-*"))) == 1
    assert outputs[0] == outputs[1]


def test_the_clock_tells_what_was_spent_now_from_what_the_weights_cost(tmp_path: Path) -> None:
    with TuningClock().active() as cold:
        TunedWeights("m", 1, tmp_path).get(FACTS, Trainer())
    cache = TunedWeights("m", 1, tmp_path)
    with TuningClock().active() as warm:
        cache.get(FACTS, Trainer())
        cache.get(FACTS, Trainer())
    assert cold.spent >= 0.05 and warm.spent < cold.spent
    assert warm.trained == cold.trained and min(cold.trained.values()) >= 0.05


class Tuned(MethodConfig):
    folder: str


class TunedMethod(StyleTransferMethod):
    Config = Tuned
    card = MethodCard("t", "p", None, ())

    def __init__(self, folder: Path) -> None:
        super().__init__(Tuned(folder=str(folder)))
        self.cache = TunedWeights("m", 1, folder)

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        gains = [self.cache.get({"prompt": r.prompt}, Trainer(0.5))["w"][0, 0]
                 for r in batch.requests]  # fmt: skip
        return batch.images * torch.stack(gains).view(-1, 1, 1, 1)


def test_fine_tuning_is_not_counted_as_sampling(tmp_path: Path) -> None:
    requests = tuple(
        StyleRequest(f"i__{p}", "i", "dogs", p, p, "Photo") for p in ("golden", "clay")
    )
    module = PredictModule(TunedMethod(tmp_path), 0)
    prediction = module.predict_step((0, StyleBatch(torch.ones(2, 3, 4, 4), requests)))
    assert prediction.preparation_seconds is not None
    assert len(prediction.preparation_seconds) == 2
    assert sum(prediction.preparation_seconds.values()) >= 0.1
    assert prediction.seconds < 0.1


def test_weights_that_chunks_share_are_counted_once() -> None:
    def chunk(number: int, names: str, tuning: dict[str, float] | None) -> ChunkRecord:
        samples = tuple(
            SampleRecord(
                sample_id=name, image_id=name, prompt_id="p", prompt="Golden", domain="dogs",
                source_prompt="Photo", status="ok", sha256="0" * 64,
            )
            for name in names
        )  # fmt: skip
        return ChunkRecord(
            chunk=number, samples=samples, seconds=1.0, peak_memory_mib=1.0, warm=True, rank=0,
            preparation_seconds=tuning,
        )  # fmt: skip

    chunks = {
        0: chunk(0, "ab", {"golden": 30.0}), 1: chunk(1, "c", {"golden": 30.0, "clay": 10.0}),
        2: chunk(2, "d", None),
    }  # fmt: skip
    # a record survives its file
    chunks = {k: ChunkRecord.model_validate(json.loads(c.model_dump_json()))
              for k, c in chunks.items()}  # fmt: skip
    shares = [s.preparation_seconds for s in merge_samples(list("abcd"), chunks)]
    assert shares == [10.0, 10.0, 20.0, None]
