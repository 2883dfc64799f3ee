"""From a trained state to what ships: half-precision safetensors and a model card."""

from __future__ import annotations

import json
import logging
import platform
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import save
from torch import Tensor, nn

from benchmark.zoo.checkpoint_file import file_sha256
from benchmark.zoo.word_table import without_unused_words

from . import corpus
from .trainer import Recipe, TrainState

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights"
LICENCE_NOTE = (
    "research use only: trained on photos and paintings whose sources allow non-commercial "
    "research or state no licence; no training image is part of this package"
)
SOURCES = {
    "faces": "UTKFace (adults; copy in mattans/AgeProgression) and the unmasked faces of "
    "Karimashraf01/Face-Mask-Detection-using-MobilenetV2",
    "faces-id": "Labeled Faces in the Wild, grey (copy in muxspace/facial_expressions)",
    "dogs": "dog-breed-identification and dogs-vs-cats photos, ImageNet samples",
    "bedrooms": "Houses-dataset (emanhamed) and a Places365 subset (SilviuBR24)",
    "interiors": "Houses-dataset (emanhamed) and a Places365 subset (SilviuBR24)",
    "objects": "ImageNet samples (EliSchwartz), Flickr8k photos, Caltech-101",
    "paintings": "WikiArt (eliogrande/TheEndlessTuning_WikiArt224, VVVXYZ/wikiart)",
}


def half_precision(model: nn.Module) -> dict[str, Tensor]:
    """Persistent tensors in float16 (integers as they are), contiguous, on the CPU."""
    return {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in model.state_dict().items()
    }


def export(
    recipe: Recipe, state: TrainState, corpus_dir: Path, *, command: str, hardware: str,
    folder: Path = WEIGHTS,
) -> dict[str, Any]:  # fmt: skip
    """Write ``<name>.safetensors`` and ``<name>.json``.

    The averaged weights ship. Their figures are measured after the rounding to float16, so they
    are those of the file. Where a card is there already, its steps and figures are kept in the new
    one as ``previous``.

    Args:
        command: the training command, for the card.
        hardware: what it was trained on, in words.

    Returns:
        The card.
    """
    shipped = recipe.finish(state.ema).eval()
    tensors = half_precision(shipped)
    shipped.load_state_dict(tensors)
    device = next(state.model.parameters()).device
    figures = recipe.evaluate(shipped.to(device), state.ema.eval())
    folder.mkdir(parents=True, exist_ok=True)
    path, card_path = folder / f"{recipe.name}.safetensors", folder / f"{recipe.name}.json"
    previous = None
    if card_path.is_file():
        old = json.loads(card_path.read_text(encoding="utf-8"))
        if "figures" in old:
            previous = {"steps": old["training"]["steps"], "figures": old["figures"]}
    _replace(path, save(without_unused_words(tensors), metadata={"format": "pt"}))
    card = {
        "name": recipe.name,
        "kind": recipe.kind,
        "architecture": recipe.architecture(),
        "parameters": sum(p.numel() for p in shipped.parameters()),
        "dtype": "float16",
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "data": _data(recipe, corpus_dir),
        "licence_note": LICENCE_NOTE,
        "training": {
            "command": command,
            "steps": state.step,
            "batch_size": recipe.batch_size,
            "seed": recipe.seed,
            "seconds": round(state.seconds),
            "hardware": hardware,
        },
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "previous": previous,
    }
    _replace(card_path, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    log.info("%s: %d bytes, %s", path.name, path.stat().st_size, card["figures"])
    return card


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    partial.replace(path)


def _data(recipe: Recipe, corpus_dir: Path) -> dict[str, Any]:
    counts = {
        domain: pq.read_metadata(corpus_dir / f"{domain}-train.parquet").num_rows
        for domain in recipe.domains
    }
    plain = recipe.kind in ("face", "stylegan2")
    kept = "" if plain else " and procedurally stylised copies of the photos"
    return {
        "summary": (
            f"training split of an image corpus of {sum(counts.values())} pictures at "
            f"{corpus.SIZE}x{corpus.SIZE}{kept}; research use"
        ),
        "domains": {
            domain: {"pictures": count, "source": SOURCES[domain]}
            for domain, count in counts.items()
        },
    }


def hardware_class(device: torch.device) -> str:
    """What a training run used, in words."""
    if device.type == "cuda":
        return f"one {torch.cuda.get_device_name(device)}, bfloat16 autocast"
    return f"{torch.get_num_threads()} thread(s) of a {platform.machine()} CPU, bfloat16 autocast"
