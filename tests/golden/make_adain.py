"""Writes adain.safetensors: losses, one training step and whole passes of pytorch-AdaIN.

``python -m tests.golden.make_adain --adain DIR`` with a checkout of
github.com/naoto0804/pytorch-AdaIN at 47950d0. ``test.py`` and the classes of ``net.py`` run as they
are, with narrower convolutions in its two networks and weights drawn from names. The layouts of the
official networks at full width go to adain_shapes.json.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.golden.adain_case import (
    ALPHA,
    DECODER,
    VGG_WIDTHS,
    decoder_state,
    image,
    input_pixels,
    vgg_state,
)
from tests.golden.official_format import shapes_of
from tests.golden.upstream import HERE, checkouts, contiguous, official


def narrowed(layers: nn.Sequential, channels: list[int]) -> nn.Sequential:
    """The same layers with other channels: those of the input, then after each convolution."""
    made: list[nn.Module] = []
    left = list(channels)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            made.append(nn.Conv2d(left[0], left[1], layer.kernel_size))
            left = left[1:]
        else:
            made.append(layer)
    if len(left) != 1:
        raise RuntimeError("another number of convolutions: is the checkout at 47950d0?")
    return nn.Sequential(*made)


def narrow_networks(module: Any) -> tuple[nn.Sequential, nn.Sequential]:
    """``vgg`` and ``decoder`` of a module with the tiny widths and weights."""
    stages = zip(VGG_WIDTHS, (2, 2, 4, 4, 4), strict=True)
    vgg = narrowed(module.vgg, [3, 3, *(w for w, convs in stages for _ in range(convs))])
    decoder = narrowed(module.decoder, list(DECODER))
    vgg.load_state_dict(vgg_state())
    decoder.load_state_dict(decoder_state())
    return vgg, decoder


def run_test_script(folder: Path, *flags: str) -> Tensor:
    """What ``test.py`` saves for the content and the style, [1, 3, H, W]."""
    net = official("net")
    vgg, decoder = narrow_networks(net)
    saved = []
    with tempfile.TemporaryDirectory() as work:
        for name in ("content", "style"):
            Image.fromarray(input_pixels(name)).save(Path(work) / f"{name}.png")
        torch.save(vgg.state_dict(), Path(work) / "vgg.pth")
        torch.save(decoder.state_dict(), Path(work) / "decoder.pth")
        arguments = [
            "test.py", "--content", "content.png", "--style", "style.png", "--vgg", "vgg.pth",
            "--decoder", "decoder.pth", "--content_size", "0", "--style_size", "0", *flags,
        ]  # fmt: skip
        with (
            patch.object(net, "vgg", vgg),
            patch.object(net, "decoder", decoder),
            patch.object(sys, "argv", arguments),
            patch.object(
                torchvision.utils, "save_image", lambda image, path: saved.append(image.clone())
            ),
            contextlib.chdir(work),
        ):
            text = (folder / "test.py").read_text()
            exec(compile(text, "test.py", "exec"), {"__name__": "__main__"})
    (result,) = saved
    return result


def main() -> None:
    folder = checkouts("adain")["adain"].resolve()
    net, function = official("net"), official("function")
    layouts = {"vgg": shapes_of(net.vgg), "decoder": shapes_of(net.decoder)}
    (HERE / "adain_shapes.json").write_text(json.dumps(layouts) + "\n")
    content, style = image("content"), image("style")
    vgg, decoder = narrow_networks(net)
    network = net.Net(nn.Sequential(*list(vgg.children())[:31]), decoder)
    layers = network.encode_with_intermediate(content)
    out = {f"layer/{name + 1}": values for name, values in enumerate(layers)}
    features, style_features = network.encode(content), network.encode(style)
    out["mean"], out["std"] = function.calc_mean_std(features)
    out["adain"] = function.adaptive_instance_normalization(features, style_features)
    out["coral"] = function.coral(style[0], content[0])
    loss_content, loss_style = network(content, style)
    out |= {"loss/content": loss_content, "loss/style": loss_style}
    (loss_content + 10 * loss_style).backward()
    out |= {f"gradient/{name}": p.grad for name, p in decoder.named_parameters()}
    out["shown"] = run_test_script(folder)
    out["shown/alpha"] = run_test_script(folder, "--alpha", str(ALPHA))
    out["shown/preserve_color"] = run_test_script(folder, "--preserve_color")
    save_file(contiguous(out), HERE / "adain.safetensors")
    sizes = {name: tuple(value.shape) for name, value in out.items()}
    sys.stdout.write(f"{sizes}\n{np.sum([v.numel() for v in out.values()]) * 4} bytes\n")


if __name__ == "__main__":
    main()
