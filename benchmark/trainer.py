"""The Lightning Trainer of a predict-only run, from the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy

from benchmark.errors import UsageError


def build_trainer(
    *, accelerator: str, devices: str, num_nodes: int, strategy: str, precision: str,
    callbacks: Sequence[Callback],
) -> pl.Trainer:  # fmt: skip
    """A Trainer that predicts and does nothing else; the arguments are Lightning's.

    ``32-true`` is plain float32: TF32, which PyTorch allows its convolutions by default, rounds to
    10 bits and is switched off for all of the process. Who wants speed asks for ``bf16-mixed``.

    Args:
        devices: a count, ids like ``0,2``, or ``auto``.

    Raises:
        UsageError: ``devices`` is none of these.
    """
    plain_float32()
    return pl.Trainer(
        accelerator=accelerator,
        devices=_devices(devices),
        num_nodes=num_nodes,
        strategy=_strategy(strategy),
        precision=precision,  # type: ignore[arg-type]
        # CPU kernels repeat themselves; of CUDA's the deterministic ones are asked for, and the
        # few operations without one warn
        deterministic="warn" if _may_use_cuda(accelerator) else None,
        # guided methods differentiate inside of stylize
        inference_mode=False,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )


def plain_float32() -> None:
    """No TF32 in matrix products and convolutions on a GPU."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _may_use_cuda(accelerator: str) -> bool:
    return accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available()


def _devices(text: str) -> str | int | list[int]:
    if text == "auto":
        return text
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"--devices {text!r}: a count, ids like 0,2, or auto") from None
    return numbers if "," in text else numbers[0]


def _strategy(name: str) -> Any:
    """Ranks meet only at the start; the first may have stored many content images before."""
    if name != "ddp":
        return name
    return DDPStrategy(timeout=timedelta(hours=2))
