"""Samples, chunks, and which rank makes which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.datasets import afhq
from data.freeze import FrozenSet, freeze
from data.module import ChunkSampler, StyleTransferDataModule


@given(
    count=st.integers(0, 60), world=st.integers(1, 9), done=st.sets(st.integers(0, 59)),
)  # fmt: skip
def test_ranks_share_the_open_chunks_exactly(count: int, world: int, done: set[int]) -> None:
    shares = [list(ChunkSampler(count, rank, world, done)) for rank in range(world)]
    taken = [chunk for share in shares for chunk in share]
    assert len(taken) == len(set(taken))
    assert set(taken) == set(range(count)) - done
    for rank, share in enumerate(shares):
        assert share == sorted(share)
        assert all(chunk % world == rank for chunk in share)


def test_rank_outside_of_the_world() -> None:
    with pytest.raises(ValueError, match="rank 2 is not below the world size 2"):
        ChunkSampler(4, 2, 2, ())


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> FrozenSet:
    return freeze(
        afhq.source(None), size=64, resize_filter="lanczos", limit=3, on_bad_image="fail",
        cache_dir=tmp_path_factory.mktemp("cache"),
    )  # fmt: skip


def module(frozen: FrozenSet, batch_size: int = 4) -> StyleTransferDataModule:
    prompts = afhq.prompts("mini-v1", "golden,crayon-sketch", None)
    return afhq.data_module(frozen, prompts, source_prompt="Photo", batch_size=batch_size)


def test_samples_are_image_major_with_safe_ids(frozen: FrozenSet) -> None:
    samples = module(frozen).samples
    assert [sample.sample_id for sample in samples] == [
        f"{image.image_id}__{prompt}"
        for image in frozen.images
        for prompt in ("crayon-sketch", "golden")
    ]
    assert len({sample.sample_id for sample in samples}) == 6
    for sample in samples:
        assert sample.domain == "dogs"
        assert sample.source_prompt == "Photo"
        assert sample.prompt == {"golden": "Golden"}.get(sample.prompt_id, "A sketch with crayon")


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 6), (4, [4, 2]), (9, [6])])
def test_chunks_are_whole_ordered_and_in_model_range(
    frozen: FrozenSet, batch_size: int, sizes: list[int]
) -> None:
    made = module(frozen, batch_size)
    chunks = list(made.predict_dataloader())
    assert made.chunk_count == len(sizes)
    assert [index for index, _ in chunks] == list(range(len(sizes)))
    assert [len(batch.requests) for _, batch in chunks] == sizes
    assert [request for _, batch in chunks for request in batch.requests] == made.samples
    images = torch.cat([batch.images for _, batch in chunks])
    assert images.shape == (6, 3, 64, 64)
    assert images.dtype == torch.float32
    stored = np.stack([image.pixels for image in frozen.images for _ in range(2)])
    expected = torch.from_numpy(stored).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(images, expected, atol=1e-6, rtol=0)


def test_finished_chunks_are_left_out_and_the_others_stay_the_same(frozen: FrozenSet) -> None:
    made = module(frozen, 2)
    whole = dict(made.predict_dataloader())
    made.done = {0, 2}
    rest = dict(made.predict_dataloader())
    assert list(rest) == [1]
    assert rest[1].requests == whole[1].requests
    assert torch.equal(rest[1].images, whole[1].images)
    made.done = {0, 1, 2}
    assert list(made.predict_dataloader()) == []


WORKER = """
import json
import sys
from pathlib import Path
import pytorch_lightning as pl, torch
from pytorch_lightning.callbacks import Callback
from data.datasets import afhq

class Recorder(pl.LightningModule):
    def __init__(self, out):
        super().__init__()
        self.out = out
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch
    def predict_step(self, batch, batch_idx=0):
        (self.out / f"rank{self.global_rank}-chunk{batch[0]}").touch()

class Barrier(Callback):
    def on_predict_end(self, trainer, pl_module):
        trainer.strategy.barrier("end")
        (pl_module.out / f"rank{trainer.global_rank}-end").touch()

for out, limit, done in json.loads(sys.argv[1]):
    frozen = afhq.freeze(afhq.source(None), size=64, resize_filter="lanczos", limit=limit,
                         on_bad_image="fail")
    prompts = afhq.prompts("mini-v1", "quick", None)
    module = afhq.data_module(frozen, prompts, source_prompt="Photo", batch_size=2)
    module.done = set(done)
    pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", use_distributed_sampler=False,
               inference_mode=False, logger=False, enable_progress_bar=False,
               enable_model_summary=False, enable_checkpointing=False, callbacks=[Barrier()],
               ).predict(Recorder(Path(out)), datamodule=module, return_predictions=False)
"""


@pytest.mark.slow
def test_two_processes_with_few_or_no_chunks(tmp_path: Path) -> None:
    """A rank without chunks ends like the others: same hooks, same barriers."""
    cases: list[tuple[int, list[int], set[str]]] = [
        (3, [], {"rank0-chunk0", "rank1-chunk1", "rank0-chunk2"}),
        (1, [], {"rank0-chunk0"}),
        (2, [0], {"rank1-chunk1"}),
        (2, [0, 1], set()),
    ]
    script, work = tmp_path / "worker.py", []
    script.write_text(WORKER)
    for number, (limit, done, _) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        work.append((str(tmp_path / str(number)), limit, done))
    env = dict(os.environ) | {
        "STYLEBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }  # fmt: skip
    finished = subprocess.run(
        [sys.executable, str(script), json.dumps(work)], env=env, timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-2000:]
    for (folder, *_), (_, _, expected) in zip(work, cases, strict=True):
        written = {path.name for path in Path(folder).iterdir()}
        assert written == expected | {"rank0-end", "rank1-end"}
