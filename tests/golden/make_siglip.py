"""Writes siglip.safetensors: features of transformers' SigLIP with weights drawn from names.

``PYTHONPATH=DIR python -m tests.golden.make_siglip`` where DIR has transformers (5.23.0 was used;
``pip install --no-deps --target DIR transformers tokenizers``). The weights are drawn by
open_clip's names and renamed here to those of ``SiglipModel``, an implementation of its own after
google-research/big_vision.
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import SiglipConfig, SiglipModel

from benchmark.zoo.clip import build_clip
from tests.golden.full_size_case import SIGLIP, SIGLIP_TOKENS, image, padded
from tests.golden.official_format import filled_norm_state, shapes_of
from tests.golden.upstream import HERE, contiguous

LAYERS = 12


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's (and timm's) names to transformers'."""
    found: dict[str, Tensor] = {}

    def put(new: str, old: str) -> None:
        for part in ("weight", "bias"):
            found[f"{new}.{part}"] = state[f"{old}.{part}"]

    def split(new: str, old: str, names: tuple[str, ...]) -> None:
        for part, stem in (("weight", f"{old}weight"), ("bias", f"{old}bias")):
            for name, value in zip(names, state[stem].chunk(len(names)), strict=True):
                found[f"{new}.{name}.{part}"] = value

    trunk, vision, text = "visual.trunk", "vision_model", "text_model"
    put(f"{vision}.embeddings.patch_embedding", f"{trunk}.patch_embed.proj")
    found[f"{vision}.embeddings.position_embedding.weight"] = state[f"{trunk}.pos_embed"][0]
    put(f"{vision}.post_layernorm", f"{trunk}.norm")
    pool, head = f"{trunk}.attn_pool", f"{vision}.head"
    found[f"{head}.probe"] = state[f"{pool}.latent"]
    for part in ("weight", "bias"):
        joint = torch.cat([state[f"{pool}.q.{part}"], state[f"{pool}.kv.{part}"]])
        found[f"{head}.attention.in_proj_{part}"] = joint
    put(f"{head}.attention.out_proj", f"{pool}.proj")
    put(f"{head}.layernorm", f"{pool}.norm")
    for name in ("fc1", "fc2"):
        put(f"{head}.mlp.{name}", f"{pool}.mlp.{name}")
    found[f"{text}.embeddings.token_embedding.weight"] = state["text.token_embedding.weight"]
    found[f"{text}.embeddings.position_embedding.weight"] = state["text.positional_embedding"]
    put(f"{text}.final_layer_norm", "text.ln_final")
    put(f"{text}.head", "text.text_projection")
    for index in range(LAYERS):
        new, old = f"{vision}.encoder.layers.{index}", f"{trunk}.blocks.{index}"
        split(f"{new}.self_attn", f"{old}.attn.qkv.", ("q_proj", "k_proj", "v_proj"))
        put(f"{new}.self_attn.out_proj", f"{old}.attn.proj")
        for theirs, ours in (("layer_norm1", "norm1"), ("layer_norm2", "norm2"),
                             ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):  # fmt: skip
            put(f"{new}.{theirs}", f"{old}.{ours}")
        new, old = f"{text}.encoder.layers.{index}", f"text.transformer.resblocks.{index}"
        split(f"{new}.self_attn", f"{old}.attn.in_proj_", ("q_proj", "k_proj", "v_proj"))
        put(f"{new}.self_attn.out_proj", f"{old}.attn.out_proj")
        for theirs, ours in (("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"),
                             ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):  # fmt: skip
            put(f"{new}.{theirs}", f"{old}.{ours}")
    found["logit_scale"] = state["logit_scale"].reshape(1)
    found["logit_bias"] = state["logit_bias"].reshape(1)
    return found


def main() -> None:
    state = filled_norm_state(shapes_of(build_clip(SIGLIP)), SIGLIP)
    found = {}
    # the published checkpoints were trained with tanh's approximation; open_clip computes erf
    for kind, activation in (("tanh", "gelu_pytorch_tanh"), ("erf", "gelu")):
        config = SiglipConfig(
            vision_config={"hidden_act": activation}, text_config={"hidden_act": activation}
        )
        model = SiglipModel(config).eval()
        model.load_state_dict(renamed(state))
        tokens = padded(SIGLIP_TOKENS, 64, 1)
        with torch.no_grad():
            found[f"{kind}/image"] = model.vision_model(image()).pooler_output
            found[f"{kind}/text"] = model.text_model(tokens).pooler_output
    save_file(contiguous(found), HERE / "siglip.safetensors")
    sys.stdout.write("".join(f"{name} {tuple(v.shape)}\n" for name, v in found.items()))


if __name__ == "__main__":
    main()
