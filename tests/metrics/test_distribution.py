"""Distances of sets of images: Fréchet, kernel, ArtFID."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from torch import Tensor
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from benchmark.errors import UsageError
from benchmark.metrics import distribution
from benchmark.metrics.distribution import artfid, frechet_distance, kernel_distance, set_distances


def rows(seed: int, n: int, dimensions: int = 6, skew: float = 1.0) -> Tensor:
    """Correlated features that are not Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, dimensions, generator=generator, dtype=torch.float64)
    mixed = mixed @ torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
    return mixed + skew * mixed.square() / 4


def moments(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    array = x.double().numpy()
    return array.mean(0), np.cov(array, rowvar=False)


def sqrtm_distance(a: Tensor, b: Tensor) -> float:
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    root = linalg.sqrtm(cov_a @ cov_b).real
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))


def loop_kernel_distance(a: Tensor, b: Tensor) -> float:
    x, y = a.double().numpy(), b.double().numpy()

    def kernel(u: np.ndarray, v: np.ndarray) -> float:
        return float((u @ v / len(u) + 1) ** 3)

    within = [
        sum(kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j)
        / (len(z) * (len(z) - 1))
        for z in (x, y)
    ]
    between = sum(kernel(u, v) for u in x for v in y) / (len(x) * len(y))
    return sum(within) - 2 * between


# Fréchet distance


@pytest.mark.parametrize(("n", "m", "dimensions"), [(40, 40, 6), (30, 200, 12), (7, 9, 6)])
def test_frechet_agrees_with_scipy_and_torchmetrics(n: int, m: int, dimensions: int) -> None:
    a, b = rows(0, n, dimensions), rows(1, m, dimensions)
    found = frechet_distance(a, b)
    assert found == pytest.approx(sqrtm_distance(a, b), rel=1e-9)
    reference = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()).item()
    assert found == pytest.approx(reference, rel=1e-9)
    assert found > 1


def test_frechet_with_a_flat_covariance_agrees_with_eigenvalues() -> None:
    """Fewer images than dimensions, and columns that never vary."""
    a, b = rows(0, 9, 20), rows(1, 14, 20)
    a[:, 3], b[:, 3] = 1.0, 4.0
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    eigenvalues = np.linalg.eigvals(cov_a @ cov_b).real
    roots = np.sqrt(eigenvalues[eigenvalues > 1e-9]).sum()
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * roots
    assert frechet_distance(a, b, minimum=2) == pytest.approx(expected, rel=1e-9)


def exact_moments(mean: list[float], deviations: list[float]) -> Tensor:
    """Two points on each axis about the mean: uncorrelated, with the given deviations."""
    spread = torch.diag(torch.tensor(deviations, dtype=torch.float64))
    points = torch.cat([spread, -spread])
    # each variance is 2 d^2 / (n - 1) with n points
    return points * ((len(points) - 1) / 2) ** 0.5 + torch.tensor(mean, dtype=torch.float64)


def test_frechet_of_uncorrelated_gaussians_has_a_closed_form() -> None:
    a, b = exact_moments([0, 0, 0], [1, 2, 3]), exact_moments([1, -2, 0], [4, 2, 1])
    expected = (1 + 4) + (1 - 4) ** 2 + (2 - 2) ** 2 + (3 - 1) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_frechet_laws() -> None:
    a, b = rows(0, 50), rows(1, 60)
    expected = frechet_distance(a, b)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)
    turn = torch.linalg.qr(rows(5, 6)).Q
    assert frechet_distance(a @ turn + 3, b @ turn + 3) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(5 * a, 5 * b) == pytest.approx(25 * expected, rel=1e-9)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a[order], b) == pytest.approx(expected, rel=1e-9)
    shift = torch.arange(6.0, dtype=torch.float64)
    assert frechet_distance(a, a + shift) == pytest.approx(shift.square().sum().item(), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(4, 40))
def test_frechet_is_never_negative(seed: int, n: int, m: int) -> None:
    a = rows(seed, n, 3)
    assert frechet_distance(a, rows(seed + 1, m, 3)) >= 0
    assert 0 <= frechet_distance(a, a.flip(0)) < 1e-7


def test_float32_features_are_taken_in_float64() -> None:
    offset = rows(0, 40).float() + 1000
    value = frechet_distance(offset, offset + 0.5)
    exact = frechet_distance(offset.double(), (offset + 0.5).double())
    assert value == exact == pytest.approx(6 * 0.25, rel=1e-3)


def test_frechet_falls_with_the_size_of_equal_distributions() -> None:
    """The bias upwards that the docstring warns of."""
    draws = [
        torch.randn(2, n, 8, generator=torch.Generator().manual_seed(n)) for n in (20, 80, 2000)
    ]
    course = [frechet_distance(a, b) for a, b in draws]
    assert course[0] > course[1] > course[2] > 0


@pytest.mark.parametrize(("n", "m", "minimum", "message"), [
    (6, 50, None, "6-dimensional features needs at least n = 7 images in each set, got 6 and 50"),
    (50, 6, None, "at least n = 7 images in each set, got 50 and 6"),
    (50, 99, 100, "at least n = 100 images in each set, got 50 and 99"),
    (0, 9, None, "at least n = 7 images in each set, got 0 and 9"),
    (1, 1, 2, "at least n = 2 images in each set, got 1 and 1"),
])  # fmt: skip
def test_frechet_refuses_few_images(n: int, m: int, minimum: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        frechet_distance(rows(0, n), rows(1, m), minimum)


def test_frechet_of_the_least_number_of_images_is_given() -> None:
    assert frechet_distance(rows(0, 7), rows(1, 7)) > 0
    assert frechet_distance(rows(0, 2), rows(1, 2), minimum=2) > 0
    with pytest.raises(ValueError, match="minimum must be at least 2, got 1"):
        frechet_distance(rows(0, 7), rows(1, 7), minimum=1)


# kernel distance


@pytest.mark.parametrize(("n", "m"), [(2, 2), (9, 9), (5, 13)])
def test_kernel_distance_agrees_with_a_double_loop(n: int, m: int) -> None:
    a, b = rows(0, n), rows(1, m)
    assert kernel_distance(a, b) == pytest.approx(loop_kernel_distance(a, b), rel=1e-10)


def test_kernel_distance_agrees_with_torchmetrics() -> None:
    a, b = rows(0, 80), rows(1, 80)  # theirs is for sets of one size
    assert kernel_distance(a, b) == pytest.approx(poly_mmd(a, b).item(), rel=1e-10)


def test_kernel_distance_of_known_points() -> None:
    # one dimension, k(x, y) = (x y + 1)^3: within 8 and 1, between the mean of 1, 1, 1, 1
    ones, zeros = torch.ones(2, 1), torch.zeros(2, 1)
    assert kernel_distance(ones, zeros) == 8 + 1 - 2
    # two dimensions, orthogonal axes: within (1/2 + 1)^3 each, between 1
    across, down = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.0, 1.0]] * 2)
    assert kernel_distance(across, down) == 2 * 1.5**3 - 2


def test_kernel_distance_laws() -> None:
    a, b = rows(0, 30), rows(1, 40)
    expected = kernel_distance(a, b)
    assert kernel_distance(b, a) == pytest.approx(expected, rel=1e-10)
    turn = torch.linalg.qr(rows(5, 6)).Q
    assert kernel_distance(a @ turn, b @ turn) == pytest.approx(expected, rel=1e-9)
    assert kernel_distance(a, b.flip(0)) == pytest.approx(expected, rel=1e-10)
    # features written twice side by side: x . y / D stays
    copied = torch.cat([a, a], dim=1), torch.cat([b, b], dim=1)
    assert kernel_distance(*copied) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_a_set_to_itself_is_not_positive() -> None:
    for seed in range(5):
        a = rows(seed, 12)
        own, loops = kernel_distance(a, a), loop_kernel_distance(a, a)
        assert own == pytest.approx(loops, rel=1e-9)
        assert own < 0
    alike = torch.ones(4, 3)
    assert kernel_distance(alike, alike) == 0.0


def test_kernel_distance_is_unbiased_where_frechet_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2, 400, 10, 4, generator=generator, dtype=torch.float64)
    values = np.array([kernel_distance(a, b) for a, b in zip(*draws, strict=True)])
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean()) < 3 * error
    assert (values < 0).any()
    assert np.mean([frechet_distance(a, b) for a, b in zip(*draws[:, :40], strict=True)]) > 0.5


def test_kernel_distance_sees_the_third_moment() -> None:
    """Equal means and covariances, which are one set to the Fréchet distance."""
    a = torch.tensor([[2.0], [-1.0], [-1.0]], dtype=torch.float64).repeat(40, 1)
    assert frechet_distance(a, -a) == pytest.approx(0, abs=1e-12)
    # (E x^3 - E y^3)^2 = (2 - -2)^2 is what the cubic term adds
    assert kernel_distance(a, -a) == pytest.approx(16, rel=0.05)


def test_blocks_of_the_kernel_do_not_move_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rows(0, 50), rows(1, 33)
    expected = kernel_distance(a, b)
    monkeypatch.setattr(distribution, "BLOCK", 7)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1), (0, 5)])
def test_kernel_distance_refuses_single_images(n: int, m: int) -> None:
    with pytest.raises(UsageError, match=f"at least n = 2 images in each set, got {n} and {m}"):
        kernel_distance(rows(0, n), rows(1, m))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_both_grow_with_noise(distance: Any) -> None:
    a = rows(0, 300, 5, skew=0.0)
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(4), dtype=a.dtype)
    course = [distance(a, a + strength * noise) for strength in (0, 0.5, 1, 2, 4)]
    assert course == sorted(course)
    assert course[-1] > course[1] > course[0]


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(("a", "b", "message"), [
    (torch.ones(9, 3), torch.ones(9, 4), r"one row for each image, got \[9, 3\] and \[9, 4\]"),
    (torch.ones(9), torch.ones(9), r"got \[9\] and \[9\]"),
    (torch.ones(9, 3, 1), torch.ones(9, 3, 1), r"got \[9, 3, 1\]"),
    (torch.ones(9, 0), torch.ones(9, 0), "at least one column"),
    (torch.full((9, 2), torch.nan), torch.ones(9, 2), "not finite"),
    (torch.ones(9, 2), torch.full((9, 2), torch.inf), "not finite"),
])  # fmt: skip
def test_bad_features_are_refused(distance: Any, a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distance(a, b)


# ArtFID


def test_artfid_is_the_product() -> None:
    assert artfid(0.0, 0.0) == 1.0
    assert artfid(0.5, 19.0) == 30.0
    assert artfid(0.25, 3.0) == artfid(3.0, 0.25)
    assert artfid(0.6, 19.0) > artfid(0.5, 19.0) < artfid(0.5, 19.5)


@pytest.mark.parametrize(("lpips", "fid", "message"), [
    (-0.1, 3.0, "lpips_mean must be a finite number of at least 0, got -0.1"),
    (0.1, -3.0, "fid must be a finite number of at least 0, got -3"),
    (float("nan"), 3.0, "lpips_mean must be"), (0.1, float("inf"), "fid must be"),
])  # fmt: skip
def test_artfid_refuses_what_is_no_distance(lpips: float, fid: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        artfid(lpips, fid)


def features(n: int, dimensions: int = 3, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, dimensions)) + shift)


def test_all_distances_of_a_set() -> None:
    outputs, references = features(20), features(30, seed=1, shift=0.5)
    lpips = np.linspace(0.2, 0.6, 20).tolist()
    found = set_distances(outputs, references, lpips)
    fid, kid = frechet_distance(outputs, references), kernel_distance(outputs, references)
    assert found == {
        "n": 20,
        "fid": {"value": fid, "status": "ok"},
        "kid": {"value": kid, "status": "ok"},
        "lpips": {"value": pytest.approx(0.4), "status": "ok"},
        "artfid": {"value": pytest.approx(1.4 * (1 + fid)), "status": "ok"},
    }


def test_too_few_images_have_a_status_and_no_number() -> None:
    found = set_distances(features(3), features(30, seed=1), [0.1] * 3)
    for name in ("fid", "artfid"):
        assert found[name]["value"] is None
        assert found[name]["status"].startswith("insufficient_n: the Fréchet distance")
        assert "at least n = 4 images in each set, got 3 and 30" in found[name]["status"]
    assert found["kid"]["status"] == "ok"
    alone = set_distances(features(1), features(30, seed=1), [0.1])
    assert alone["kid"]["status"].startswith("insufficient_n: the kernel distance")
    nothing = set_distances(torch.zeros(0, 0), features(30), [])
    assert nothing["n"] == 0
    assert {nothing[name]["status"] for name in ("fid", "kid", "lpips", "artfid")} == {
        "insufficient_n: there is no output"
    }


def test_artfid_needs_the_lpips_of_every_output() -> None:
    found = set_distances(features(9), features(9, seed=1), [0.5] * 8 + [None])
    assert found["fid"]["status"] == found["kid"]["status"] == "ok"
    for name in ("lpips", "artfid"):
        assert found[name] == {
            "value": None, "status": "not_scored: 8 of 9 outputs have an LPIPS",
        }  # fmt: skip
