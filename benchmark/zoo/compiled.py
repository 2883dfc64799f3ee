"""Denoiser and CLIP as kernels fused by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from benchmark.errors import UsageError
from benchmark.zoo.denoiser import Denoiser


def compile_networks(
    models: Iterable[nn.Module], device: torch.device, backend: str = "inductor"
) -> None:
    """Have the passes of denoisers and CLIP image encoders compiled at their first call.

    What a pass computes stays the same up to rounding. Other models, cheap or called once, are left
    as they are. For a batch of another size the kernels are compiled anew, once.

    Args:
        models: in place; copies made of them later are compiled as well.
        device: where they are.
        backend: of ``torch.compile``; ``inductor`` writes fused kernels.

    Raises:
        UsageError: no kernel can be made here (no compiler, or a device without one).
    """
    from benchmark.zoo.clip import ClipEncoder

    _try_out(device, backend)
    for model in models:
        if isinstance(model, Denoiser | ClipEncoder):
            model.compile_passes(backend)


def _try_out(device: torch.device, backend: str) -> None:
    """One small kernel: better to fail here than in the middle of the first chunk."""

    def kernel(x: torch.Tensor) -> torch.Tensor:
        return (x + 1).sin()

    try:
        torch.compile(kernel, backend=backend)(torch.zeros(8, device=device))
    except RuntimeError as error:
        raise UsageError(
            f"--compile: PyTorch cannot compile for {device.type} here "
            f"({str(error).strip().splitlines()[0]}). A CPU needs a C++ compiler (g++; the "
            f"variable CXX names another one), a GPU Triton. Install it, or run without --compile."
        ) from error
