"""Writes clipstyler_fast.safetensors: losses, gradients and a run of ``train_fast.py``.

``python -m tests.golden.make_clipstyler_fast --clipstyler DIR`` with a checkout of
github.com/cyclomon/CLIPstyler at 4843cec. The script runs as it is, line by line, with four
constants changed (CLIP's 224 pixels twice, 512 for its test pictures, and its fixed "cuda"), tiny
networks in place of CLIP, VGG-19 and decoder, and given numbers in place of its random ones.
torchvision's second mask around warped images is taken off: upstream's version had none.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
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
from torchvision.utils import make_grid

from tests.golden.adain_case import input_pixels
from tests.golden.make_adain import narrow_networks
from tests.golden.make_clipstyler import PROMPT, stand_in_clip
from tests.golden.official_format import EDITOR_CROP_SIZE, named_normal
from tests.golden.upstream import HERE, checkouts, contiguous, official

CROP = EDITOR_CROP_SIZE  # upstream's crops have the size that CLIP wants
PHOTO = 24
BATCH = 3
WARPS = 16  # fixed in the script
SIZE = 32  # of the picture that it shows
THRESHOLD = 1.0  # rejects some of the warps at first
RUN = 3
RATE, DECAY = 1e-3, 0.1  # its own are too small to see
WEIGHTS = {"content": 1.0, "clip_dir_patch": 10.0, "clip_dir": 1.0, "tv": 1e-4}


def photo_pixels(number: int) -> np.ndarray:
    """[24, 24, 3] uint8."""
    return input_pixels(f"photo {number}", PHOTO)


def _whole_numbers(name: str, shape: tuple[int, ...], below: int) -> Tensor:
    return (named_normal(f"clipstyler-fast/{name}", shape) * 1000).abs().long() % below


def corners(step: int) -> list[list[int]]:
    """Top-left pixels (x, y) of the crops of a step; crop k is cut from photograph k."""
    places: list[list[int]] = _whole_numbers(f"corners/{step}", (BATCH, 2), PHOTO - CROP + 1)
    return places.tolist()


def inward(step: int) -> Tensor:
    """Inward moves of the corners of a step's warps, [16, 4, 2]."""
    return _whole_numbers(f"inward/{step}", (WARPS, 4, 2), CROP // 2 // 2 + 1)


def _given(steps: int) -> tuple[Iterator[Any], Iterator[Any]]:
    """What ``RandomCrop`` and ``RandomPerspective`` would have drawn."""
    last = CROP - 1
    crops, perspectives = [], []
    for step in range(steps):
        crops += [(y, x, CROP, CROP) for x, y in corners(step)]
        for (ax, ay), (bx, by), (cx, cy), (dx, dy) in inward(step).tolist():
            start = [[0, 0], [last, 0], [last, last], [0, last]]
            end = [[ax, ay], [last - bx, by], [last - cx, last - cy], [dx, last - dy]]
            perspectives.append((start, end))
    return iter(crops), iter(perspectives)


class _InOrder:
    """The sampler: all photographs by name, again and again."""

    def __init__(self, data: Any) -> None:
        self.order = sorted(range(len(data)), key=lambda index: data.paths[index])

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from self.order

    def __len__(self) -> int:
        return 2**31


def run(folder: Path, steps: int) -> tuple[dict[str, Any], Tensor]:
    """Let the official script run; its variables at the end and the picture that it shows."""
    text = (folder / "train_fast.py").read_text()
    for original, ours in (
        ("image,size=224", f"image,size={CROP}"),
        ("transforms.Resize(224)", f"transforms.Resize({CROP})"),
        ("size=(512, 512)", f"size=({SIZE}, {SIZE})"),
        ("torch.device('cuda')", "torch.device('cpu')"),
        ("test_images1.cuda()", "test_images1"),
    ):
        if text.count(original) != 1:
            raise RuntimeError(f"{original} is not there once: is the checkout at 4843cec?")
        text = text.replace(original, ours)
    networks = official("fast_stylenet")
    vgg, decoder = narrow_networks(networks)
    saved: list[Tensor] = []
    variables: dict[str, Any] = {"__name__": "__main__"}

    def keep(images: Tensor, path: str, nrow: int, **options: Any) -> None:
        saved.append(make_grid(images[-1:].detach(), **options))

    crops, perspectives = _given(steps)
    with tempfile.TemporaryDirectory() as work:
        for place in ("photos", "test", "output_fast"):
            (Path(work) / place).mkdir()
        for number in range(BATCH):
            Image.fromarray(photo_pixels(number)).save(Path(work) / "photos" / f"{number}.png")
        Image.fromarray(input_pixels("content", SIZE)).save(Path(work) / "test" / "content.png")
        torch.save(vgg.state_dict(), Path(work) / "vgg.pth")
        torch.save(decoder.state_dict(), Path(work) / "decoder.pth")
        arguments = {
            "content_dir": "photos", "test_dir": "test", "vgg": "vgg.pth", "decoder": "decoder.pth",
            "save_dir": "model", "text": PROMPT, "max_iter": steps, "batch_size": BATCH,
            "n_threads": 0, "crop_size": CROP, "thresh": THRESHOLD, "lr": RATE, "lr_decay": DECAY,
            "save_img_interval": steps,
        }  # fmt: skip
        words = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
        once = _functional_tensor.perspective
        sampler: Any = SimpleNamespace(InfiniteSamplerWrapper=_InOrder)
        with (
            patch.dict(sys.modules, {"clip": stand_in_clip(), "sampler": sampler}),
            patch.object(networks, "vgg", vgg),
            patch.object(networks, "decoder", decoder),
            patch.object(sys, "argv", ["train_fast.py", *words]),
            patch.object(torchvision.utils, "save_image", keep),
            patch.object(RandomCrop, "get_params", lambda *_: next(crops)),
            patch.object(RandomPerspective, "get_params", lambda *_: next(perspectives)),
            patch.object(
                _functional_tensor, "perspective",
                lambda *args, fill=None, **kwargs: once(*args, fill=None, **kwargs),
            ),
            contextlib.chdir(work),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):  # fmt: skip
            exec(compile(text, "train_fast.py", "exec"), variables)
    if next(crops, None) or next(perspectives, None):
        raise RuntimeError("not all given crops and warps were used")
    return variables, saved[-1]


def main() -> None:
    folder = checkouts("clipstyler")["clipstyler"].resolve()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    variables, _ = run(folder, 1)
    kept = variables["loss_temp"].detach()
    if not 0 < int((kept == 0).sum()) < len(kept):
        raise RuntimeError(f"the threshold must reject some warps, got {kept.tolist()}")
    out = {
        "photos": variables["content_images"],
        "output": variables["out_img"],
        "warps": variables["aug_img"],
        "loss/content": variables["loss_c"],
        "loss/clip_dir_patch": 10 * variables["loss_patch"],
        "loss/clip_dir": variables["loss_glob"],
        "loss/tv": variables["reg_tv"],
    }
    gradients = {n: p.grad for n, p in variables["decoder"].named_parameters()}
    out |= {f"gradient/{name}": value for name, value in gradients.items()}
    variables, out["shown"] = run(folder, RUN)
    out |= {f"trained/{n}": p for n, p in variables["decoder"].named_parameters()}
    out["shown"] = out["shown"][None]
    out["rate"] = torch.tensor(variables["optimizer"].param_groups[0]["lr"], dtype=torch.float64)
    save_file(contiguous(out), HERE / "clipstyler_fast.safetensors")
    sys.stdout.write(f"{ {n: round(v.item(), 5) for n, v in out.items() if not v.ndim} }\n")
    sys.stdout.write(f"{sorted(kept.tolist())}\n")
    silent = [name for name, value in gradients.items() if not value.abs().max()]
    sys.stdout.write(f"no gradient: {silent}\n")


if __name__ == "__main__":
    main()
