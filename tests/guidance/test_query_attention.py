"""Query selection and routing against QS-Attn's three samplers.

Golden numbers: ``tests/golden/make_qsattn.py`` (sapphire497/query-selected-attention c2c5e40,
``PatchSampleF`` of networks_global, networks_local and networks_local_global, without its MLPs).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from benchmark.guidance import query_attention
from benchmark.guidance.losses import unit_channels
from benchmark.guidance.query_attention import (
    Attention,
    WindowLayout,
    global_entropy,
    local_entropy,
    local_keys,
    local_values,
    select,
)
from tests.golden.official_format import named_normal

GOLDEN = Path(__file__).parents[1] / "golden"
SHAPE = (2, 8, 12, 12)
ANCHORS = 40
SOURCE = 0.5 * named_normal("qsattn/source", SHAPE)
OUTPUT = 0.5 * named_normal("qsattn/output", SHAPE)
MODES: tuple[Attention, ...] = ("global", "local", "local_global")
LAYOUTS: tuple[WindowLayout, ...] = ("spatial", "upstream")


@pytest.mark.parametrize("mode", MODES)
def test_selection_and_routing_equal_the_official_ones(mode: Attention) -> None:
    golden = load_file(GOLDEN / "qsattn.safetensors")
    routing = select(SOURCE, mode, ANCHORS, window=7, layout="upstream")
    assert torch.equal(routing.positions, golden[f"{mode}/positions"])
    for features, name in ((SOURCE, "keys"), (OUTPUT, "queries")):
        routed = unit_channels(routing(features)).flatten(0, 1)
        torch.testing.assert_close(routed, golden[f"{mode}/{name}"], atol=1e-5, rtol=1e-5)


def plain_entropy(attention: Tensor) -> Tensor:
    return torch.special.entr(attention.double()).sum(-1).float()


def test_global_entropy_is_that_of_the_full_matrix() -> None:
    flat = SOURCE.flatten(2)
    attention = (flat.transpose(1, 2) @ flat).softmax(2)
    torch.testing.assert_close(
        global_entropy(SOURCE), plain_entropy(attention), atol=1e-5, rtol=1e-5
    )


def test_spatial_window_holds_the_neighbours_and_zeros_beyond_the_border() -> None:
    features = named_normal("window", (1, 4, 6, 6))
    positions = torch.tensor([[0, 14]])  # the corner, and row 2 column 2
    windows = local_keys(features, 3, positions, "spatial")
    neighbours = features[0, :, 1:4, 1:4].flatten(1).T
    assert torch.equal(windows[0, 1], neighbours)
    assert torch.equal(windows[0, 0, 4], features[0, :, 0, 0])
    assert windows[0, 0, :3].abs().max() == 0


def test_layouts_differ_only_in_the_order_of_axes() -> None:
    positions = torch.arange(144).expand(2, -1)
    spatial = local_keys(SOURCE, 7, positions, "spatial")
    upstream = local_keys(SOURCE, 7, positions, "upstream")
    assert not torch.equal(spatial, upstream)
    assert torch.equal(spatial.flatten(2).sort(2).values, upstream.flatten(2).sort(2).values)
    assert torch.equal(local_values(SOURCE, 7, positions, "spatial"), spatial)
    mixed = local_values(SOURCE, 7, positions, "upstream")
    assert torch.equal(spatial.flatten(1).sort(1).values, mixed.flatten(1).sort(1).values)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_block_size_does_not_change_the_entropies(
    layout: WindowLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = global_entropy(SOURCE), local_entropy(SOURCE, 7, layout)
    monkeypatch.setattr(query_attention, "_BLOCK_ELEMENTS", 7000)
    parts = global_entropy(SOURCE), local_entropy(SOURCE, 7, layout)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@given(st.sampled_from(MODES), st.integers(2, 144), st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_rows_are_the_least_uncertain_and_weights_sum_to_one(
    mode: Attention, anchors: int, seed: int
) -> None:
    features = 0.4 * named_normal(f"rows/{seed}", (1, 8, 12, 12))
    routing = select(features, mode, anchors, window=5)
    assert routing.positions.shape == (1, anchors)
    assert len(routing.positions.unique()) == anchors
    entropy = global_entropy(features) if mode == "global" else local_entropy(features, 5)
    chosen = entropy.gather(1, routing.positions)
    threshold = entropy.sort().values[:, anchors - 1]
    assert (chosen <= threshold[:, None]).all()
    torch.testing.assert_close(routing.weights.sum(-1), torch.ones(1, anchors))
    constant = torch.ones(1, 3, 12, 12)
    if mode != "local":  # the local window also averages the padding
        torch.testing.assert_close(routing(constant), torch.ones(1, anchors, 3))


def test_saturated_rows_keep_their_order() -> None:
    """Where softmax rounds to one-hot, the entropies are tiny but still those of exact numbers."""
    directions = torch.nn.functional.normalize(named_normal("saturated", (16, 64)), dim=1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    norms = torch.linspace(8.0, 5.0, 16)[order]
    features = (directions * norms[:, None]).T.reshape(1, 64, 4, 4)
    flat = features.flatten(2)
    logits = flat.transpose(1, 2) @ flat
    others = logits.double().softmax(2).scatter(2, logits.argmax(2, keepdim=True), 0)
    # even in double precision the largest weight rounds to 1: its part comes from the others' mass
    mass = others.sum(2)
    exact = torch.special.entr(others).sum(2) - (1 - mass) * torch.log1p(-mass)
    assert exact.min() < 1e-15
    torch.testing.assert_close(global_entropy(features).double(), exact, atol=0, rtol=1e-4)
    assert torch.equal(global_entropy(features).argsort(), exact.argsort())


def test_more_anchors_than_positions_takes_all() -> None:
    assert select(SOURCE, "global", 500).positions.shape == (2, 144)


def test_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="attention window must be odd, got 6"):
        select(SOURCE, "local", 4, window=6)


def test_large_maps_stay_small_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 64x64 map has 4096 x 4096 weights (64 MiB); no block of rows may come near that."""
    largest = 0
    plain = torch.bmm

    def watched(a: Tensor, b: Tensor) -> Tensor:
        nonlocal largest
        out = plain(a, b)
        largest = max(largest, out.numel())
        return out

    monkeypatch.setattr(query_attention, "_BLOCK_ELEMENTS", 2**20)
    monkeypatch.setattr(torch, "bmm", watched)
    select(named_normal("large", (1, 4, 64, 64)), "global", 32)
    assert largest <= 2**20
