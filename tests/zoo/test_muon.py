"""Muon against PyTorch's own, which takes matrices alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.zoo.mini.muon import RMS, Muon, orthogonalised


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 99))
def test_singular_values_come_near_one_and_directions_stay(
    rows: int, columns: int, seed: int
) -> None:
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=_draws(seed)))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=_draws(seed + 1)))
    rank = min(rows, columns)
    values = torch.linspace(0.1, 1.0, rank)
    matrix = left[:, :rank] @ values.diag() @ right[:, :rank].T
    found = left[:, :rank].T @ orthogonalised(matrix) @ right[:, :rank]
    assert found.diag().min() > 0.5 and found.diag().max() < 1.3
    assert (found - found.diag().diag()).abs().max() < 1e-3


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_equal_those_of_pytorch(threads: int) -> None:
    ours, theirs = (
        [nn.Parameter(torch.ones(12, 20)), nn.Parameter(torch.ones(9, 4))] for _ in "ab"
    )
    one = Muon(ours, lr=0.02, threads=threads)
    other = torch.optim.Muon(
        theirs, lr=0.02 * RMS / 0.2, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(3):
        for place, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
            mine.grad = torch.randn(mine.shape, generator=_draws(10 * step + place))
            yours.grad = mine.grad.clone()
        one.step()
        other.step()
    for mine, yours in zip(ours, theirs, strict=True):
        moved = (mine.detach() - 1).norm()
        assert (mine - yours).detach().norm() < 0.03 * moved  # theirs iterates in bfloat16


def test_a_convolution_is_a_matrix_of_its_filters() -> None:
    gradient = torch.randn(6, 3, 2, 2, generator=_draws(1))
    flat, conv = nn.Parameter(torch.zeros(6, 12)), nn.Parameter(torch.zeros(6, 3, 2, 2))
    for parameter in (flat, conv):
        parameter.grad = gradient.reshape(parameter.shape)
        Muon([parameter], lr=0.1).step()
    assert torch.equal(flat.detach(), conv.detach().flatten(1))
    rms = conv.detach().square().mean().sqrt()
    assert float(rms) == pytest.approx(0.1 * RMS, rel=0.3)


def _draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_parameter_without_a_gradient_stays() -> None:
    still: Tensor = nn.Parameter(torch.ones(2, 2))
    Muon([nn.Parameter(torch.ones(2, 2)), still], lr=0.1).step()
    assert torch.equal(still.detach(), torch.ones(2, 2))
