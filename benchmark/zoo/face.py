"""Face identity: detection and alignment by MTCNN, embedding by a small residual network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import WeightsError
from benchmark.zoo.loading import load_strictly

Points = npt.NDArray[np.float64]

# Eyes, nose, mouth corners in a unit square: the alignment of ArcFace (Deng et al. 2019), given
# there for crops of 112 pixels.
TEMPLATE: Points = (
    np.array([
        [38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366],
        [41.5493, 92.3655], [70.7299, 92.2041],
    ]) / 112.0
)  # fmt: skip
DETECTION_SIZE = 192  # pixels; MTCNN finds nothing smaller than 12 and is unsure below about 40
DETECTION_PAD = 0.25  # a face that fills the picture is found, and placed better, with a margin


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the image it was found in (x right, y down).

    Attributes:
        box: [4] left, top, right, bottom.
        landmarks: [5, 2] left eye, right eye, nose, left and right mouth corner, as seen.
        probability: the detector's confidence in [0, 1].
    """

    box: Points
    landmarks: Points
    probability: float


def similarity(source: Points, target: Points) -> Points:
    """Least-squares rotation, scale and shift [2, 3] that takes points [K, 2] onto others.

    Solved as a complex line fit (equal to Umeyama 1991 where no reflection is involved).
    """
    a = source[:, 0] + 1j * source[:, 1]
    b = target[:, 0] + 1j * target[:, 1]
    a0, b0 = a.mean(), b.mean()
    factor = np.vdot(a - a0, b - b0) / np.vdot(a - a0, a - a0)
    shift = b0 - factor * a0
    return np.array([
        [factor.real, -factor.imag, shift.real],
        [factor.imag, factor.real, shift.imag],
    ])  # fmt: skip


class FaceAligner:
    """Finds the face of a picture and cuts it out in a standard pose.

    Detect on the **source** picture and reuse its :class:`Face` for the stylised one, so that both
    are cut alike even where the style hides the face from the detector.

    Args:
        device: where MTCNN (Zhang et al. 2016; weights in the facenet-pytorch package) runs.
        min_probability: below it, a detection does not count.
    """

    def __init__(self, device: torch.device | str = "cpu", *, min_probability: float = 0.9) -> None:
        from facenet_pytorch import MTCNN

        self.min_probability = min_probability
        # its networks draw initial weights from the global stream before they load the real ones
        with torch.random.fork_rng(devices=[]):
            self._detector: Any = MTCNN(
                keep_all=True, select_largest=True, min_face_size=40, device=torch.device(device)
            )

    @torch.no_grad()
    def detect(self, image: Tensor) -> Face | None:
        """The largest face of an image [3, H, W] in [-1, 1], or None."""
        height, width = image.shape[1:]
        scale = DETECTION_SIZE / min(height, width)
        size = (round(height * scale), round(width * scale))
        x = F.interpolate(
            image[None].float().cpu(),
            size=size,
            mode="bicubic",
            align_corners=False,
            antialias=True,
        )
        pad = round(DETECTION_PAD * DETECTION_SIZE)
        x = F.pad(x.clamp(-1, 1), (pad, pad, pad, pad), mode="replicate")
        pixels = ((x[0].permute(1, 2, 0) + 1) * 127.5).round().numpy().astype(np.uint8)
        boxes, probabilities, landmarks = self._detector.detect(pixels, landmarks=True)
        if boxes is None:
            return None
        for box, probability, points in zip(boxes, probabilities, landmarks, strict=True):
            if probability >= self.min_probability:
                return Face(
                    (np.asarray(box, np.float64) - pad) / scale,
                    (np.asarray(points, np.float64) - pad) / scale,
                    float(probability),
                )
        return None

    def detect_all(self, images: Tensor) -> list[Face | None]:
        """:meth:`detect` on each of [N, 3, H, W]."""
        return [self.detect(image) for image in images]

    @staticmethod
    def crop(images: Tensor, faces: Sequence[Face], size: int, *, margin: float = 1.0) -> Tensor:
        """Aligned crops, differentiable with respect to the images.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            faces: one for each image.
            size: side of the crops in pixels.
            margin: side of the area that is cut out, in sides of the standard crop.

        Returns:
            [N, 3, size, size] in about [-1, 1]; what lies outside repeats the image's border.
        """
        if len(images) != len(faces):
            raise ValueError(f"{len(faces)} faces do not fit {len(images)} images")
        template = ((TEMPLATE - 0.5) / margin + 0.5) * size
        parts = [
            _crop(image[None], face.landmarks, template, size)
            for image, face in zip(images, faces, strict=True)
        ]
        return torch.cat(parts)


def _crop(image: Tensor, landmarks: Points, template: Points, size: int) -> Tensor:
    shrink = math.hypot(*similarity(landmarks, template)[:, 0])
    if shrink < 1.0:  # a warp that shrinks would alias
        height, width = image.shape[2:]
        target = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        image = F.interpolate(
            image, size=target, mode="bicubic", align_corners=False, antialias=True
        )
        landmarks = landmarks * np.array([target[1] / width, target[0] / height])
    height, width = image.shape[2:]
    to_image = similarity(template, landmarks)
    axis = torch.arange(size, dtype=torch.float64) + 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.from_numpy(to_image) @ torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    grid = points / torch.tensor([[width], [height]]) * 2 - 1
    grid = grid.T.reshape(1, size, size, 2).to(image)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


class FaceModel(nn.Module, ABC):
    """What turns a cut-out face into a vector of identity."""

    input_size: ClassVar[int]

    @abstractmethod
    def embed(self, crops: Tensor) -> Tensor:
        """Unit vectors [N, D] float32 of crops [N, 3, input_size, input_size] in [-1, 1]."""

    @staticmethod
    def cut(aligner: FaceAligner, images: Tensor, faces: Sequence[Face], size: int) -> Tensor:
        """Crops as the model wants them, [N, 3, size, size]: at the landmarks, unless it says."""
        return aligner.crop(images, faces, size)


class ResidualBlock(nn.Module):
    """BN - conv - BN - PReLU - conv - BN with a skip, the improved residual unit of ArcFace."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or channels != out_channels:
            self.skip = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.skip(x)
        return out


class FaceEmbedder(FaceModel):
    """Embeds aligned 64x64 face crops so that crops of one person are near.

    Args:
        widths: channels of the four stages (at 32, 16, 8 and 4 pixels).
        dim: length of an embedding.
    """

    input_size: ClassVar[int] = 64

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 128), dim: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        ]
        channels = widths[0]
        for index, width in enumerate(widths):
            layers.append(ResidualBlock(channels, width, stride=1 if index == 0 else 2))
            layers.append(ResidualBlock(width, width, stride=1))
            channels = width
        self.body = nn.Sequential(*layers)
        self.out_norm = nn.BatchNorm2d(channels)
        self.project = nn.Linear(channels * 16, dim, bias=False)
        self.embedding_norm = nn.BatchNorm1d(dim)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> FaceEmbedder:
        """Frozen embedder with given weights (half precision is widened).

        Raises:
            WeightsError: if names or shapes do not fit.
        """
        blocks = (3, 5, 7, 9)  # the first block of each stage
        keys = [f"body.{index}.body.1.weight" for index in blocks]
        if "project.weight" not in state or any(key not in state for key in keys):
            raise WeightsError(
                "the checkpoint is not a face embedder of this package: it lacks project.weight or "
                f"{keys[0]}"
            )
        model = cls([state[key].shape[0] for key in keys], state["project.weight"].shape[0])
        load_strictly(model, state, "the face embedder")
        return model.eval().requires_grad_(False)

    def forward(self, crops: Tensor) -> Tensor:
        """Embeddings [N, dim] before normalisation."""
        return self.head(self.features(crops))

    def features(self, crops: Tensor) -> Tensor:
        """Flattened feature maps [N, F]."""
        maps: Tensor = self.out_norm(self.body(crops))
        return maps.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """Embeddings [N, dim] of features."""
        out: Tensor = self.embedding_norm(self.project(features))
        return out

    def embed(self, crops: Tensor) -> Tensor:
        """Unit vectors [N, dim] float32 of aligned crops [N, 3, 64, 64] in [-1, 1].

        Raises:
            ValueError: if the crops have another shape.
        """
        expected = (3, self.input_size, self.input_size)
        if crops.ndim != 4 or tuple(crops.shape[1:]) != expected:
            raise ValueError(
                f"the face embedder reads aligned crops [N, 3, 64, 64], got {list(crops.shape)}: "
                "cut them with FaceAligner.crop"
            )
        # a mirrored face is the same person, and the mean of both views tells persons apart better
        straight, mirrored = self(torch.cat([crops, crops.flip(-1)])).float().chunk(2)
        return F.normalize(straight + mirrored, dim=1)
