"""Times the official ZeCon editor on the mini models, beside ours: same N, T' and t0.

``python -m tests.golden.time_zecon --zecon DIR --kornia DIR`` (see :mod:`tests.golden.upstream`).
The editor is the official class with its README's weights; U-Net (the official class, with the mini
denoiser's weights), CLIP and VGG are those of the protocol ``mini-64-v1``, and what it hard-codes
for 256 pixels (crops of 128, CLIP's 224) is given the mini models' 64. Its pictures of intermediate
steps are not drawn. Prints seconds per image, medians over the repeats after one warm-up.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from baselines.zecon import ZeCon, ZeConConfig
from benchmark.config import load_protocol, method_config
from benchmark.interface import StyleBatch, StyleRequest, StyleTransferMethod
from benchmark.noise import NoiseSource
from benchmark.ours import QSAttnStyleTransfer
from benchmark.zoo import ModelZoo
from data.datasets import afhq
from tests.golden.official_format import CLIP_MEAN, CLIP_STD
from tests.golden.upstream import checkouts, official, official_process, official_unet

SIZE = 64
RESPACING, T0, CROPS = 50, 25, 32
PROMPT, SOURCE_PROMPT = "Golden", "Photo"
REPEATS = 3


class Labelled(nn.Module):
    """The official U-Net with the class label that the official editor has no argument for."""

    def __init__(self, unet: nn.Module, label: Tensor) -> None:
        super().__init__()
        self.unet = unet
        self.label = label

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.unet(x, timesteps, y=self.label)
        return out

    def forward_enc(self, x: Tensor, timesteps: Tensor, blocks: Any) -> list[Tensor]:
        features: list[Tensor] = self.unet.forward_enc(x, timesteps, blocks, y=self.label)
        return features


def _editor(zoo: ModelZoo, image: Path, config: ZeConConfig) -> Any:
    module = official("optimization.image_editor_zecon")
    editor = module.ImageEditor.__new__(module.ImageEditor)
    editor.args = SimpleNamespace(
        prompt_tgt=PROMPT, prompt_src=SOURCE_PROMPT, init_image=str(image), batch_size=1, eta=0.0,
        output_path=str(image.parent), output_file="out.png", iterations_num=1, n_patch=CROPS,
        skip_timesteps=RESPACING - T0, diffusion_type="ddim_ddpm", export_assets=False,
        save_video=False, l_clip_global=config.clip_global, l_clip_dir=config.clip_dir,
        l_clip_global_patch=config.clip_global_patch, l_clip_dir_patch=config.clip_dir_patch,
        l_zecon=config.contrastive, l_mse=config.mse, l_vgg=config.vgg, range_lambda=config.range,
    )  # fmt: skip
    editor.device = torch.device("cpu")
    editor.model_config = {"image_size": SIZE}
    denoiser = zoo.denoiser()
    unet = official_unet(denoiser.unet.config.model_dump())
    unet.load_state_dict(denoiser.unet.state_dict())
    for name, parameter in unet.named_parameters():  # as the editor does
        parameter.requires_grad_(any(part in name for part in ("qkv", "norm", "proj")))
    label = denoiser.labels(["dogs"], "cpu")
    assert label is not None
    editor.model = Labelled(unet, label)
    editor.diffusion = official_process(str(RESPACING))
    clip: Any = zoo.clip("guide")
    texts = clip.encode_text([PROMPT, SOURCE_PROMPT]).split(1)
    left = list(texts)

    def encode_text(tokens: Tensor) -> Tensor:
        if not left:
            left.extend(texts)
        return left.pop(0)

    editor.clip_model = SimpleNamespace(
        encode_image=clip.model.encode_image, encode_text=encode_text
    )
    editor.clip_normalize = transforms.Normalize(CLIP_MEAN, CLIP_STD)
    augmentations = official("optimization.augmentations").ImageAugmentations
    for name, patch in (("image_augmentations", False), ("patch_augmentations", True)):
        made = augmentations(clip.input_size, 1.0, config.patch_min, config.patch_max, patch=patch)
        made.random_patch = official("kornia.augmentation").RandomResizedCrop(
            size=(SIZE, SIZE), scale=(config.patch_min, config.patch_max)
        )
        setattr(editor, name, made)
    editor.vgg = zoo.vgg().features
    editor.vgg_normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    editor.metrics_accumulator = official("utils.metrics_accumulator").MetricsAccumulator()
    return editor


def _official_seconds(zoo: ModelZoo, pixels: Any, config: ZeConConfig) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.png"
        Image.fromarray(pixels).save(path)
        editor = _editor(zoo, path, config)
        loop = editor.diffusion.p_sample_loop_progressive

        def watched(*args: Any, **kwargs: Any) -> list[Any]:
            for _ in loop(*args, **{**kwargs, "progress": False}):
                pass
            return []  # the editor would draw pictures of them

        editor.diffusion.p_sample_loop_progressive = watched

        def edit() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                editor.edit_image_by_prompt()

        return _median_seconds(edit)


def _our_seconds(method: StyleTransferMethod, zoo: ModelZoo, image: Tensor) -> float:
    method.prepare(zoo)
    request = StyleRequest(
        sample_id="0", image_id="0", domain="dogs", prompt_id="0", prompt=PROMPT,
        source_prompt=SOURCE_PROMPT,
    )  # fmt: skip
    batch = StyleBatch(image[None], (request,))
    return _median_seconds(lambda: method.stylize(batch, NoiseSource(0, ("0",), image.device)))


def _median_seconds(job: Any) -> float:
    seconds = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def main() -> None:
    checkouts("zecon", "kornia")
    protocol = load_protocol("mini-64-v1")
    zoo = ModelZoo(protocol.models)
    frozen = afhq.freeze(
        afhq.source(None), size=SIZE, resize_filter="lanczos", limit=1, on_bad_image="fail"
    )
    module = afhq.data_module(frozen, afhq.prompts("mini-v1", "golden", None),
                              source_prompt=SOURCE_PROMPT, batch_size=1)  # fmt: skip
    pixels, image = frozen.images[0].pixels, module.chunk(0).images[0]
    zecon = ZeConConfig(respacing=RESPACING, t0=T0, n_patches=CROPS)
    ours = method_config("ours", QSAttnStyleTransfer, protocol, None, (f"n_patches={CROPS}",))
    assert isinstance(ours, QSAttnStyleTransfer.Config)
    assert (ours.respacing, ours.t0) == (RESPACING, T0)
    upstream = _official_seconds(zoo, pixels, zecon)
    sys.stdout.write(f"official ZeCon editor  {upstream:.2f} s/image\n")
    for name, method in (("zecon", ZeCon(zecon)), ("ours", QSAttnStyleTransfer(ours))):
        seconds = _our_seconds(method, zoo, image)
        sys.stdout.write(f"{name:22s} {seconds:.2f} s/image ({upstream / seconds:.1f} x as fast)\n")


if __name__ == "__main__":
    main()
