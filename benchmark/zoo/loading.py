"""Safe loading of checkpoints: what is wrong is found out before a model is touched.

Only safetensors and tensor-only ``torch.save`` files are read (``weights_only=True``); a file is
recognised by its first bytes, not by its name.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.errors import WeightsError
from benchmark.zoo.pickled import foreign_globals

if TYPE_CHECKING:
    from benchmark.zoo.registry import ModelCard

_HEAD = 512
_LARGEST_HEADER = 100_000_000  # of the safetensors format, in bytes
_FETCH_AGAIN = "Delete the file and fetch it again."


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_type(head: bytes) -> str:
    start = head.lstrip()[:15].lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "html"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"version https://git-lfs"):
        return "lfs"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LARGEST_HEADER:
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    return "unknown"


def _require_checkpoint(path: Path) -> str:
    """Type of a file whose first bytes look like a checkpoint; the error says what else it is."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except IsADirectoryError as error:
        raise WeightsError(f"{path} is a folder, not a checkpoint file") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    kind = _file_type(head)
    if kind == "html":
        raise WeightsError(
            f"{path} is a web page, not a checkpoint: the server answered with an error or a "
            f"quota page, which was saved under this name. {_FETCH_AGAIN}"
        )
    if kind == "lfs":
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the checkpoint itself. Fetch the real file "
            f"(git lfs pull)."
        )
    if not head:
        raise WeightsError(f"{path} is empty. {_FETCH_AGAIN}")
    if kind == "unknown":
        raise WeightsError(
            f"{path} is of an unknown file type (first bytes {head[:8].hex(' ')}). Supported are "
            f"safetensors files and PyTorch state dicts (.pt, .pth, .ckpt, .bin); a truncated or "
            f"renamed file looks like this too."
        )
    return kind


def load_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, on the CPU, in the stored types.

    Args:
        path: safetensors, or a ``torch.save`` file that holds a mapping of names to tensors.

    Raises:
        WeightsError: missing, empty, truncated, an HTML page or LFS pointer, of an unknown type,
            a pickle that would run code, or something else than a mapping of tensors.
    """
    if not path.exists():
        raise WeightsError(f"{path} does not exist")
    kind = _require_checkpoint(path)
    if kind == "safetensors":
        try:
            state: object = load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{path} is truncated or damaged ({error}). {_FETCH_AGAIN}"
            ) from error
    else:
        state = _load_pickled(path, kind)
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{path} holds a {type(state).__name__}, not a mapping of parameter names to tensors"
        )
    others = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(
            f"{path} is not a plain state dict: {_some(others)} hold no tensors. Save the model's "
            f"state dict alone."
        )
    return {str(key): value for key, value in state.items()}


def _load_pickled(path: Path, kind: str) -> object:
    if kind == "zip" and not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is truncated: its archive has no end. {_FETCH_AGAIN}")
    try:
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
        raise WeightsError(f"{path} is truncated or damaged ({reason}). {_FETCH_AGAIN}") from error
    return loaded


def verify_file(card: ModelCard, path: Path) -> str:
    """Check that a checkpoint is there and is the one that was meant; its SHA-256.

    Raises:
        WeightsError: missing (with what to do), truncated, or of another hash (both are named).
    """
    if not path.is_file():
        raise WeightsError(missing_message(card, path))
    size = path.stat().st_size
    if card.bytes is not None and size != card.bytes:
        _require_checkpoint(path)
        what = "truncated" if size < card.bytes else "not the expected file"
        raise WeightsError(
            f"{path} (model {card.id!r}) is {what}: {size:,} bytes instead of {card.bytes:,}. "
            f"{_FETCH_AGAIN}"
        )
    found = file_sha256(path)
    if card.sha256 is not None and found != card.sha256:
        _require_checkpoint(path)
        raise WeightsError(
            f"{path} (model {card.id!r}) has the wrong hash.\n  expected SHA-256 {card.sha256}\n"
            f"  found    SHA-256 {found}\nThe file is damaged or another one. {_FETCH_AGAIN}"
        )
    return found


def missing_message(card: ModelCard, path: Path) -> str:
    """What to do about a checkpoint that is not there."""
    if card.ships:
        return (
            f"the model {card.id!r} ships with the package, but {path} is missing: reinstall "
            f"stylebench (pip install --force-reinstall --no-deps stylebench)"
        )
    lines = [f"the model {card.id!r} ({card.title}) is not present.", f"  place the file at {path}"]
    lines += [f"  {'from' if not index else '  or'} {url}" for index, url in enumerate(card.urls)]
    lines.append(f"  SHA-256 {card.sha256 or 'not published'}")
    direct = [url for url in card.urls if url.host != "drive.google.com"]  # that answers with HTML
    if direct:
        lines.append(f"  e.g. curl -L --fail --create-dirs -o '{path}' '{direct[0]}'")
    lines.append(f"  licence: {card.licence}")
    lines.append("or name the folder that has it with --weights-dir.")
    return "\n".join(lines)


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
