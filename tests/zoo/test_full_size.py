"""The official encoders at full size: weights drawn from names give the official code's outputs.

The golden tensors were made by OpenAI's CLIP class, facebookresearch's DINO and transformers'
SigLIP (see ``tests/golden/make_clip.py``, ``make_dino.py`` and ``make_siglip.py``). VGG-19 against
torchvision is in ``test_vgg.py``, the official face models in ``test_face_official.py``.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.zoo.clip import ClipEncoder, build_clip
from benchmark.zoo.dino import DinoViT
from benchmark.zoo.models import build
from benchmark.zoo.random_weights import random_state
from benchmark.zoo.registry import model_card, model_ids
from tests.golden import full_size_case as case
from tests.golden.official_format import filled_norm_state, shapes_of

GOLDEN = Path(__file__).parents[1] / "golden"
CARDS = {
    str(card.architecture): card
    for card in map(model_card, model_ids())
    if card.kind == "clip" and card.id.endswith("-openai")
}


def golden(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", case.CLIPS)
def test_openais_clip(architecture: str, tmp_path: Path) -> None:
    """A file in OpenAI's names through the registry's loader; QuickGELU, not GELU."""
    card = CARDS[architecture]
    shapes = shapes_of(build_clip(architecture))
    path = tmp_path / card.file
    save_file(filled_norm_state(shapes, architecture), path)
    encoder = build(card, path)
    assert isinstance(encoder, ClipEncoder)
    found = golden("clip")
    with torch.no_grad():
        image, text = encoder.encode_image(case.image()), encoder.encode_text(case.PROMPTS)
    torch.testing.assert_close(image, found[f"{architecture}/image"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(text, found[f"{architecture}/text"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model_id", case.DINO_WIDTHS)
def test_facebooks_dino(model_id: str, tmp_path: Path) -> None:
    card = model_card(model_id)
    shapes = {name: list(value.shape) for name, value in random_state(card).items()}
    path = tmp_path / card.file
    torch.save(filled_norm_state(shapes, model_id), path)
    vit = build(card, path)
    assert isinstance(vit, DinoViT)
    found = golden("dino")
    for height, width in case.DINO_SIZES:
        name = f"{model_id}/{height}x{width}"
        picture = case.image(height, width)
        with torch.no_grad():
            cls, keys = vit.cls(picture), vit.keys(picture)[0, case.DINO_PLACES]
        torch.testing.assert_close(cls, found[f"{name}/cls"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(keys, found[f"{name}/keys"], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_siglip() -> None:
    """Equal to transformers where both compute GELU by erf, as open_clip does.

    Google's training used tanh's approximation: under random weights the features differ by it.
    """
    model = build_clip(case.SIGLIP)
    model.load_state_dict(filled_norm_state(shapes_of(model), case.SIGLIP))
    tokenizer: Any = SimpleNamespace(context_length=64)  # the real one is on the hub
    encoder = ClipEncoder(model.eval(), tokenizer, case.SIGLIP)
    clip: Any = model
    with torch.no_grad():
        image = encoder.encode_image(case.image())
        text = clip.encode_text(case.padded(case.SIGLIP_TOKENS, 64, 1))
    found = golden("siglip")
    torch.testing.assert_close(image, found["erf/image"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(text, found["erf/text"], atol=1e-4, rtol=1e-4)
    for mine, theirs in ((image, "tanh/image"), (text, "tanh/text")):
        assert torch.nn.functional.cosine_similarity(mine, found[theirs]).min() > 0.9999
