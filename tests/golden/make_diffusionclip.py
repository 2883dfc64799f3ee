"""Writes diffusionclip.safetensors: inversion, losses and a fine-tuning of the official code.

``python -m tests.golden.make_diffusionclip --diffusionclip DIR`` with a checkout of
github.com/gwang-kim/DiffusionCLIP at e4bfb25. Its ``clip_finetune`` runs as it is, on pairs of
photographs and latents in the file that it caches them in (made by its own ``denoising_step``),
with tiny networks in place of the denoiser and of CLIP, and without its identity loss. CLIP's
preprocessing is torchvision's resizing with antialiasing, which upstream's version did not have.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import sys
import tempfile
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import transforms

from benchmark.diffusion.unet import UNet, UNetConfig
from tests.golden.official_format import (
    CLIP_MEAN,
    CLIP_STD,
    EDITOR_CROP_SIZE,
    EDITOR_UNET,
    TinyEncoder,
    calm,
    filled_state,
    picture,
    shapes_of,
)
from tests.golden.upstream import HERE, checkouts, contiguous, official
from tests.golden.zecon_case import prompt_embedding

SIZE = 32
PHOTOS = 2
ROUNDS = 2
T0, INVERSION_STEPS, TRAIN_STEPS = 401, 6, 3
LEARNING_RATE, GROWTH = 1e-4, 1.3
SOURCE_PROMPT, PROMPT = "Photo", "golden"
KEPT = ("input_blocks.0.0.weight", "middle_block.1.qkv.weight", "out.2.weight", "out.2.bias")
SEQUENCES = ((500, 40), (500, 6), (401, 6), (300, 7))


def photo(index: int) -> Tensor:
    return picture(f"diffusionclip/{index}", SIZE)


def tiny_unet() -> UNet:
    """A U-Net with the weights that the test draws as well."""
    unet = UNet(UNetConfig.model_validate(EDITOR_UNET))
    unet.load_state_dict(calm(filled_state(shapes_of(unet), "editor")))
    return unet.eval()


class _Sentences(list[str]):
    """Tokens in this maker's CLIP: the sentences themselves."""

    def to(self, device: object) -> _Sentences:
        return self


def _stand_in_clip() -> Any:
    module: Any = types.ModuleType("clip")
    module.tokenize = _Sentences
    model = SimpleNamespace(
        encode_image=TinyEncoder().encode_image,
        encode_text=lambda tokens: torch.cat([prompt_embedding(text) for text in tokens]),
    )
    steps = [
        transforms.Resize(EDITOR_CROP_SIZE, transforms.InterpolationMode.BICUBIC, antialias=True),
        transforms.CenterCrop(EDITOR_CROP_SIZE), None, None,
        transforms.Normalize(CLIP_MEAN, CLIP_STD),
    ]  # fmt: skip
    module.load = lambda *args, **kwargs: (model, SimpleNamespace(transforms=steps))
    return module


class _NoIdentity(nn.Module):
    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        return torch.zeros(len(x))


def _stand_ins() -> dict[str, Any]:
    """Modules that the official file imports and this run does not use."""
    names = {
        "cv2": (), "utils.align_utils": ("run_alignment",),
        "datasets.imagenet_dic": ("IMAGENET_DIC",),
        "datasets.data_utils": ("get_dataset", "get_dataloader"),
        "models.ddpm.diffusion": ("DDPM",), "models.improved_ddpm.script_util": ("i_DDPM",),
        "losses.id_loss": ("IDLoss",),
    }  # fmt: skip
    modules: dict[str, Any] = {"clip": _stand_in_clip()}
    for name, contents in names.items():
        module: Any = types.ModuleType(name)
        for content in contents:
            setattr(module, content, None)
        modules[name] = module
    modules["models.improved_ddpm.script_util"].i_DDPM = lambda dataset: tiny_unet()
    modules["losses.id_loss"].IDLoss = _NoIdentity
    return modules


def _arguments() -> tuple[SimpleNamespace, SimpleNamespace]:
    args = SimpleNamespace(
        edit_attr=None, src_txts=[SOURCE_PROMPT], trg_txts=[PROMPT], exp="exp", model_path="tiny",
        lr_clip_finetune=LEARNING_RATE, sch_gamma=GROWTH, clip_model_name="tiny", t_0=T0,
        n_inv_step=INVERSION_STEPS, n_train_step=TRAIN_STEPS, n_test_step=INVERSION_STEPS,
        n_precomp_img=PHOTOS, n_train_img=PHOTOS, n_test_img=0, bs_train=1, n_iter=ROUNDS,
        sample_type="ddim", eta=0.0, do_train=1, do_test=0, save_train_image=0, clip_loss_w=3,
        id_loss_w=0, l1_loss_w=1, image_folder=".",
    )  # fmt: skip
    config = SimpleNamespace(
        model=SimpleNamespace(var_type="fixedsmall"),
        diffusion=SimpleNamespace(beta_start=1e-4, beta_end=0.02, num_diffusion_timesteps=1000),
        data=SimpleNamespace(dataset="AFHQ", category="dog"),
        device=torch.device("cpu"),
    )
    return args, config


def _chain(module: Any, runner: Any, unet: nn.Module, x: Tensor, pairs: Any) -> Tensor:
    for here, there in pairs:
        x = module.denoising_step(
            x, t=torch.ones(1) * here, t_next=torch.ones(1) * there, models=unet,
            logvars=runner.logvar, sampling_type="ddim", b=runner.betas, eta=0, learn_sigma=True,
        )  # fmt: skip
    return x


def main() -> None:
    checkouts("diffusionclip")
    golden: dict[str, Tensor] = {}
    with patch.dict(sys.modules, _stand_ins()), contextlib.redirect_stdout(io.StringIO()):
        module = official("diffusionclip")
        templates = official("utils.text_templates").imagenet_templates
        args, config = _arguments()
        runner = module.DiffusionCLIP(args, config, torch.device("cpu"))
        unet = tiny_unet()
        steps = [int(s) for s in list(np.linspace(0, 1, INVERSION_STEPS) * T0)]
        backwards = [*reversed(steps), -1]
        pairs = []
        with torch.no_grad():
            for index in range(PHOTOS):
                image = photo(index)
                latent = _chain(module, runner, unet, image, itertools.pairwise(steps))
                back = _chain(module, runner, unet, latent, itertools.pairwise(backwards))
                golden |= {f"latent/{index}": latent, f"reconstruction/{index}": back}
                pairs.append([image, back, latent])
        loss = module.CLIPLoss(
            torch.device("cpu"), lambda_direction=1, lambda_patch=0, lambda_global=0,
            lambda_manifold=0, lambda_texture=0, clip_model="tiny",
        )  # fmt: skip
        golden["direction"] = loss.compute_text_direction(SOURCE_PROMPT, PROMPT)[0]
        golden["directional"] = loss(photo(0), SOURCE_PROMPT, photo(1), PROMPT).reshape(1)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for name in ("precomputed", "checkpoint"):
                Path(name).mkdir()
            for mode in ("train", "test"):
                torch.save(pairs, f"precomputed/dog_{mode}_t{T0}_nim{PHOTOS}_"
                                  f"ninv{INVERSION_STEPS}_pairs.pth")  # fmt: skip
            torch.save(tiny_unet().state_dict(), "tiny")
            runner.clip_finetune()
            for round_ in range(ROUNDS):
                (path,) = Path("checkpoint").glob(f"*-{round_}.pth")
                tuned = torch.load(path, weights_only=True)
                golden |= {f"tuned/{round_}/{name}": tuned[name] for name in KEPT}
        unet.load_state_dict(tuned)
        with torch.no_grad():
            golden["edited"] = _chain(
                module, runner, unet, pairs[0][2], itertools.pairwise(backwards)
            )
    for t0, count in SEQUENCES:
        values = [int(s) for s in list(np.linspace(0, 1, count) * t0)]
        golden[f"steps/{t0}/{count}"] = torch.tensor(values)
    digest = hashlib.sha256("\n".join(sorted(templates)).encode()).hexdigest()
    path = HERE / "diffusionclip.safetensors"
    save_file(contiguous(golden), path, metadata={"templates_sha256": digest})
    sys.stdout.write(f"{path}: {len(golden)} tensors, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
