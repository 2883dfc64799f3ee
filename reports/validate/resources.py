"""Checks that need a machine: memory, and accelerators."""

from __future__ import annotations

import gc

import psutil
import torch
from torch import Tensor

from reports.validate.outcome import Outcome, failed, passed
from reports.validate.trial import Trial

REPEATS = 3
MIB = 2**20
# Live tensors are counted exactly; the process also grows by its allocators' habits.
TENSOR_MARGIN = 16 * 2**10
PROCESS_MARGIN = 64 * MIB
DEVICE_PEAK_RATIO = 1.05

_REMEDY = (
    "Keep nothing of a call in the method: detach what is stored, clear caches and hooks, and hold "
    "no graph (loss.item(), not loss)."
)


def memory(trial: Trial) -> Outcome:
    """Live tensors and the process's memory over repeated, equal calls after a warm-up."""
    sample = trial.single(0)
    # what exists already is left out of the counts, which takes a second off them; what a call
    # keeps in place of an older thing is counted both before and after
    gc.freeze()
    try:
        trial.call(sample)
        tensors, process = live_tensor_bytes(), psutil.Process().memory_info().rss
        for _ in range(REPEATS):
            trial.call(sample)
        more = live_tensor_bytes() - tensors
        grown = psutil.Process().memory_info().rss - process
    finally:
        gc.unfreeze()
    seen = (
        f"{REPEATS} more calls left {more / MIB:.2f} MiB of tensors alive (allowed "
        f"{TENSOR_MARGIN / MIB:.2f}), the process grew by {max(grown, 0) / MIB:.0f} MiB (allowed "
        f"{PROCESS_MARGIN / MIB:.0f})"
    )
    if more > TENSOR_MARGIN or grown > PROCESS_MARGIN:
        return failed(seen, _REMEDY)
    return passed(seen)


def live_tensor_bytes() -> int:
    """Bytes of the storages of all tensors that Python reaches and the collector watches."""
    gc.collect()
    storages: dict[int, int] = {}
    for found in gc.get_objects():
        # type() and not isinstance: asking a lazy proxy for its class may import a package
        if issubclass(type(found), Tensor) and found.layout == torch.strided:
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def present_accelerators() -> list[str]:
    """Device types other than the CPU that work here."""
    found = ["cuda"] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        found.append("xpu")
    return found


def accelerators(trial: Trial) -> Outcome:
    """The whole batch on each accelerator: device, shape, finite values, and CUDA's memory."""
    present = present_accelerators()
    if not present:
        return Outcome("skipped", "there is no accelerator here: the CPU alone was tried")
    problems = []
    for name in present:
        problems += [f"{name}: {problem}" for problem in _on(name, trial)]
    if problems:
        return failed(
            "; ".join(problems),
            "Make new tensors on batch.images.device, and register constants as buffers.",
        )
    return passed(", ".join(present))


def _on(name: str, trial: Trial) -> list[str]:
    device = torch.device(name)
    trial.zoo.to(device)
    try:
        there = Trial(trial.method_class, trial.config, trial.zoo, trial.batch.to(device))
        first = there.together
        problems = []
        if first.device.type != device.type:
            problems.append(f"the output is on {first.device}")
        if first.shape != trial.batch.images.shape:
            problems.append(f"the output has shape {tuple(first.shape)}")
        if not bool(torch.isfinite(first).all()):
            problems.append("values are NaN or infinite")
        return problems + (_cuda_memory(there) if name == "cuda" else [])
    except Exception as error:  # reported as what is wrong on this accelerator
        return [f"{type(error).__name__}: {error}"]
    finally:
        trial.zoo.to("cpu")


def _cuda_memory(there: Trial) -> list[str]:
    held, peaks = [], []
    for _ in range(1 + REPEATS):
        torch.cuda.reset_peak_memory_stats()
        there.call(there.batch)
        gc.collect()
        held.append(torch.cuda.memory_allocated())
        peaks.append(torch.cuda.max_memory_allocated())
    problems = []
    if held[-1] - held[0] > MIB:
        problems.append(f"{REPEATS} more calls hold {(held[-1] - held[0]) / MIB:.1f} MiB more")
    if peaks[-1] > DEVICE_PEAK_RATIO * peaks[0]:
        problems.append(f"the peak grows from {peaks[0] / MIB:.0f} to {peaks[-1] / MIB:.0f} MiB")
    return problems
