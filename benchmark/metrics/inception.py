"""The Inception network of the published FID and KID values.

The weights are those of TensorFlow's ``inception-2015-12-05`` in PyTorch's form, as pytorch-fid
(``mseitzer/pytorch-fid``, ``pt_inception-2015-12-05-6726825d.pth``) and torch-fidelity (the same
bytes under another name) publish them. The graph differs from torchvision's ``inception_v3`` in its
pooling: means leave the padding out, and the last block takes a maximum (pytorch-fid,
``inception.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import Inception3
from torchvision.models.inception import (
    BasicConv2d,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from benchmark.metrics.pixels import require_pixels
from benchmark.zoo.checkpoint_file import verify_file
from benchmark.zoo.loading import load_state, load_strictly
from benchmark.zoo.registry import model_card

INPUT_SIDE = 299
CLASSES = 1008  # of the TensorFlow graph; torchvision's has 1000


CARD = model_card("inception-fid")


class _Pooling:
    """Replaces the pooling of the block it is mixed into, whose last branch follows it."""

    branch_pool: nn.Module

    def _forward(self, x: Tensor) -> list[Tensor]:
        branches: list[Tensor] = super()._forward(x)[:-1]  # type: ignore[misc]
        return [*branches, self.branch_pool(self._pool(x))]

    def _pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _A(_Pooling, InceptionA):  # type: ignore[misc]
    pass


class _C(_Pooling, InceptionC):  # type: ignore[misc]
    pass


class _E(_Pooling, InceptionE):  # type: ignore[misc]
    pass


class _LastE(_E):
    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=1, padding=1)


class FidInception(Inception3):  # type: ignore[misc]
    """Inception-v3 with the pooling of the TensorFlow graph."""

    def __init__(self) -> None:
        blocks = [BasicConv2d, _A, InceptionB, _C, InceptionD, _E, InceptionAux]
        # no weights are drawn: they are loaded strictly
        super().__init__(
            num_classes=CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False
        )
        self.Mixed_7c = _LastE(2048)

    @classmethod
    def from_weights_dir(cls, weights_dir: Path) -> FidInception:
        """The frozen network with the published weights.

        Raises:
            WeightsError: the file is missing (with where to get it), damaged or another one.
        """
        path = CARD.path(weights_dir)
        verify_file(CARD, path)
        return cls.from_state_dict(load_state(path))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> FidInception:
        """The frozen network with given weights.

        Raises:
            WeightsError: names or shapes do not fit.
        """
        with torch.device("meta"):
            model = cls()
        model.to_empty(device="cpu")
        load_strictly(model, state, "the Inception-v3 of FID")
        model.eval().requires_grad_(False)
        return model

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:
        """Features [N, 2048] float32 of uint8 images [N, 3, H, W].

        Resized to 299 x 299 as pytorch-fid does (bilinear, half-pixel centres, no antialiasing).

        Raises:
            DataError: not stored pixels.
        """
        x = require_pixels(images, "images").float() / 255
        size = (INPUT_SIDE, INPUT_SIDE)
        x = 2 * F.interpolate(x, size=size, mode="bilinear", align_corners=False) - 1
        for name, block in self.named_children():
            x = block(x)
            if name == "avgpool":  # the classifier comes after it
                break
        return x.flatten(1)
