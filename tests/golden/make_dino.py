"""Writes dino.safetensors: tokens and keys of the official DINO with weights drawn from names.

``python -m tests.golden.make_dino --dino DIR`` with a checkout of github.com/facebookresearch/dino
at 7c446df (``vision_transformer.py`` and ``utils.py`` are imported). ViT-B/8 and ViT-S/8 at full
size on pictures of other sides than 224, so that the positions are interpolated.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from safetensors.torch import save_file
from torch import nn

from tests.golden.full_size_case import DINO_PLACES, DINO_SIZES, DINO_WIDTHS, image
from tests.golden.official_format import filled_norm_state, shapes_of
from tests.golden.upstream import HERE, checkouts, contiguous, official

MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


def main() -> None:
    checkouts("dino")
    module = official("vision_transformer")
    found = {}
    for name, width in DINO_WIDTHS.items():
        # what vit_base and vit_small are, without their heads' number of classes
        model = module.VisionTransformer(
            patch_size=8, embed_dim=width, depth=12, num_heads=width // 64, mlp_ratio=4,
            qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6), num_classes=0,
        ).eval()  # fmt: skip
        model.load_state_dict(filled_norm_state(shapes_of(model), name))
        recorded: list[torch.Tensor] = []
        model.blocks[-1].attn.qkv.register_forward_hook(
            lambda _m, _i, out, recorded=recorded: recorded.append(out)
        )
        for height, side in DINO_SIZES:
            x = ((image(height, side) + 1) / 2 - MEAN) / STD
            with torch.no_grad():
                cls = model(x)
            key = recorded.pop().unflatten(-1, (3, width))[0, 1:, 1]
            found[f"{name}/{height}x{side}/cls"] = cls
            found[f"{name}/{height}x{side}/keys"] = key[DINO_PLACES]
    save_file(contiguous(found), HERE / "dino.safetensors")
    sys.stdout.write("".join(f"{name} {tuple(v.shape)}\n" for name, v in found.items()))


if __name__ == "__main__":
    main()
