"""Weights and inputs that a test and a maker script can both draw: from names, not from files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def named_normal(name: str, shape: Sequence[int]) -> Tensor:
    """Standard normal float32 tensor that depends on name and shape only."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    # not torch.randn: makers replace it while the official code runs
    return torch.empty(tuple(shape)).normal_(generator=torch.Generator().manual_seed(seed))


def filled_state(shapes: Mapping[str, Sequence[int]], label: str = "") -> dict[str, Tensor]:
    """A state dict of moderate random weights; nothing is zero, so every block matters.

    Matrices get variance 1 / fan-in, vectors that multiply (norm weights) stay around 1, biases
    are small.

    Args:
        shapes: names and shapes of the official model.
        label: part of the seed.
    """
    state = {}
    for name, shape in shapes.items():
        values = named_normal(f"{label}/{name}", shape)
        if len(shape) > 1 and not name.startswith("label_emb"):
            values = values / values[0].numel() ** 0.5
        elif name.endswith("weight") and len(shape) == 1:
            values = 1 + 0.1 * values
        else:
            values = 0.1 * values
        state[name] = values
    return state


def filled_norm_state(shapes: Mapping[str, Sequence[int]], label: str) -> dict[str, Tensor]:
    """:func:`filled_state` of a model with batch normalisation, which divides by what is positive.

    Activations neither vanish nor explode under it in fifty layers.
    """
    state = filled_state(shapes, label)
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = 1 + value.abs()
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
    return state


def calm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A U-Net's state with a tenth of its output.

    A random network answers to rounding with far more than rounding; over the 25 passes of an
    inversion that would hide a real difference.
    """
    return {n: 0.1 * v if n.startswith("out.2.") else v for n, v in state.items()}


def shapes_of(module: nn.Module) -> dict[str, list[int]]:
    """Names and shapes of a module's state dict."""
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def picture(name: str, size: int, batch: int = 1) -> Tensor:
    """Smooth random images, [batch, 3, size, size] in [-1, 1]."""
    coarse = named_normal(f"picture/{name}", (batch, 3, 5, 5))
    smooth = nn.functional.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
    return torch.tanh(smooth)


class TinyEncoder(nn.Module):
    """A small image encoder in CLIP's place: normalised [N, 3, 16, 16] -> [N, 24]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 12, 4, stride=4), nn.GELU(), nn.Flatten(), nn.Linear(12 * 16, 24)
        )
        self.load_state_dict(filled_state(shapes_of(self), "tiny-encoder"))
        self.eval().requires_grad_(False)

    def encode_image(self, images: Tensor) -> Tensor:
        return self.layers(images)


VGG_WIDTHS = (4, 6, 8, 8, 8)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

UNET_BASE: dict[str, object] = {
    "image_size": 32,
    "model_channels": 32,
    "channel_mult": (1, 2, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (16, 8),
    "num_head_channels": 16,
}
# the architectures of the golden outputs: tiny relatives of published models, in UNetConfig's words
UNETS: dict[str, dict[str, object]] = {
    "ffhq": {**UNET_BASE, "attention_resolutions": (16,)},
    "imagenet": {**UNET_BASE, "num_res_blocks": 2, "attention_resolutions": (32, 16, 8)},
    "class_conditional": {**UNET_BASE, "num_classes": 5},
    "new_attention_order": {**UNET_BASE, "use_new_attention_order": True},
    "no_updown": {**UNET_BASE, "resblock_updown": False},
    "no_scale_shift": {
        **UNET_BASE, "use_scale_shift_norm": False, "num_head_channels": None, "num_heads": 2,
        "learn_sigma": False,
    },
}  # fmt: skip
UNET_TIMESTEPS = (0, 517)
UNET_LABELS = (1, 4)

# four levels of two residual blocks: input blocks 0, 2, 5, 8, 11 exist, as in the 256x256 models
EDITOR_UNET: dict[str, object] = {
    **UNET_BASE, "channel_mult": (1, 1, 1, 1), "num_res_blocks": 2, "attention_resolutions": (8, 4),
}  # fmt: skip
# of the checkpoint file that the official class saved
SAVED_UNET: dict[str, object] = {
    **UNET_BASE, "image_size": 16, "channel_mult": (1, 1), "attention_resolutions": (8,),
}  # fmt: skip
EDITOR_CROPS = 4
EDITOR_CROP_SIZE = 16
