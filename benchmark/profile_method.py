"""``bench profile``: where a method's time goes, its FLOPs and its memory, on one chunk."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmark import registry
from benchmark.config import load_protocol
from benchmark.environment import hardware
from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.interface import Guidance, StyleBatch, StyleTransferMethod
from benchmark.launch import RunOptions, resolve
from benchmark.meter import peak_memory_mib
from benchmark.pictures import encode_png
from benchmark.predict import stylize_chunk, to_pixels
from benchmark.profiling import PhaseTimer
from benchmark.side_by_side import worker_count
from benchmark.source_cache import RUN_BYTES, SourceCache
from benchmark.targets import TargetOptions
from benchmark.trainer import plain_float32
from benchmark.zoo import ModelZoo
from benchmark.zoo.compiled import compile_networks
from benchmark.zoo.random_weights import RandomZoo

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Profile:
    """Figures of one method on one machine; seconds are medians over the repeats.

    ``phases`` are seconds a batch, the mean of the threads where samples run side by side;
    ``other`` is what no phase claims. ``start_up_seconds`` run from the start of the process to the
    first batch: imports, reading images and ``load_seconds``. ``flops_per_image`` counts matrix
    products, convolutions and attention, backward passes included.
    """

    schema_version: int
    method: str
    protocol: str
    dataset: str
    precision: str
    compiled: bool
    device: str
    samples: int
    images: int
    seconds_per_image: float
    first_batch_seconds: float
    load_seconds: float
    start_up_seconds: float
    phases: dict[str, float]
    flops_per_image: float
    gflops_per_second: float
    peak_memory_mib: float
    config: dict[str, Any]
    hardware: dict[str, Any]


@dataclass(frozen=True)
class OfficialFigures:
    """Figures of official code in the same process, on the same samples and networks, in float32.

    ``peak_memory_mib`` is None on a CPU, where the peak of a process is that of all it ran.
    """

    checkout: str
    seconds_per_image: float
    first_image_seconds: float
    flops_per_image: float
    peak_memory_mib: float | None


def _target(name: str, style_images: Path | None) -> TargetOptions:
    """The style images that were given, else whatever guides the method."""
    if style_images is not None:
        return TargetOptions(style_images=style_images)
    guidance = registry.load(registry.METHODS, name).guidance
    if Guidance.TEXT in guidance:
        return TargetOptions()
    if Guidance.IMAGE in guidance:
        return TargetOptions(style_dataset="wikiart")
    return TargetOptions(mixes=("golden=0.5,red-bricks=0.5",))


def profile(
    name: str, *, dataset: str, protocol_name: str, samples: int, repeats: int,
    assignments: tuple[str, ...], accelerator: str, precision: str, weights_dir: Path | None,
    style_images: Path | None = None, smoke: bool = False, compiled: bool = False,
    official: Path | None = None,
) -> tuple[Profile, OfficialFigures | None]:  # fmt: skip
    """Run a warm-up batch, then ``repeats`` timed ones, then one that counts FLOPs.

    Args:
        smoke: random weights of the protocol's architectures, and embedded images: no checkpoint
            is needed, and a pass costs what it costs with the real ones.
        compiled: with fused kernels; they are compiled in the warm-up.
        official: a checkout of the method's official code, to be measured as well.

    Raises:
        UsageError: unknown names, bad config, a precision or accelerator that is not offered here,
            no official code that it can be compared with.
    """
    device = _device(accelerator)
    if official is not None and name not in registry.names(registry.OFFICIAL):
        raise UsageError(
            f"--compare: no official code is wired for {name!r}, only for "
            f"{', '.join(registry.names(registry.OFFICIAL))}"
        )
    plain_float32()
    started = time.perf_counter()
    plan = resolve(
        RunOptions(
            method=name, dataset=dataset, protocol=protocol_name,
            target=_target(name, style_images), source_prompt=None, guide=None, images=None,
            limit=samples, on_bad_image="fail", seed=0, config=None, assignments=assignments,
            weights_dir=weights_dir, out=Path("runs"), existing="resume", accelerator=accelerator,
            devices="1", strategy="auto", num_nodes=1,
            precision=precision, batch_size=samples, source="embedded" if smoke else None,
        ),
        RandomZoo if smoke else ModelZoo,
    )  # fmt: skip
    beside: StyleTransferMethod | None = None
    if official is not None:
        beside = registry.load(registry.OFFICIAL, name)(official, plan.method.config)
    plan.zoo.to(device)
    plan.method.prepare(plan.zoo)
    if compiled:
        compile_networks(plan.zoo.loaded().values(), device)
    load_seconds = time.perf_counter() - started
    batch = plan.data_module().chunk(0).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start_up_seconds = time.time() - psutil.Process().create_time()
    first, _ = _timed(plan.method, batch, precision)
    runs = [_timed(plan.method, batch, precision) for _ in range(repeats)]
    seconds = median(wall for wall, _ in runs)
    threads = 1 if device.type != "cpu" else worker_count(plan.method, batch)
    phases = {
        key: median(timer.get(key, 0.0) for _, timer in runs) / threads
        for key in dict.fromkeys(key for _, timer in runs for key in timer)
    }
    phases["other"] = max(0.0, seconds - sum(phases.values()))
    phases["i/o"] = _io_seconds(batch)
    # in its plain form attention is made of matrix products, which are counted
    with sdpa_kernel(SDPBackend.MATH), _FlopCount() as counter:
        _stylize(plan.method, batch, precision, workers=1)  # it sees its own thread only
    flops = counter.total
    report = Profile(
        schema_version=SCHEMA_VERSION,
        method=name,
        protocol=load_protocol(protocol_name).id,
        dataset=dataset,
        precision=precision,
        compiled=compiled,
        device=str(device),
        samples=len(batch.requests),
        images=len({request.image_id for request in batch.requests}),
        seconds_per_image=seconds / len(batch.requests),
        first_batch_seconds=first,
        load_seconds=load_seconds,
        start_up_seconds=start_up_seconds,
        phases=phases,
        flops_per_image=flops / len(batch.requests),
        gflops_per_second=flops / seconds / 1e9,
        peak_memory_mib=peak_memory_mib(device),
        config=plan.resolved.method_config,
        hardware=hardware(),
    )
    if beside is None:
        return report, None
    return report, _official_figures(beside, plan.zoo, batch, repeats)


def _official_figures(
    method: StyleTransferMethod, zoo: ModelZoo, batch: StyleBatch, repeats: int
) -> OfficialFigures:
    """One image as a warm-up, ``repeats`` batches, and one image that counts FLOPs."""
    on_gpu = batch.images.is_cuda
    # our own networks stay on the device, and are none of the official code's memory
    ours_mib = torch.cuda.memory_allocated() / 2**20 if on_gpu else 0.0
    method.prepare(zoo)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    one = batch.sample(0)
    first, _ = _timed(method, one, "32-true")
    seconds = median(_timed(method, batch, "32-true")[0] for _ in range(repeats))
    peak = peak_memory_mib(batch.images.device) - ours_mib if on_gpu else None
    with sdpa_kernel(SDPBackend.MATH), _FlopCount() as counter:
        _stylize(method, one, "32-true", workers=1)
    return OfficialFigures(
        checkout=method.card.upstream or "",
        seconds_per_image=seconds / len(batch.requests),
        first_image_seconds=first,
        flops_per_image=counter.total,
        peak_memory_mib=peak,
    )


class _FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up PyTorch's own FLOP formulas; its FlopCounterMode cannot watch autograd.grad."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _device(accelerator: str) -> torch.device:
    if accelerator == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if accelerator in {"gpu", "cuda"}:
        if not torch.cuda.is_available():
            raise UsageError("--accelerator gpu: there is no CUDA device here; use cpu")
        return torch.device("cuda")
    if accelerator == "cpu":
        return torch.device("cpu")
    raise UsageError(f"--accelerator {accelerator!r}: allowed here are auto, cpu, gpu")


def _stylize(
    method: StyleTransferMethod, batch: StyleBatch, precision: str, workers: int | None = None
) -> torch.Tensor:
    kind = batch.images.device.type
    if precision == "32-true":
        return stylize_chunk(method, batch, 0, workers=workers)
    if precision == "bf16-mixed":
        with torch.autocast(kind, torch.bfloat16):
            return stylize_chunk(method, batch, 0, workers=workers)
    raise UsageError(f"--precision {precision!r}: profiled are 32-true and bf16-mixed")


def _timed(
    method: StyleTransferMethod, batch: StyleBatch, precision: str
) -> tuple[float, dict[str, float]]:
    timer = PhaseTimer()
    if batch.images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    # a cache of its own: what an image needs once belongs to the time of every repeat
    with timer.active(), SourceCache(RUN_BYTES).shared():
        _stylize(method, batch, precision)
        if batch.images.is_cuda:
            torch.cuda.synchronize()
    return time.perf_counter() - start, dict(timer.seconds)


def _io_seconds(batch: StyleBatch) -> float:
    """Encoding and writing the batch's images as the run's writer does."""
    pixels = to_pixels(batch.images.cpu())
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for index, image in enumerate(pixels):
            (Path(folder) / f"{index}.png").write_bytes(encode_png(image))
        return time.perf_counter() - start


def store(report: Profile, out: Path) -> Path:
    """Write ``out/<protocol>/<dataset>/<method>/profile.json``, beside the runs of the method.

    Returns:
        the path; the file is there whole or not at all.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    path = out / report.protocol / report.dataset / report.method / "profile.json"
    write_atomically(path, (json.dumps(asdict(report), indent=2, sort_keys=True) + "\n").encode())
    return path


def print_report(report: Profile, official: OfficialFigures | None, as_json: bool) -> None:
    """To stdout, as tables or JSON."""
    if as_json:
        both = {"official": asdict(official)} if official else {}
        json.dump(asdict(report) | both, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    console = Console()
    table = Table("phase", "s / batch", "share", title=f"{report.method}, {report.protocol}")
    total = sum(report.phases.values()) or 1.0
    for key, seconds in sorted(report.phases.items(), key=lambda item: -item[1]):
        table.add_row(key, f"{seconds:.3f}", f"{100 * seconds / total:.1f} %")
    console.print(table)
    facts = Table("", "", show_header=False)
    facts.add_row("batch", f"{report.samples} samples of {report.images} images")
    facts.add_row("seconds per image", f"{report.seconds_per_image:.3f}")
    facts.add_row("first batch", f"{report.first_batch_seconds:.2f} s")
    facts.add_row("loading", f"{report.load_seconds:.2f} s")
    facts.add_row("start to first batch", f"{report.start_up_seconds:.2f} s")
    facts.add_row("GFLOP per image", f"{report.flops_per_image / 1e9:.1f}")
    facts.add_row("GFLOP per second", f"{report.gflops_per_second:.1f}")
    facts.add_row("peak memory", f"{report.peak_memory_mib:.0f} MiB")
    facts.add_row(
        "device", f"{report.device}, {report.precision}{', compiled' if report.compiled else ''}"
    )
    facts.add_row("processor", str(report.hardware["processor"]))
    console.print(facts)
    if official is None:
        return
    beside = Table("", report.method, "official", "official / ours", title=official.checkout)
    rows = [
        ("seconds per image", report.seconds_per_image, official.seconds_per_image, 3),
        ("GFLOP per image", report.flops_per_image / 1e9, official.flops_per_image / 1e9, 1),
    ]
    if official.peak_memory_mib is not None:
        rows.append(("peak MiB", report.peak_memory_mib, official.peak_memory_mib, 0))
    for what, ours, theirs, places in rows:
        beside.add_row(what, f"{ours:.{places}f}", f"{theirs:.{places}f}", f"{theirs / ours:.2f}")
    console.print(beside)
