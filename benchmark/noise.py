"""One random stream per sample: draws depend on (run seed, sample id, purpose) alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def derived_seed(run_seed: int, sample_id: str, purpose: str) -> int:
    """63-bit seed from SHA-256 of the parts, lengths included so that they cannot run together."""
    parts = (str(run_seed), sample_id, purpose)
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class NoiseSource:
    """Random draws for the samples of one batch.

    Numbers are drawn by CPU generators and then moved, so every device sees the same ones, and the
    noise of a sample does not depend on batch size, order or device count. Two draws with the same
    ``purpose`` are equal; name the step in it (``"reverse/17"``).

    Args:
        run_seed: the run's seed (``--seed``).
        sample_ids: ids of the batch's samples, in batch order.
        device: where the draws are wanted.
    """

    def __init__(
        self, run_seed: int, sample_ids: Sequence[str], device: torch.device | str = "cpu"
    ) -> None:
        self.run_seed = run_seed
        self.sample_ids = tuple(sample_ids)
        self.device = torch.device(device)

    def _draw(self, purpose: str, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        rows = []
        for sample_id in self.sample_ids:
            generator = torch.Generator().manual_seed(
                derived_seed(self.run_seed, sample_id, purpose)
            )
            rows.append(draw(generator))
        return torch.stack(rows).to(self.device)

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal float32 [B, *shape]; ``shape`` is that of one sample."""
        return self._draw(purpose, lambda g: torch.randn(tuple(shape), generator=g))

    def uniform(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Uniform on [0, 1), float32 [B, *shape]."""
        return self._draw(purpose, lambda g: torch.rand(tuple(shape), generator=g))

    def permutation(self, purpose: str, n: int) -> Tensor:
        """A random permutation of ``range(n)`` for each sample, int64 [B, n]."""
        return self._draw(purpose, lambda g: torch.randperm(n, generator=g))
