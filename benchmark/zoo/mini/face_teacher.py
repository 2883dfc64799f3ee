"""What a large network says of faces: descriptors that the mini face embedder learns to repeat.

The corpus names 150 persons, too few to learn from what tells persons apart. dlib's residual
network (King 2017, "High Quality Face Recognition with Deep Metric Learning", ResNet-29 trained on
about three million faces) knows, also from 64 pixels. Its packages are for training alone
(``pip install 'stylebench[teachers]'``); nothing of theirs ships.
"""

from __future__ import annotations

import importlib.util
import logging
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import DataError

log = logging.getLogger(__name__)

WEIGHTS = "dlib_face_recognition_resnet_model_v1.dat"
CHIP = 150  # side in pixels of what dlib's network reads
# dlib's own crop in one of `face.aligned`, [80, 80]: as large as the standard crop, but lower, so
# that the eyes lie at a quarter of the height
_ROWS, _COLUMNS = slice(16, 80), slice(8, 72)
_PART = 32


class Teacher:
    """dlib's network.

    Raises:
        DataError: its packages are not installed.
    """

    dim = 128

    def __init__(self) -> None:
        # looked up and not imported: the package's own code needs setuptools' pkg_resources
        models = importlib.util.find_spec("face_recognition_models")
        if models is None or not models.submodule_search_locations:
            raise _missing("face_recognition_models")
        try:
            import dlib
        except ImportError as error:
            raise _missing("dlib") from error
        path = Path(models.submodule_search_locations[0]) / "models" / WEIGHTS
        self._network: Any = dlib.face_recognition_model_v1(str(path))

    def describe(self, pixels: Tensor) -> Tensor:
        """Descriptors [N, 128] float32, about as long as 1, of uint8 crops [N, 80, 80, 3]."""
        found = [
            np.array(self._network.compute_face_descriptor(list(chips(part)), 0))
            for part in torch.split(pixels, _PART)
        ]
        return torch.from_numpy(np.concatenate(found)).float()


def _missing(package: str) -> DataError:
    return DataError(
        f"the face embedder learns from dlib's network, and {package} is not installed: "
        "pip install 'stylebench[teachers]'"
    )


def chips(pixels: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Crops as the network reads them: [N, 80, 80, 3] uint8 to [N, 150, 150, 3] uint8."""
    inner = pixels[:, _ROWS, _COLUMNS].permute(0, 3, 1, 2).float()
    large = F.interpolate(inner, size=(CHIP, CHIP), mode="bicubic")
    return large.clamp(0, 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def mixed_faces(pixels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Faces of nobody: ``count`` mixtures of two aligned faces each, [count, H, W, 3] uint8.

    The teacher tells these apart too, so a few thousand faces teach more than their own persons.
    """
    first, second = torch.randint(len(pixels), (2, count), generator=generator)
    share = 0.25 + 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    return torch.lerp(pixels[first].float(), pixels[second].float(), share).round().byte()


def described(pixels: Tensor, cache: Path) -> Tensor:
    """The teacher's descriptors [N, 128] of crops, from the cache if just these are there.

    A face takes 65 ms.
    """
    path = cache / f"described-{zlib.crc32(pixels.numpy().tobytes()):08x}.npy"
    if not path.is_file():
        teacher = Teacher()
        log.info("describing %d faces", len(pixels))
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npy")
        np.save(partial, teacher.describe(pixels).numpy())
        partial.replace(path)
    return torch.from_numpy(np.load(path, allow_pickle=False))
