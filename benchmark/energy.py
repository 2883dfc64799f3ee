"""Energy of a GPU, where NVML counts it (package ``nvidia-ml-py``, the extra ``nvml``)."""

from __future__ import annotations

import torch


def total_joules(device: torch.device) -> float | None:
    """Energy that a GPU has taken since its driver was loaded, in J; differences tell of a span.

    ``nvmlDeviceGetTotalEnergyConsumption`` counts millijoules of the whole GPU (Volta or newer), so
    other processes on it count too. The GPU is found by its UUID, since NVML does not
    know the numbering of ``CUDA_VISIBLE_DEVICES``.

    Args:
        device: CUDA work on it must be done (synchronised).

    Returns:
        None without a GPU, without the package, or where NVML does not count.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        try:
            uuid = torch.cuda.get_device_properties(device).uuid
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def joules_since(start: float | None, device: torch.device) -> float | None:
    """Energy since ``start`` (of :func:`total_joules`), in J; None if it was or is not known."""
    end = None if start is None else total_joules(device)
    return None if start is None or end is None else end - start
