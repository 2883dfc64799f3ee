"""Checkpoints of PyTorch Lightning: a model's state dict among the state of its trainer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

# the trainers of 2020 and 2021 filed each callback's state under its class
_CALLBACKS = (
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
)


def _stand_in(dotted: str) -> type:
    module, name = dotted.rsplit(".", 1)
    return type(name, (), {"__module__": module})


def callbacks_as_names() -> torch.serialization.safe_globals:
    """While this context is entered, ``weights_only`` loading accepts Lightning's callback classes.

    Empty classes of the same names take their place, so nothing of Lightning is imported or run.
    """
    return torch.serialization.safe_globals([_stand_in(name) for name in _CALLBACKS])


def without_trainer(loaded: object) -> object:
    """The model's state dict of a Lightning checkpoint; anything else as it is."""
    if isinstance(loaded, Mapping) and "pytorch-lightning_version" in loaded:
        return loaded.get("state_dict", loaded)
    return loaded
