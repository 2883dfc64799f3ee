"""Writes clipstyler.safetensors: losses, gradients and runs of the official CLIPstyler script.

``python -m tests.golden.make_clipstyler --clipstyler DIR`` with a checkout of
github.com/cyclomon/CLIPstyler at 4843cec. ``train_CLIPstyler.py`` runs as it is, line by line, with
three constants changed (CLIP's 224 pixels twice, and its fixed "cuda"), tiny networks in place of
CLIP and VGG19, four channels in its own network, and given numbers in place of its random ones.
torchvision's second mask around warped images is taken off: upstream's version had none.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms import RandomCrop, RandomPerspective, _functional_tensor

from tests.golden.make_zecon import official_vgg
from tests.golden.official_format import (
    EDITOR_CROP_SIZE,
    TinyEncoder,
    filled_state,
    named_normal,
    picture,
    shapes_of,
)
from tests.golden.upstream import HERE, checkouts, contiguous, official
from tests.golden.zecon_case import prompt_embedding

SIZE = 32
CROP = 12  # enlarged to the tiny encoder's 16
CROPS = 6
CHANNELS = 4
PROMPT, SOURCE_PROMPT = "golden", "a Photo"
THRESHOLD = 0.95  # rejects two of the six crops at first
RUN = 3
LONG_RUN = 200
# of these parameters the gradient is stored; biases before a normalisation have none
GRADIENTS = (
    "conv_init.weight", "init.conv.0.weight", "down1.downsample.weight", "down2.skip.weight",
    "up1.conv.3.weight", "out.skip.bias", "conv_fin.weight", "conv_fin.bias",
)  # fmt: skip


def source_pixels() -> np.ndarray:
    """[32, 32, 3] uint8: the script reads a file."""
    image = picture("clipstyler/source", SIZE)[0]
    return image.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _whole_numbers(name: str, shape: tuple[int, ...], below: int) -> Tensor:
    # "b": with other draws one of the official warps divides 0 by 0, and the run ends in NaN
    return (named_normal(f"clipstyler/b/{name}", shape) * 1000).abs().long() % below


def windows(step: int) -> tuple[Tensor, Tensor]:
    """Top-left pixels (x, y) of the crops of a step, [N, 2]; inward moves of corners, [N, 4, 2]."""
    furthest = CROP // 2 // 2
    return (
        _whole_numbers(f"corners/{step}", (CROPS, 2), SIZE - CROP + 1),
        _whole_numbers(f"inward/{step}", (CROPS, 4, 2), furthest + 1),
    )


def _given_windows(steps: int) -> tuple[Iterator[Any], Iterator[Any]]:
    """What ``RandomCrop`` and ``RandomPerspective`` would have drawn."""
    last = CROP - 1
    crops, perspectives = [], []
    for step in range(steps + 1):
        corners, moves = windows(step)
        for (x, y), ((ax, ay), (bx, by), (cx, cy), (dx, dy)) in zip(
            corners.tolist(), moves.tolist(), strict=True
        ):
            crops.append((y, x, CROP, CROP))
            start = [[0, 0], [last, 0], [last, last], [0, last]]
            end = [[ax, ay], [last - bx, by], [last - cx, last - cy], [dx, last - dy]]
            perspectives.append((start, end))
    return iter(crops), iter(perspectives)


class _Sentences(list[str]):
    """Tokens in this maker's CLIP: the sentences themselves."""

    def to(self, device: object) -> _Sentences:
        return self


def stand_in_clip() -> Any:
    module: Any = types.ModuleType("clip")
    module.tokenize = _Sentences
    model = SimpleNamespace(
        encode_image=TinyEncoder().encode_image,
        encode_text=lambda tokens: torch.cat([prompt_embedding(text) for text in tokens]),
    )
    module.load = lambda *args, **kwargs: (model, None)
    return module


def run(folder: Path, steps: int) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Let the official script run; returns its variables at the end, and what it did.

    The second part has its network's answers (``output``), the learning rates and the pictures that
    it saved.
    """
    text = (folder / "train_CLIPstyler.py").read_text()
    for original, ours in (
        ("size=224", f"size={EDITOR_CROP_SIZE}"),
        ("Resize(224)", f"Resize({EDITOR_CROP_SIZE})"),
        ("device='cuda'", "device='cpu'"),
    ):
        if text.count(original) != 1:
            raise RuntimeError(f"{original} is not there once: is the checkout at 4843cec?")
        text = text.replace(original, ours)
    record: dict[str, list[Any]] = {"output": [], "rate": [], "saved": []}
    variables: dict[str, Any] = {"__name__": "__main__"}
    unet = official("StyleNet").UNet

    def watch(network: Any, inputs: Any, output: Tensor) -> None:
        record["output"].append(output.detach().clone())
        record["rate"].append(variables["optimizer"].param_groups[0]["lr"])

    def network() -> Any:
        made = unet(ngf=CHANNELS)
        made.load_state_dict(filled_state(shapes_of(made), "clipstyler"))
        made.register_forward_hook(watch)
        return made

    def keep(image: Tensor, path: str, **options: Any) -> None:
        record["saved"].append(torchvision.utils.make_grid(image.detach(), **options))

    crops, perspectives = _given_windows(steps)
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "source.png"
        Image.fromarray(source_pixels()).save(source)
        (Path(work) / "outputs").mkdir()
        arguments = {
            "content_path": source, "text": PROMPT, "max_step": steps, "thresh": THRESHOLD,
            "img_width": SIZE, "img_height": SIZE, "crop_size": CROP, "num_crops": CROPS,
        }  # fmt: skip
        words = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
        once = _functional_tensor.perspective
        with (
            patch.dict(
                sys.modules,
                {"clip": stand_in_clip(), "StyleNet": SimpleNamespace(UNet=network)},
            ),
            patch.object(sys, "argv", ["train_CLIPstyler.py", *words]),
            patch.object(
                torchvision.models, "vgg19", lambda **_: SimpleNamespace(features=official_vgg())
            ),
            patch.object(torchvision.utils, "save_image", keep),
            patch.object(RandomCrop, "get_params", lambda *_: next(crops)),
            patch.object(RandomPerspective, "get_params", lambda *_: next(perspectives)),
            patch.object(
                _functional_tensor, "perspective",
                lambda *args, fill=None, **kwargs: once(*args, fill=None, **kwargs),
            ),
            contextlib.chdir(work),
            contextlib.redirect_stdout(io.StringIO()),
        ):  # fmt: skip
            exec(compile(text, "train_CLIPstyler.py", "exec"), variables)
    if next(crops, None) or next(perspectives, None):
        raise RuntimeError("not all given windows were used")
    return variables, record


def main() -> None:
    folder = checkouts("clipstyler")["clipstyler"].resolve()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    variables, record = run(folder, 0)
    kept = variables["loss_temp"].detach()
    if not 0 < int((kept == 0).sum()) < CROPS:
        raise RuntimeError(f"the threshold must reject some crops, got {kept.tolist()}")
    out = {
        "crops": variables["img_aug"],
        "text_direction": variables["text_direction"][:1],
        "distances": kept,
        "loss/clip_dir_patch": variables["args"].lambda_patch * variables["loss_patch"],
        "loss/clip_dir": variables["args"].lambda_dir * variables["loss_glob"],
        "loss/content": variables["content_weight"] * variables["content_loss"],
        "loss/tv": variables["reg_tv"],
        "shown/0": record["saved"][-1][None],
    }
    gradients = {n: p.grad for n, p in variables["style_net"].named_parameters()}
    out |= {f"gradient/{name}": gradients[name] for name in GRADIENTS}
    _, record = run(folder, RUN)
    out |= {f"output/{step}": image for step, image in enumerate(record["output"])}
    _, record = run(folder, LONG_RUN)
    out["rates"] = torch.tensor(record["rate"], dtype=torch.float64)
    out[f"shown/{LONG_RUN}"] = record["saved"][-1][None]
    save_file(contiguous(out), HERE / "clipstyler.safetensors")


if __name__ == "__main__":
    main()
