"""The training loop of the mini zoo: its learning rates, and batches beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.zoo.mini.trainer import Schedule, train

CPU = torch.device("cpu")


class Noise:
    """A layer that learns to ignore noise; the batches are kept."""

    name, kind, seed, batch_size, domains = "noise", "noise", 0, 4, ()

    def __init__(self, shares: int) -> None:
        self.schedule = Schedule(steps=3, learning_rate=1e-2, warmup=1, shares=shares)
        self.batches: dict[int, list[Tensor]] = {}

    def build(self) -> nn.Module:
        model = nn.Linear(3, 1)
        nn.init.ones_(model.weight)
        nn.init.zeros_(model.bias)
        return model

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(self.batch_size, 3, generator=generator)
        self.batches.setdefault(step, []).append(x)
        loss = model(x).float().square().mean()
        return loss, {"loss": float(loss.detach())}

    def finish(self, model: nn.Module) -> nn.Module:
        return model

    def architecture(self) -> dict[str, Any]:
        return {}

    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        return {}


def test_a_step_takes_the_mean_gradient_of_its_shares(tmp_path: Path) -> None:
    recipe = Noise(2)
    recipe.schedule.steps = 1
    state = train(recipe, tmp_path, seed=3, device=CPU)
    first, second = recipe.batches[0]
    assert not torch.equal(first, second)
    whole = recipe.build()
    joint = whole(torch.cat([first, second])).square().mean()
    wanted = torch.autograd.grad(joint, list(whole.parameters()))
    scale = torch.cat([g.flatten() for g in wanted]).norm().clamp_min(1.0)  # clipped by the trainer
    for gradient, parameter in zip(wanted, state.model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient / scale, rtol=0.02, atol=0.02)  # bf16


def test_shares_do_not_depend_on_which_thread_is_first(tmp_path: Path) -> None:
    one = train(Noise(2), tmp_path / "one", seed=3, device=CPU)
    two = train(Noise(2), tmp_path / "two", seed=3, device=CPU)
    other = train(Noise(1), tmp_path / "other", seed=3, device=CPU)
    weights = [state.model.state_dict()["weight"] for state in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_learning_rate_is_held_and_then_falls_to_a_twentieth() -> None:
    plain = Schedule(steps=100, learning_rate=1.0, warmup=10)
    held = Schedule(steps=100, learning_rate=1.0, warmup=10, hold=0.7)
    assert [plain.learning_rate_at(k) for k in (0, 10)] == [0.1, 1.0]
    assert plain.learning_rate_at(55) == pytest.approx(0.525)
    assert [held.learning_rate_at(k) for k in (0, 10, 70)] == [0.1, 1.0, 1.0]
    assert held.learning_rate_at(85) == pytest.approx(0.525)
    for schedule in (plain, held):
        assert schedule.learning_rate_at(100) == pytest.approx(0.05)
