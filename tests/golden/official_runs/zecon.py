"""The official ZeCon editor with its README's weights, on the mini models.

What it hard-codes for 256 pixels (crops of 128, CLIP's 224) is given the mini models' 64. Its
pictures of intermediate steps are not drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from baselines.zecon import ZeCon, ZeConConfig
from benchmark.zoo import ModelZoo
from tests.golden.official_format import CLIP_MEAN, CLIP_STD
from tests.golden.official_runs.setting import (
    PROMPT,
    SIZE,
    SOURCE_PROMPT,
    Job,
    Ready,
    mini_zoo,
    one_sample,
    picture_pixels,
    plain,
    ready_at_first_picture,
    through_interface,
)
from tests.golden.upstream import official as imported
from tests.golden.upstream import official_process, official_unet

CHECKOUTS = ("zecon", "kornia")
STEPS = 4  # of 25
NOTE = f"the editor, t0 = {STEPS} of {2 * STEPS} steps, 32 crops"
CROPS = 32


def config(steps: int) -> ZeConConfig:
    return ZeConConfig(respacing=2 * steps, t0=steps, n_patches=CROPS)


class Labelled(nn.Module):
    """The official U-Net with the class label that the official editors have no argument for."""

    def __init__(self, unet: nn.Module, label: Tensor) -> None:
        super().__init__()
        self.unet: Any = unet
        self.label = label

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.unet(x, timesteps, y=self.label)
        return out

    def forward_enc(self, x: Tensor, timesteps: Tensor, blocks: Any) -> list[Tensor]:
        features: list[Tensor] = self.unet.forward_enc(x, timesteps, blocks, y=self.label)
        return features


def labelled_unet(zoo: ModelZoo) -> Labelled:
    """The official U-Net with the mini denoiser's weights, trained as the editors do."""
    denoiser = zoo.denoiser()
    unet = official_unet(denoiser.unet.config.model_dump())
    unet.load_state_dict(denoiser.unet.state_dict())
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(any(part in name for part in ("qkv", "norm", "proj")))
    label = denoiser.labels(["dogs"], "cpu")
    assert label is not None
    return Labelled(unet, label)


def _editor(zoo: ModelZoo, unet: nn.Module, image: Path, steps: int) -> Any:
    module = imported("optimization.image_editor_zecon")
    weights = config(steps)
    editor = module.ImageEditor.__new__(module.ImageEditor)
    editor.args = SimpleNamespace(
        prompt_tgt=PROMPT, prompt_src=SOURCE_PROMPT, init_image=str(image), batch_size=1, eta=0.0,
        output_path=str(image.parent), output_file="out.png", iterations_num=1, n_patch=CROPS,
        skip_timesteps=steps, diffusion_type="ddim_ddpm", export_assets=False, save_video=False,
        l_clip_global=weights.clip_global, l_clip_dir=weights.clip_dir,
        l_clip_global_patch=weights.clip_global_patch, l_clip_dir_patch=weights.clip_dir_patch,
        l_zecon=weights.contrastive, l_mse=weights.mse, l_vgg=weights.vgg,
        range_lambda=weights.range,
    )  # fmt: skip
    editor.device = torch.device("cpu")
    editor.model_config = {"image_size": SIZE}
    editor.model = unet
    editor.diffusion = official_process(str(2 * steps))
    clip: Any = plain(zoo.clip("guide"))
    left = list(clip.encode_text([PROMPT, SOURCE_PROMPT]).split(1))
    editor.clip_model = SimpleNamespace(
        encode_image=clip.model.encode_image, encode_text=lambda tokens: left.pop(0)
    )
    editor.clip_normalize = transforms.Normalize(CLIP_MEAN, CLIP_STD)
    augmentations = imported("optimization.augmentations").ImageAugmentations
    for name, patch in (("image_augmentations", False), ("patch_augmentations", True)):
        made = augmentations(
            clip.input_size, 1.0, weights.patch_min, weights.patch_max, patch=patch
        )
        made.random_patch = imported("kornia.augmentation").RandomResizedCrop(
            size=(SIZE, SIZE), scale=(weights.patch_min, weights.patch_max)
        )
        setattr(editor, name, made)
    editor.vgg = plain(zoo.vgg().features)
    editor.vgg_normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    editor.metrics_accumulator = imported("utils.metrics_accumulator").MetricsAccumulator()
    loop = editor.diffusion.p_sample_loop_progressive

    def watched(*args: Any, **kwargs: Any) -> list[Any]:
        for _ in loop(*args, **{**kwargs, "progress": False}):
            pass
        return []  # the editor would draw pictures of them

    editor.diffusion.p_sample_loop_progressive = watched
    return editor


def official(folders: dict[str, Path]) -> Job:
    zoo = mini_zoo()
    unet = labelled_unet(zoo)

    def job(steps: int, ready: Ready) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "source.png"
            Image.fromarray(picture_pixels()).save(path)
            editor = _editor(zoo, unet, path, steps)
            with ready_at_first_picture(ready):
                editor.edit_image_by_prompt()

    return job


def ours() -> Job:
    return through_interface(
        lambda steps: ZeCon(config(steps)), mini_zoo(), one_sample(picture_pixels())
    )
