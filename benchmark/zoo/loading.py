"""Safe loading of checkpoints: what is wrong is found out before a model is touched.

Only safetensors and tensor-only ``torch.save`` files are read (``weights_only=True``); a file is
recognised by its first bytes, not by its name.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.errors import WeightsError
from benchmark.zoo.checkpoint_file import FETCH_AGAIN, require_checkpoint
from benchmark.zoo.lightning import callbacks_as_names, without_trainer
from benchmark.zoo.pickled import foreign_globals

# of a StyleGAN2 that was trained: what is drawn with; the rest is the state of the training
_STYLEGAN2 = ("g_ema", "latent_avg")


def load_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, on the CPU, in the stored types.

    A state dict that is stored under a key gives names that begin with the key and a dot. Of a
    StyleGAN2 checkpoint (rosinality's) ``g_ema`` and ``latent_avg`` are taken, of a Lightning
    checkpoint the model's state dict.

    Args:
        path: safetensors, or a ``torch.save`` file that holds a mapping of names to tensors.

    Raises:
        WeightsError: missing, empty, truncated, an HTML page or LFS pointer, of an unknown type,
            a pickle that would run code, or something else than a mapping of tensors.
    """
    if not path.exists():
        raise WeightsError(f"{path} does not exist")
    kind = require_checkpoint(path)
    if kind == "safetensors":
        try:
            state: object = load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{path} is truncated or damaged ({error}). {FETCH_AGAIN}"
            ) from error
    else:
        state = without_trainer(_load_pickled(path, kind))
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{path} holds a {type(state).__name__}, not a mapping of parameter names to tensors"
        )
    if isinstance(state.get(_STYLEGAN2[0]), Mapping):
        state = {key: state[key] for key in _STYLEGAN2 if key in state}
    tensors = _unfolded(state)
    if tensors is None:
        others = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
        raise WeightsError(
            f"{path} is not a plain state dict: {_some(others)} hold no tensors. Save the model's "
            f"state dict alone."
        )
    return tensors


def _unfolded(state: Mapping[Any, object]) -> dict[str, Tensor] | None:
    """Tensors by name, those of mappings in it by dotted names; None if there is anything else."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = value if isinstance(value, Mapping) else {None: value}
        for name, part in parts.items():
            if not isinstance(part, Tensor):
                return None
            found[str(key) if name is None else f"{key}.{name}"] = part
    return found


def _load_pickled(path: Path, kind: str) -> object:
    if kind == "zip" and not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is truncated: its archive has no end. {FETCH_AGAIN}")
    try:
        with callbacks_as_names():
            loaded: object = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError,
            AttributeError, TypeError) as error:  # fmt: skip
        foreign = foreign_globals(path)
        if foreign:
            raise WeightsError(
                f"{path} was refused: it is a pickle with code in it (it would import "
                f"{_some(foreign)}). Only files with nothing but tensors are loaded; convert it "
                f"to safetensors on a machine you can lose, or take another copy."
            ) from error
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is truncated or damaged ({reason}). {FETCH_AGAIN}") from error
    return loaded


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Copy a state dict into a model; every name and shape must agree.

    Args:
        model: keeps its own parameter types (fp16 files load into float32 models).
        state: tensors by name.
        what: the architecture in words, for the message.

    Raises:
        WeightsError: with the numbers of missing, unexpected and differing parameters, the first
            names of each and the likely cause.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    differing = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or unexpected or differing:
        groups = {"missing": missing, "unexpected": unexpected, "of another shape": differing}
        parts = [
            f"{len(names)} {word}" + (f" ({_some(names)})" if names else "")
            for word, names in groups.items()
        ]
        cause = _likely_cause(own, state, missing, unexpected, differing)
        raise WeightsError(
            f"the checkpoint does not fit {what}: {', '.join(parts)}; the model has {len(own)} "
            f"tensors. Likely cause: {cause}."
        )
    model.load_state_dict(dict(state), strict=True)


def _some(names: list[str], count: int = 3) -> str:
    rest = f", ... {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest


def _likely_cause(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor],
    missing: list[str], unexpected: list[str], differing: list[str],
) -> str:  # fmt: skip
    for prefix in ("module.", "model.", "state_dict.", "_orig_mod."):
        if state and all(key.startswith(prefix) for key in state):
            return f"every name begins with {prefix!r}; it was saved from a wrapped model"
    if len(missing) == len(own):
        return "no name agrees; it is a checkpoint of another kind of model"
    if any("label_emb" in key for key in missing):
        return "the checkpoint is unconditional, the architecture class-conditional (num_classes)"
    if any("label_emb" in key for key in unexpected):
        return "the checkpoint is class-conditional, the architecture is not (num_classes)"
    if differing and not missing and not unexpected:
        return "the same layout with another width, number of classes or image size"
    if unexpected and not missing and not differing:
        return "the checkpoint has more layers than the architecture (depth, attention, heads)"
    if missing and not unexpected and not differing:
        return "the checkpoint has fewer layers than the architecture, or was saved in part"
    return "another depth, width or attention layout than the architecture in the registry"
