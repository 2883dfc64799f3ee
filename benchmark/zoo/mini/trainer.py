"""The one training loop of the mini zoo: seeded, resumable, with an EMA and a logged curve."""

from __future__ import annotations

import copy
import csv
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmark.errors import DataError

from .muon import Muon

log = logging.getLogger(__name__)

LossFn = Callable[[nn.Module, int, torch.Generator], tuple[Tensor, dict[str, float]]]


@dataclass
class Schedule:
    """How long and how fast one model is trained.

    Attributes:
        shares: parts of a step's batch that are computed beside each other, a thread each: small
            networks lose a third of two cores otherwise. A recipe's loss is of one of them.
        hold: share of the steps at the peak of the learning rate, before the cosine.
        adamw_only: Muon trains weights of two dimensions or more but for those whose names begin
            with one of these; None leaves everything to AdamW.
    """

    steps: int
    learning_rate: float
    warmup: int = 200
    weight_decay: float = 0.0
    ema_decay: float = 0.999
    betas: tuple[float, float] = (0.9, 0.99)
    grad_clip: float = 1.0
    shares: int = 1
    hold: float = 0.0
    adamw_only: tuple[str, ...] | None = None

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, the peak, then a cosine down to a twentieth of the peak."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        held = max(self.warmup, self.hold * self.steps)
        done = max(0.0, step - held) / max(1, self.steps - held)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Recipe(Protocol):
    """What a model's training file provides.

    Attributes:
        name: of the model and its files.
        kind: of the model in the weights registry.
        seed: of the initial weights and of the batches.
        domains: corpus domains it reads.
    """

    name: str
    kind: str
    seed: int
    batch_size: int
    domains: tuple[str, ...]
    schedule: Schedule

    def build(self) -> nn.Module:
        """The untrained model, from a seeded generator of its own."""

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch. It depends on ``generator`` (seeded by step and share) alone."""

    def finish(self, model: nn.Module) -> nn.Module:
        """The part of the trained model that ships."""

    def architecture(self) -> dict[str, Any]:
        """Configuration of the shipped model, for its card."""

    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """Figures of the shipped model on held-out images; ``model`` is the trained whole."""


@dataclass
class TrainState:
    """All that a resumed run needs."""

    model: nn.Module
    ema: nn.Module
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        partial = path.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "seconds": self.seconds,
            },
            partial,
        )
        partial.replace(path)

    def restore(self, path: Path, device: torch.device) -> None:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.ema.load_state_dict(saved["ema"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.seconds = saved["step"], saved["seconds"]


@torch.no_grad()
def _update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    pairs = [(e, p) for e, p in zip(ema.parameters(), model.parameters(), strict=True)]
    torch._foreach_lerp_([e for e, _ in pairs], [p.detach() for _, p in pairs], 1.0 - decay)
    for e, p in zip(ema.buffers(), model.buffers(), strict=True):
        e.copy_(p)


def resume(recipe: Recipe, work_dir: Path, device: torch.device) -> TrainState:
    """State of a training run, from its checkpoint if there is one, else untrained."""
    model = recipe.build().to(device)
    state = TrainState(
        model, copy.deepcopy(model).requires_grad_(False), _optimizers(model, recipe.schedule)
    )
    checkpoint = work_dir / f"{recipe.name}.ckpt"
    if checkpoint.is_file():
        state.restore(checkpoint, device)
        log.info("%s: resumed at step %d", recipe.name, state.step)
    return state


def trained_before(work_dir: Path, name: str) -> dict[str, Tensor]:
    """Averaged weights of a model that was trained in the same work folder.

    Raises:
        DataError: it was not.
    """
    checkpoint = work_dir / name / f"{name}.ckpt"
    if not checkpoint.is_file():
        raise DataError(
            f"training starts from {name}, and there is no {checkpoint}: train it first with "
            f"python -m benchmark.zoo.mini.train {name} and the same --work-dir"
        )
    state: dict[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"]
    return state


def _optimizers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    ours: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        except_for = schedule.adamw_only
        matrix = except_for is not None and parameter.ndim >= 2 and not name.startswith(except_for)
        (ours if matrix else others).append(parameter)
    adamw = torch.optim.AdamW(
        others, lr=schedule.learning_rate, betas=schedule.betas, weight_decay=schedule.weight_decay
    )
    if not ours:
        return [adamw]
    return [adamw, Muon(ours, schedule.learning_rate, threads=schedule.shares)]


def train(
    recipe: Recipe, work_dir: Path, *, seed: int, device: torch.device, save_every_s: float = 120.0,
    max_seconds: float | None = None,
) -> TrainState:  # fmt: skip
    """Train to the recipe's number of steps, resuming from ``work_dir`` if a checkpoint is there.

    Mixed bfloat16 on every device; master weights stay float32. The batch of step *k* is drawn from
    a generator seeded by (seed, k) and its share, so a resumed run sees the batches an unbroken one
    would see.

    Args:
        max_seconds: stop (with a checkpoint) after this much training time in all.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = work_dir / f"{recipe.name}.ckpt"
    state = resume(recipe, work_dir, device)
    model, schedule = state.model, recipe.schedule
    curve_path = work_dir / f"{recipe.name}.csv"
    clock = time.monotonic()
    saved_at = clock
    averages: dict[str, float] = {}
    for step in _steps(state.step, schedule.steps):
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate_at(step)
        model.train()
        parts = _set_gradients(recipe, model, step, seed, device)
        nn.utils.clip_grad_norm_(model.parameters(), schedule.grad_clip)
        for optimizer in state.optimizers:
            optimizer.step()
        # a short average while the weights still move fast
        _update_ema(state.ema, model, min(schedule.ema_decay, (step + 1) / (step + 10)))
        state.step = step + 1
        for key, value in parts.items():
            averages[key] = 0.98 * averages.get(key, value) + 0.02 * value
        now = time.monotonic()
        state.seconds += now - clock
        clock = now
        if state.step % 50 == 0 or state.step == schedule.steps:
            row = {"step": float(state.step), "seconds": state.seconds, **averages}
            log.info("%s", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
            append_row(curve_path, row)
        over_time = max_seconds is not None and state.seconds > max_seconds
        if now - saved_at > save_every_s or state.step == schedule.steps or over_time:
            state.save(checkpoint)
            saved_at = now
        if over_time:
            break
    return state


def _set_gradients(
    recipe: Recipe, model: nn.Module, step: int, seed: int, device: torch.device
) -> dict[str, float]:
    """The mean gradient of a step's batches into ``model``; what the recipe says of the first."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    shares = recipe.schedule.shares

    def share(index: int) -> tuple[Sequence[Tensor | None], dict[str, float]]:
        generator = torch.Generator().manual_seed((index * 10_007 + seed) * 1_000_003 + step)
        with _autocast(device, shares):  # belongs to a thread
            loss, parts = recipe.loss(model, step, generator)
        return torch.autograd.grad(loss, parameters, allow_unused=True), parts

    if shares == 1:
        computed = [share(0)]
    else:
        with ThreadPoolExecutor(shares, "share", torch.set_num_threads, (1,)) as pool:
            computed = list(pool.map(share, range(shares)))
    for parameter, *gradients in zip(parameters, *(found for found, _ in computed), strict=True):
        given = [gradient for gradient in gradients if gradient is not None]
        parameter.grad = torch.stack(given).sum(0) / shares if given else None
    return computed[0][1]


def _steps(first: int, last: int) -> Iterator[int]:
    yield from range(first, last)


def _autocast(device: torch.device, shares: int) -> AbstractContextManager[Any]:
    if device.type in {"cpu", "cuda"}:
        # the cache of rounded weights is one for all threads, and whoever ends first empties it:
        # how a gradient is summed would be a matter of chance
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=shares == 1)
    return nullcontext()


def append_row(path: Path, row: dict[str, float]) -> None:
    """Add a row to a curve, a CSV file with a header."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})
