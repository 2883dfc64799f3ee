"""The predict-only Lightning module around every method, and the writer of its chunks."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from benchmark import side_by_side
from benchmark.energy import joules_since, total_joules
from benchmark.errors import BenchError
from benchmark.interface import StyleBatch, StyleRequest, StyleTransferMethod
from benchmark.meter import peak_memory_mib
from benchmark.noise import NoiseSource
from benchmark.pictures import Pixels, encode_png
from benchmark.records import ChunkRecord, SampleRecord
from benchmark.run import RunDirectory
from benchmark.source_cache import owed_seconds
from benchmark.tuning import TuningClock

OnSample = Callable[[int, float], None]


@dataclass(frozen=True)
class Prediction:
    """Outcome of one chunk: ``images`` [B, 3, H, W] float32 CPU, not yet clamped.

    ``seconds`` and ``preparation_seconds`` as in :class:`benchmark.records.ChunkRecord`.
    """

    chunk: int
    requests: tuple[StyleRequest, ...]
    images: Tensor
    seconds: float
    peak_memory_mib: float
    warm: bool
    energy_joules: float | None
    preparation_seconds: dict[str, float] | None


class PredictModule(pl.LightningModule):
    """Runs a method on chunks under ``Trainer.predict``.

    The Trainer must be made with ``inference_mode=False``: guided methods differentiate inside
    ``stylize``, and under inference mode their gradients fail or, worse, vanish.

    Args:
        method: a prepared method.
        run_seed: seed of every sample's random stream.
    """

    def __init__(self, method: StyleTransferMethod, run_seed: int) -> None:
        super().__init__()
        self.method = method
        self.run_seed = run_seed
        self._warm = False
        # of this machine; the samples of a chunk share the cores with the other processes' ones
        self._processes = 1
        # whoever shows progress may ask to be told within a chunk
        self.on_sample: OnSample | None = None

    def on_predict_start(self) -> None:
        if torch.is_inference_mode_enabled():
            raise BenchError(
                "the Trainer runs with inference_mode=True, in which guided methods cannot "
                "differentiate. Build it with Trainer(inference_mode=False)."
            )
        self._processes = self.trainer.num_devices
        if self.device.type == "cpu":
            # launchers of several processes cut the threads, and rounding depends on their number
            torch.set_num_threads(os.cpu_count() or 1)

    def transfer_batch_to_device(
        self, batch: tuple[int, StyleBatch], device: torch.device, dataloader_idx: int
    ) -> tuple[int, StyleBatch]:
        index, chunk = batch
        return index, chunk.to(device)

    def predict_step(self, batch: tuple[int, StyleBatch], batch_idx: int = 0) -> Prediction:
        """Stylise one chunk with gradients enabled."""
        index, chunk = batch
        on_cuda = chunk.images.is_cuda
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        energy = total_joules(chunk.images.device)
        owed = owed_seconds()
        start = time.perf_counter()
        with torch.enable_grad(), TuningClock().active() as tuning:
            images = stylize_chunk(
                self.method, chunk, self.run_seed, self.on_sample,
                processes=self._processes,
            )  # fmt: skip
        if on_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start - tuning.spent + owed_seconds() - owed
        joules = joules_since(energy, chunk.images.device)
        expected = chunk.images.shape
        if images.shape != expected:
            raise BenchError(
                f"{type(self.method).__name__}.stylize returned shape {tuple(images.shape)} for "
                f"images of shape {tuple(expected)}; both must be equal"
            )
        warm, self._warm = self._warm, True
        return Prediction(
            chunk=index,
            requests=chunk.requests,
            images=images.detach().float().cpu(),
            seconds=seconds,
            peak_memory_mib=peak_memory_mib(chunk.images.device),
            warm=warm,
            energy_joules=joules,
            preparation_seconds=tuning.trained or None,
        )


def stylize_chunk(
    method: StyleTransferMethod, chunk: StyleBatch, run_seed: int,
    on_sample: OnSample | None = None, *, processes: int = 1, workers: int | None = None,
) -> Tensor:  # fmt: skip
    """Outputs [B, 3, H, W] of a chunk; on a CPU, every sample in a batch of its own.

    CPU kernels choose their algorithm by the batch's shape, and CLIP guidance amplifies the
    rounding differences to visible ones within a few steps. With one shape for all, a picture does
    not depend on the chunk size, to the last bit.

    Args:
        on_sample: called after each sample with the number done so far and the seconds since the
            chunk began; on a CPU only, elsewhere a chunk is one call.
        processes: that share the machine's cores for this run.
        workers: samples at once on a CPU; as :func:`benchmark.side_by_side.worker_count` says if
            None.
    """
    start = time.perf_counter()
    if chunk.images.device.type != "cpu":
        return method.stylize(chunk, NoiseSource(run_seed, chunk.sample_ids, chunk.images.device))

    def stylize(place: int) -> Tensor:
        sample = chunk.sample(place)
        noise = NoiseSource(run_seed, sample.sample_ids, sample.images.device)
        return method.stylize(sample, noise)

    def tell(done: int) -> None:
        if on_sample is not None:
            on_sample(done, time.perf_counter() - start)

    if not method.samples_side_by_side:
        outputs = []
        for place in range(len(chunk.requests)):
            outputs.append(stylize(place))
            tell(place + 1)
        return torch.cat(outputs)
    workers = workers or side_by_side.worker_count(method, chunk, processes)
    order = side_by_side.in_turn_of_images(chunk)
    return torch.cat(side_by_side.compute(stylize, order, workers, tell))


def to_pixels(images: Tensor) -> list[Pixels]:
    """[B, 3, H, W] in [-1, 1] to [H, W, 3] uint8, clamped, rounded half to even."""
    scaled = images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return [image.permute(1, 2, 0).contiguous().numpy() for image in scaled]


class ChunkWriter(BasePredictionWriter):
    """Stores every chunk as soon as it is predicted; nothing is gathered in memory."""

    def __init__(self, directory: RunDirectory) -> None:
        super().__init__(write_interval="batch")
        self.directory = directory

    def write_on_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, prediction: Any,
        batch_indices: Sequence[int] | None, batch: Any, batch_idx: int, dataloader_idx: int,
    ) -> None:  # fmt: skip
        if not isinstance(prediction, Prediction):
            raise TypeError(f"expected a Prediction, got {type(prediction).__name__}")
        finite = torch.isfinite(prediction.images).flatten(1).all(1).tolist()
        pixels = to_pixels(torch.nan_to_num(prediction.images))
        pngs = [encode_png(image) if ok else None for image, ok in zip(pixels, finite, strict=True)]
        samples = tuple(
            SampleRecord(
                sample_id=request.sample_id,
                image_id=request.image_id,
                prompt_id=request.prompt_id,
                prompt=request.prompt,
                source_prompt=request.source_prompt,
                domain=request.domain,
                status="failed" if png is None else "ok",
                reason="the method returned non-finite values" if png is None else None,
                sha256=None if png is None else hashlib.sha256(png).hexdigest(),
            )
            for request, png in zip(prediction.requests, pngs, strict=True)
        )
        self.directory.write_chunk(
            ChunkRecord(
                chunk=prediction.chunk,
                samples=samples,
                seconds=prediction.seconds,
                peak_memory_mib=prediction.peak_memory_mib,
                warm=prediction.warm,
                rank=trainer.global_rank,
                energy_joules=prediction.energy_joules,
                preparation_seconds=prediction.preparation_seconds,
            ),
            pngs,
        )
