"""Writes arcface.safetensors: embeddings of the official IR-SE50 with weights drawn from names.

``python -m tests.golden.make_arcface --diffusionclip DIR`` with a checkout of
github.com/gwang-kim/DiffusionCLIP at e4bfb25, whose ``models/insight_face`` is the code of
TreB1eN/InsightFace_Pytorch that StyleCLIP, DiffusionCLIP and DiffuseIT share.
"""

from __future__ import annotations

import json
import sys

import torch
from safetensors.torch import save_file

from tests.golden.official_format import filled_norm_state, picture, shapes_of
from tests.golden.upstream import HERE, checkouts, contiguous, official


def faces() -> torch.Tensor:
    return picture("arcface/faces", 112, batch=2)


def main() -> None:
    checkouts("diffusionclip")
    module = official("models.insight_face.model_irse")
    network = module.Backbone(input_size=112, num_layers=50, drop_ratio=0.6, mode="ir_se").eval()
    shapes = shapes_of(network)
    network.load_state_dict(filled_norm_state(shapes, "arcface"))
    with torch.no_grad():
        found = {"embeddings": network(faces())}
    save_file(contiguous(found), HERE / "arcface.safetensors")
    (HERE / "arcface_shapes.json").write_text(json.dumps(shapes, sort_keys=True) + "\n")
    sys.stdout.write(f"{found['embeddings'].shape}, {len(shapes)} tensors\n")


if __name__ == "__main__":
    main()
