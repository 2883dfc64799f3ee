"""Writes clip.safetensors: features of OpenAI's own CLIP class with weights drawn from names.

``python -m tests.golden.make_clip --clip DIR`` with a checkout of github.com/openai/CLIP at
d05afc4, whose ``clip/model.py`` is imported. ViT-B/32, ViT-B/16 and RN50 at full size, in float32.
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file

from tests.golden.full_size_case import CLIPS, TOKENS, clip_pixels, padded
from tests.golden.official_format import filled_norm_state, shapes_of
from tests.golden.upstream import HERE, checkouts, contiguous, official


def main() -> None:
    folder = checkouts("clip")["clip"]
    sys.path.insert(0, str(folder / "clip"))  # clip/__init__.py imports more than the model needs
    module = official("model")
    found = {}
    for name, options in CLIPS.items():
        model = module.CLIP(
            image_resolution=224, context_length=77, vocab_size=49408, transformer_width=512,
            transformer_heads=8, transformer_layers=12, **options,
        ).eval()  # fmt: skip
        model.load_state_dict(filled_norm_state(shapes_of(model), name))
        with torch.no_grad():
            found[f"{name}/image"] = model.encode_image(clip_pixels())
            found[f"{name}/text"] = model.encode_text(padded(TOKENS, 77, 0))
        sys.stdout.write(f"{name}: {found[f'{name}/image'].std():.3f}\n")
    save_file(contiguous(found), HERE / "clip.safetensors")


if __name__ == "__main__":
    main()
