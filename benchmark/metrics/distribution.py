"""Distances of two sets of images, from one feature vector for each image.

A set has one value, a sample has none, so these are functions and no per-sample metrics. The
published numbers belong to one encoder each (FID and KID to Inception-v3's pooled features, ArtFID
to an Inception trained on paintings); with another encoder the formula is the same and the values
are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.metrics.base import OK

LEAST_KERNEL_ROWS = 2
BLOCK = 1024


def frechet_distance(features_a: Tensor, features_b: Tensor, minimum: int | None = None) -> float:
    """Fréchet distance of two Gaussians with the moments of the sets: the formula of FID.

    ``|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`` (Heusel et al. 2017, eq. 6), unbiased
    covariances, in float64. The trace of the root is the sum of the roots of the eigenvalues of
    S_a S_b. With S = R^T R (R from a QR decomposition of the centred rows) these roots are the
    singular values of R_a R_b^T, which needs neither a matrix root nor a root of an eigenvalue that
    rounding made negative.

    The estimate is biased upwards, the more the fewer images there are (Binkowski et al. 2018), so
    sets of different sizes must not be compared, and small ones better by :func:`kernel_distance`.

    Args:
        features_a, features_b: [n, D] and [m, D], one row for each image.
        minimum: least number of rows of either set; by default D + 1, below which a covariance of D
            dimensions cannot have full rank. At least 2.

    Returns:
        the distance, at least 0 (a square, in the squared unit of the features); lower is better.

    Raises:
        UsageError: a set has fewer than ``minimum`` rows.
        ValueError: not two matrices of finite numbers with equally many columns, or ``minimum`` is
            below 2.
    """
    a, b = _rows(features_a, features_b)
    if minimum is not None and minimum < 2:
        raise ValueError(f"minimum must be at least 2, got {minimum}")
    least = a.shape[1] + 1 if minimum is None else minimum
    _require_rows("the Fréchet distance", least, a, b)
    mean_a, mean_b = a.mean(0), b.mean(0)
    root_a, root_b = _covariance_root(a - mean_a), _covariance_root(b - mean_b)
    traces = root_a.square().sum() + root_b.square().sum()
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance: float = ((mean_a - mean_b).square().sum() + traces - 2 * shared).item()
    return max(0.0, distance)


def kernel_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (x . y / D + 1)^3: the formula of KID.

    The unbiased estimate (Binkowski et al. 2018, after Gretton et al. 2012, eq. 3), over all rows
    at once rather than averaged over random subsets, so that no chance is involved. The kernel sees
    moments up to the third. Two samples of one distribution have 0 on average, so single values can
    be negative, and a set against itself is always so (or 0): every row then meets itself.

    Args:
        features_a, features_b: [n, D] and [m, D], n and m at least 2.

    Returns:
        the estimate; lower is better.

    Raises:
        UsageError: a set has fewer than two rows.
        ValueError: not two matrices of finite numbers with equally many columns.
    """
    a, b = _rows(features_a, features_b)
    _require_rows("the kernel distance", LEAST_KERNEL_ROWS, a, b)
    between = _kernel_sum(a, b) / (len(a) * len(b))
    return (_mean_off_diagonal(a) + _mean_off_diagonal(b) - 2 * between).item()


def artfid(lpips_mean: float, fid: float) -> float:
    """ArtFID of Wright & Ommer 2022: (1 + LPIPS) (1 + FID).

    Args:
        lpips_mean: mean LPIPS of outputs and their sources (content lost).
        fid: Fréchet distance of the outputs and the style images (style missed).

    Returns:
        at least 1; lower is better.

    Raises:
        ValueError: an argument is negative or not finite.
    """
    for name, value in (("lpips_mean", lpips_mean), ("fid", fid)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
    return (1 + lpips_mean) * (1 + fid)


def set_distances(
    outputs: Tensor, references: Tensor, lpips: Sequence[float | None]
) -> dict[str, Any]:
    """All distances of a set of outputs to a set of references, ready for JSON.

    Args:
        outputs: features [n, D].
        references: features [m, D].
        lpips: of each output to its source, or None where it was not scored.

    Returns:
        ``n`` and, for ``fid``, ``kid``, ``lpips`` (the mean) and ``artfid``, ``value`` and
        ``status``: ``ok``, or ``insufficient_n: ...`` or ``not_scored: ...`` with value None.
    """
    if not len(outputs):
        nothing = _entry(None, "insufficient_n: there is no output")
        return {"n": 0, **dict.fromkeys(("fid", "kid", "lpips", "artfid"), nothing)}
    fid = _attempt(lambda: frechet_distance(outputs, references))
    kid = _attempt(lambda: kernel_distance(outputs, references))
    known = [value for value in lpips if value is not None]
    if len(known) == len(outputs):
        content = _entry(fmean(known))
    else:
        content = _entry(None, f"not_scored: {len(known)} of {len(outputs)} outputs have an LPIPS")
    missing = next((entry for entry in (fid, content) if entry["value"] is None), None)
    joint = _entry(artfid(content["value"], fid["value"])) if missing is None else missing
    return {"n": len(outputs), "fid": fid, "kid": kid, "lpips": content, "artfid": joint}


def _attempt(distance: Callable[[], float]) -> dict[str, Any]:
    try:
        return _entry(distance())
    except UsageError as error:  # too few images; the message says how many are needed
        return _entry(None, f"insufficient_n: {error}")


def _entry(value: float | None, status: str = OK) -> dict[str, Any]:
    return {"value": value, "status": status}


def _rows(features_a: Tensor, features_b: Tensor) -> tuple[Tensor, Tensor]:
    shapes = [list(features.shape) for features in (features_a, features_b)]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1:] != shapes[1][1:]:
        raise ValueError(
            f"features must be [n, D] and [m, D], one row for each image, got {shapes[0]} and "
            f"{shapes[1]}"
        )
    if shapes[0][1] == 0:
        raise ValueError("features need at least one column")
    a, b = features_a.double(), features_b.double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("features hold numbers that are not finite")
    return a, b


def _require_rows(what: str, least: int, a: Tensor, b: Tensor) -> None:
    if min(len(a), len(b)) < least:
        raise UsageError(
            f"{what} of {a.shape[1]}-dimensional features needs at least n = {least} images in "
            f"each set, got {len(a)} and {len(b)}"
        )


def _covariance_root(centred: Tensor) -> Tensor:
    """R with R^T R = covariance of [n, D] centred rows, of shape [min(n, D), D]."""
    root: Tensor = torch.linalg.qr(centred, mode="r").R
    return root / math.sqrt(len(centred) - 1)


def _kernel(products: Tensor, dimensions: int) -> Tensor:
    return (products / dimensions + 1) ** 3


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the kernel over all pairs, a block of rows at a time."""
    sums = [_kernel(block @ b.T, a.shape[1]).sum() for block in torch.split(a, BLOCK)]
    return torch.stack(sums).sum()


def _mean_off_diagonal(x: Tensor) -> Tensor:
    """Mean of the kernel over the pairs of different rows."""
    own = _kernel(x.square().sum(1), x.shape[1]).sum()
    return (_kernel_sum(x, x) - own) / (len(x) * (len(x) - 1))
