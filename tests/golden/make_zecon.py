"""Writes zecon.safetensors: losses and whole editing jobs of the official ZeCon editor.

``python -m tests.golden.make_zecon --zecon DIR --kornia DIR`` (see :mod:`tests.golden.upstream`).
The editor is the official class with tiny networks in place of its checkpoints; its random crops
are replaced by given windows of 16x16 pixels, everything else is its own code.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import transforms

from baselines.official_zecon import official_process
from tests.golden.official_format import (
    CLIP_MEAN,
    CLIP_STD,
    EDITOR_CROP_SIZE,
    EDITOR_CROPS,
    EDITOR_UNET,
    VGG_WIDTHS,
    TinyEncoder,
    filled_state,
    named_normal,
    shapes_of,
)
from tests.golden.upstream import (
    HERE,
    checkouts,
    contiguous,
    filled_official_unet,
    official,
    scripted,
)
from tests.golden.zecon_case import (
    CASES,
    README_WEIGHTS,
    RESPACING,
    SIZE,
    T0,
    Case,
    prompt_embedding,
    source_pixels,
)

POSITIONS = (1024, 1024, 256, 64, 16)


class Windows(nn.Module):
    """Given crops in the place of random ones; whole images go through the official class."""

    def __init__(self, case: Case, losses: list[str]) -> None:
        super().__init__()
        augmentations = official("optimization.augmentations")
        self.official = augmentations.ImageAugmentations(EDITOR_CROP_SIZE, 1, 0.01, 0.3, patch=True)
        self.case = case
        self.names = [f"{loss}/{step}" for step in reversed(range(T0)) for loss in losses]

    def forward(self, image: Tensor, num_patch: int, is_global: bool = False) -> Tensor:
        if is_global:
            return self.official(image, num_patch, is_global=True)
        side = EDITOR_CROP_SIZE
        corners = self.case.windows(self.names.pop(0)).tolist()
        return torch.cat([image[:, :, y : y + side, x : x + side] for x, y in corners])


def official_vgg() -> nn.Sequential:
    """Layers in torchvision's order, with its in-place ReLU, at the narrow widths."""
    layers: list[nn.Module] = []
    channels = 3
    for width, convs in zip(VGG_WIDTHS, (2, 2, 4, 4, 4), strict=True):
        for _ in range(convs):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    vgg = nn.Sequential(*layers)
    shapes = {f"features.{name}": shape for name, shape in shapes_of(vgg).items()}
    state = filled_state(shapes, "vgg")
    vgg.load_state_dict({name.removeprefix("features."): v for name, v in state.items()})
    return vgg.eval().requires_grad_(False)


def editor_for(case: Case, image: Path) -> Any:
    """The official editor around tiny networks."""
    module = official("optimization.image_editor_zecon")
    editor = module.ImageEditor.__new__(module.ImageEditor)
    weights = {
        "contrastive": "l_zecon", "mse": "l_mse", "vgg": "l_vgg", "range": "range_lambda",
    }  # fmt: skip
    editor.args = SimpleNamespace(
        prompt_tgt="target", prompt_src="source", init_image=str(image), batch_size=1, eta=case.eta,
        output_path=str(image.parent), output_file="out.png", iterations_num=1,
        n_patch=EDITOR_CROPS, skip_timesteps=RESPACING - T0,
        diffusion_type=f"{case.forward}_{case.reverse}",
        **{weights.get(name, f"l_{name}"): value for name, value in case.weights.items()},
    )  # fmt: skip
    editor.device = torch.device("cpu")
    editor.model_config = {"image_size": SIZE}
    editor.model = filled_official_unet("editor", EDITOR_UNET)
    # as the editor does: its attention blocks are checkpointed and fail without it
    for name, parameter in editor.model.named_parameters():
        parameter.requires_grad_(any(part in name for part in ("qkv", "norm", "proj")))
    editor.diffusion = official_process(str(RESPACING))
    encoder = TinyEncoder()
    texts = [prompt_embedding("target"), prompt_embedding("source")]
    editor.clip_model = SimpleNamespace(
        encode_image=encoder.encode_image, encode_text=lambda tokens: texts.pop(0)
    )
    editor.clip_normalize = transforms.Normalize(CLIP_MEAN, CLIP_STD)
    patch = [name for name in ("clip_global_patch", "clip_dir_patch") if case.weights[name]]
    whole = [name for name in ("clip_global", "clip_dir") if case.weights[name]]
    whole += ["clip_dir/source"] if "clip_dir" in whole else []
    editor.patch_augmentations = Windows(case, patch)
    editor.image_augmentations = Windows(case, whole)
    editor.vgg = official_vgg()
    editor.vgg_normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    editor.metrics_accumulator = official("utils.metrics_accumulator").MetricsAccumulator()
    return editor


def run(case: Case) -> dict[str, Tensor]:
    """Let the official editor do the job; returns what each step gave."""
    loop_name = (
        "p_sample_loop_progressive" if case.reverse == "ddpm" else "ddim_sample_loop_progressive"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.png"
        Image.fromarray(source_pixels()).save(path)
        editor = editor_for(case, path)
        loop = getattr(editor.diffusion, loop_name)
        steps: list[dict[str, Tensor]] = []

        def watched(*args: Any, **kwargs: Any) -> list[Any]:
            steps.extend(loop(*args, **kwargs))
            return []  # the editor would write pictures of them

        setattr(editor.diffusion, loop_name, watched)
        draws = [case.gaussian(name) for name in case.draws()]
        likes = draws[1:] if case.forward == "ddpm" else draws
        orders = [
            case.order(place, step, n).numpy()
            for step in reversed(range(T0))
            for place, n in enumerate(POSITIONS)
        ]
        first = draws[:1] if case.forward == "ddpm" else []
        # DDPM noising draws a picture that the DDPM reverse process then ignores for one of its own
        unused = (
            [named_normal("unused", (1, 3, SIZE, SIZE))] if first and case.reverse == "ddpm" else []
        )
        with (
            scripted(torch, "randn_like", likes),
            scripted(torch, "randn", [*unused, *first]),
            scripted(np.random, "permutation", orders),
        ):
            # q_sample of the discarded picture is given its noise, so it takes none of the script
            editor.edit_image_by_prompt()
    return {
        f"{case.name}/{name}/{step}": steps[T0 - 1 - step][key]
        for step in (range(T0) if case.weights != README_WEIGHTS else (T0 - 1,))
        for name, key in (("sample", "sample"), ("shown", "pred_xstart"))
    }  # fmt: skip


def losses() -> dict[str, Tensor]:
    """Single losses of the official code on given inputs."""
    code = official("optimization.losses")
    out = {}
    images = 1.5 * named_normal("losses/images", (2, 3, 8, 8))
    out["range"] = code.range_loss(images)
    embeddings = named_normal("losses/embeddings", (6, 24))
    text, source_text = named_normal("losses/text", (1, 24)), named_normal("losses/source", (1, 24))
    whole = named_normal("losses/whole", (1, 24)).repeat(6, 1)
    out["global"] = code.d_clip_loss(embeddings, text)
    out["directional"] = code.d_clip_dir_loss(embeddings, whole, text, source_text)
    features = [named_normal(f"losses/features/{i}", (1, 8, 6, 6)) for i in range(2)]
    others = [named_normal(f"losses/others/{i}", (1, 8, 6, 6)) for i in range(2)]
    passes = [features, others]
    network = SimpleNamespace(forward_enc=lambda x, t, layers: passes.pop(0))
    orders = [named_normal(f"losses/order/{i}", (36,)).argsort().numpy() for i in range(2)]
    with scripted(np.random, "permutation", orders):
        out["contrastive"] = code.zecon_loss_direct(network, images, images, torch.zeros(2))
    return out


def main() -> None:
    checkouts("zecon", "kornia")
    out = {f"losses/{name}": value for name, value in losses().items()}
    editor = editor_for(CASES[0], Path("unused.png"))
    pair = [named_normal(f"losses/vgg/{i}", (1, 3, 32, 32)) for i in range(2)]
    out["losses/vgg"] = editor.vgg_loss(*pair)
    for case in CASES:
        out.update(run(case))
    save_file(contiguous(out), HERE / "zecon.safetensors")


if __name__ == "__main__":
    main()
