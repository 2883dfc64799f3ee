"""The two face embedders that papers report: ArcFace IR-SE50, and FaceNet trained on VGGFace2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import WeightsError
from benchmark.zoo.face import Face, FaceAligner, FaceModel
from benchmark.zoo.loading import load_strictly

# (width, blocks) of the four stages of IR-SE50
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
_REDUCTION = 16  # of squeeze and excitation
_FACENET_SCALE = 127.5 / 128  # facenet-pytorch's (pixel - 127.5) / 128, from [-1, 1]


class SqueezeExcitation(nn.Module):
    """Channels weighted by a small network of their means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(x, 1)
        weights: Tensor = torch.sigmoid(self.fc2(F.relu(self.fc1(means))))
        return x * weights


class Bottleneck(nn.Module):
    """Improved residual unit: BN - conv - PReLU - conv - BN - SE, and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if channels == width:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, width, 3, 1, 1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            SqueezeExcitation(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class ArcFaceIrSe50(FaceModel):
    """ArcFace (Deng et al. 2019, arXiv 1801.07698) with the IR-SE50 trunk.

    Names and shapes are those of ``model_ir_se50.pth`` (``TreB1eN/InsightFace_Pytorch``), which
    StyleCLIP, DiffusionCLIP and DiffuseIT load.
    """

    input_size: ClassVar[int] = 112

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        blocks: list[nn.Module] = []
        channels = 64
        for width, count in STAGES:
            for place in range(count):
                blocks.append(Bottleneck(channels, width, 2 if place == 0 else 1))
                channels = width
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.6), nn.Flatten(), nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512),
        )  # fmt: skip

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> ArcFaceIrSe50:
        """Frozen embedder with given weights.

        Raises:
            WeightsError: names or shapes do not fit.
        """
        with torch.device("meta"):
            model = cls()
        model = model.to_empty(device="cpu")
        load_strictly(model, state, "ArcFace IR-SE50")
        return model.eval().requires_grad_(False)

    def embed(self, crops: Tensor) -> Tensor:
        """Unit vectors [N, 512] of aligned crops [N, 3, 112, 112] in [-1, 1]."""
        _require_crops(crops, self.input_size, "ArcFace")
        maps: Tensor = self.output_layer(self.body(self.input_layer(crops)))
        return F.normalize(maps.float(), dim=1)


class FaceNet(FaceModel):
    """FaceNet's Inception-ResNet-v1 trained on VGGFace2, from facenet-pytorch.

    Args:
        network: an ``InceptionResnetV1`` that gives embeddings.
    """

    input_size: ClassVar[int] = 160

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> FaceNet:
        """Frozen embedder with given weights; the classifier's (``logits.*``) are left out.

        Raises:
            WeightsError: names or shapes do not fit.
        """
        from facenet_pytorch import InceptionResnetV1

        if "last_linear.weight" not in state:
            raise WeightsError(
                "the checkpoint is no Inception-ResNet-v1 of facenet-pytorch: it lacks "
                "last_linear.weight"
            )
        network: nn.Module = InceptionResnetV1(pretrained=None, classify=False)
        kept = {name: value for name, value in state.items() if not name.startswith("logits.")}
        load_strictly(network, kept, "facenet-pytorch's Inception-ResNet-v1")
        return cls(network.eval()).eval().requires_grad_(False)

    def embed(self, crops: Tensor) -> Tensor:
        """Unit vectors [N, 512] of crops [N, 3, 160, 160] in [-1, 1]."""
        _require_crops(crops, self.input_size, "FaceNet")
        vectors: Tensor = self.network(crops * _FACENET_SCALE)
        return F.normalize(vectors.float(), dim=1)

    @staticmethod
    def cut(aligner: FaceAligner, images: Tensor, faces: Sequence[Face], size: int) -> Tensor:
        """Crops at the detector's box, upright, as ``facenet_pytorch.extract_face`` cuts them."""
        parts = []
        for image, face in zip(images, faces, strict=True):
            height, width = image.shape[1:]
            left, top, right, bottom = face.box
            rows = slice(int(max(top, 0)), int(min(bottom, height)))
            columns = slice(int(max(left, 0)), int(min(right, width)))
            parts.append(
                F.interpolate(
                    image[None, :, rows, columns], size=(size, size), mode="bilinear",
                    align_corners=False, antialias=True,
                )
            )  # fmt: skip
        return torch.cat(parts)


def _require_crops(crops: Tensor, size: int, name: str) -> None:
    if crops.ndim != 4 or tuple(crops.shape[1:]) != (3, size, size):
        raise ValueError(
            f"{name} reads face crops [N, 3, {size}, {size}], got {list(crops.shape)}: cut them "
            f"with its cut()"
        )
