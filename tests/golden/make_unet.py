"""Writes unet.safetensors and unet_shapes.json: outputs and state-dict listings of official U-Nets.

And official-unet.pt, a checkpoint that the official class made and saved as its trainer saves
(``torch.save`` of the state dict), with random weights
(rounded to half precision, to keep the file small).

``python -m tests.golden.make_unet --zecon DIR`` (see :mod:`tests.golden.upstream`).
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

from baselines.official_zecon import official_unet
from tests.golden.official_format import (
    EDITOR_UNET,
    SAVED_UNET,
    UNET_LABELS,
    UNET_TIMESTEPS,
    UNETS,
    filled_state,
    picture,
    shapes_of,
)
from tests.golden.upstream import (
    HERE,
    checkouts,
    contiguous,
    filled_official_unet,
)

ADM_256 = {
    "image_size": 256, "model_channels": 256, "channel_mult": (1, 1, 2, 2, 4, 4),
    "num_res_blocks": 2, "attention_resolutions": (32, 16, 8), "num_head_channels": 64,
}  # fmt: skip
ILVR_256 = {
    **ADM_256, "model_channels": 128, "num_res_blocks": 1, "attention_resolutions": (16,),
}  # fmt: skip
# ImageNet and LSUN bedroom share one architecture, FFHQ and AFHQ-dog the other
FULL_SIZE = {"adm-256": ADM_256, "ilvr-256": ILVR_256}


def main() -> None:
    checkouts("zecon")
    outputs = {}
    shapes = {}
    timesteps = torch.tensor(UNET_TIMESTEPS)
    for name, config in UNETS.items():
        model = filled_official_unet(name, config)
        shapes[name] = shapes_of(model)
        labels = {} if "num_classes" not in config else {"y": torch.tensor(UNET_LABELS)}
        outputs[name] = model(picture(name, 32, 2), timesteps, **labels)
    editor = filled_official_unet("editor", EDITOR_UNET)
    shapes["editor"] = shapes_of(editor)
    blocks = [0, 2, 5, 8, 11]
    features = editor.forward_enc(picture("editor", 32, 1), torch.zeros(1), blocks)
    for block, feature in zip(blocks, features, strict=True):
        outputs[f"editor.block{block}"] = feature
    saved = official_unet(SAVED_UNET)
    # the constructor's zeros would hide a block that is not used
    state = filled_state(shapes_of(saved), "saved")
    saved.load_state_dict({n: v.half().float() for n, v in state.items()})
    torch.save(saved.half().state_dict(), HERE / "official-unet.pt")
    outputs["saved"] = saved.float()(picture("saved", 16, 2), timesteps)
    with torch.device("meta"):
        for name, config in FULL_SIZE.items():
            shapes[name] = shapes_of(official_unet(config))
    save_file(contiguous(outputs), HERE / "unet.safetensors")
    text = json.dumps(shapes, separators=(",", ":")).replace(
        '"time_embed.0.weight"', '\n"time_embed.0.weight"'
    )
    (HERE / "unet_shapes.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
