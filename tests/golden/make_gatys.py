"""Writes gatys.safetensors: losses, a gradient and a short run of the authors' notebook.

``python -m tests.golden.make_gatys --gatys DIR`` with a checkout of
github.com/leongatys/PytorchNeuralStyleTransfer at be6c8e2. The notebook's cells run as they are,
but for: IPython's magic and the pictures it shows (left out), ``transforms.Scale`` (its own
successor ``Resize``), the number of iterations, the channels that its style weights name, and a
tiny VGG's convolutions in place of the downloaded ones, rescaled to its pixels of 0 to 255. They
run in float64: over tens of updates L-BFGS makes a visible difference of float32's rounding.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import transforms

from benchmark.zoo.vgg import CONV_INDICES, IMAGENET_STD, VggFeatures
from tests.golden.official_format import VGG_WIDTHS, filled_state, picture, shapes_of
from tests.golden.upstream import HERE, checkouts, contiguous

SIDE = 32
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
RUN = 20  # so 40 evaluations: the limit itself is passed


def tiny_vgg_state() -> dict[str, Tensor]:
    """Weights of the tiny VGG in torchvision's layout, from names."""
    return filled_state(shapes_of(VggFeatures(VGG_WIDTHS)), "vgg")


def input_pixels(name: str) -> np.ndarray:
    """[32, 32, 3] uint8 of ``content`` or ``style``: the notebook reads files."""
    image = picture(f"gatys/{name}", SIDE)[0]
    return image.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _official_state() -> dict[str, Tensor]:
    state = {}
    for name, index in CONV_INDICES.items():
        for part in ("weight", "bias"):
            state[f"{name}.{part}"] = tiny_vgg_state()[f"features.{index}.{part}"].double()
    # upstream subtracts a mean from blue, green, red times 255 and divides by nothing
    first = (
        state["conv1_1.weight"]
        / torch.tensor(IMAGENET_STD, dtype=torch.float64).view(1, 3, 1, 1)
        / 255
    )
    state["conv1_1.weight"] = first.flip(1)
    return state


def _cells(folder: Path) -> list[str]:
    notebook = json.loads((folder / "NeuralStyleTransfer.ipynb").read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _edited(cell: str, changes: dict[str, str]) -> str:
    for original, ours in changes.items():
        if original not in cell:
            raise RuntimeError(f"{original!r} is not there: is the checkout at be6c8e2?")
        cell = cell.replace(original, ours)
    return cell


def run(folder: Path, max_iter: int) -> dict[str, Any]:
    """The notebook's variables after its cells up to the first result."""
    cells = _cells(folder)
    starts = (
        "%pylab", "#vgg definition", "# gram matrix", "# pre and post", "#get network",
        "#load images", "#display images", "#define layers", "#run style transfer",
    )  # fmt: skip
    for cell, start in zip(cells, starts, strict=False):
        if not cell.startswith(start):
            raise RuntimeError(f"a cell does not begin with {start!r}: is the checkout at be6c8e2?")
    cells = cells[: len(starts)]
    widths = "[64,128,256,512,512]"
    cells[0] = _edited(cells[0], {"%pylab inline": ""})
    cells[1] = _edited(cells[1], {"nn.Conv2d(": "tiny_convolution("})
    cells[3] = _edited(cells[3], {"img_size = 512": f"img_size = {SIDE}", "Scale(": "Resize("})
    cells[5] = _edited(cells[5], {"vangogh_starry_night.jpg": "style.png",
                                  "Tuebingen_Neckarfront.jpg": "content.png"})  # fmt: skip
    cells[6] = ""
    cells[7] = _edited(cells[7], {widths: str(list(VGG_WIDTHS))})
    cells[8] = _edited(cells[8], {"max_iter = 500": f"max_iter = {max_iter}"})
    cells[8] = cells[8].split("#display result")[0]

    narrow = {3: 3, **dict(zip((64, 128, 256, 512), VGG_WIDTHS, strict=False))}

    def tiny_convolution(wide_in: int, wide_out: int, **options: Any) -> nn.Conv2d:
        return nn.Conv2d(narrow[wide_in], narrow[wide_out], **options)

    variables: dict[str, Any] = {"tiny_convolution": tiny_convolution}
    state = _official_state()
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "Images").mkdir()
        for name in ("content", "style"):
            Image.fromarray(input_pixels(name)).save(Path(work) / "Images" / f"{name}.png")
        torch.set_default_dtype(torch.float64)
        with (
            contextlib.chdir(work),
            contextlib.redirect_stdout(io.StringIO()),
            patch.object(torch, "load", lambda path: state),
            patch.object(transforms, "Scale", transforms.Resize, create=True),
        ):
            for cell in cells:
                exec(compile(cell, "NeuralStyleTransfer.ipynb", "exec"), variables)
        # the draws of weights and pictures are float32's
        torch.set_default_dtype(torch.float32)
    return variables


def main() -> None:
    folder = checkouts("gatys")["gatys"].resolve()
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    # the optimiser is made but not called; the losses are taken between content and style
    variables = run(folder, -1)
    halfway = (variables["content_image"] + variables["style_image"]) / 2
    pixels = halfway.detach().requires_grad_()
    answers = variables["vgg"](pixels, variables["loss_layers"])
    terms = [
        weight * loss(answer, target)
        for weight, loss, answer, target in zip(
            variables["weights"], variables["loss_fns"], answers, variables["targets"], strict=True
        )
    ]
    sum(terms).backward()
    names = [f"style/{name}" for name in STYLE_LAYERS] + ["content/conv4_2"]
    out = {f"loss/{name}": term for name, term in zip(names, terms, strict=True)}
    targets = zip(names, variables["targets"], strict=True)
    out |= {f"target/{name}": target for name, target in targets}
    assert pixels.grad is not None
    out["gradient"] = pixels.grad.flip(1)  # red, green, blue
    variables = run(folder, RUN)
    out["evaluations"] = torch.tensor(variables["n_iter"])
    shown = variables["postpa"](variables["opt_img"].data[0].clone())
    out["result"] = shown[None]
    save_file(contiguous(out), HERE / "gatys.safetensors")
    sys.stdout.write(f"{ {name: value.item() for name, value in out.items() if not value.ndim} }\n")


if __name__ == "__main__":
    main()
