"""Photographs that methods are fine-tuned on: a user's folder, or windows of those that ship."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.errors import UsageError
from data.decode import decode, square
from data.module import to_model_range
from data.photos import PHOTOS, photo_bytes
from data.styles import load_styles

SMALLEST_WINDOW = 0.4  # of the photograph's shorter side


@dataclass(frozen=True)
class TrainingPhotos:
    """Photographs and what they are.

    Attributes:
        images: [N, 3, S, S] float32 in [-1, 1].
        sha256: of the pixels at this size; weights that were trained on others are others.
    """

    images: Tensor
    sha256: str


def training_photos(folder: Path | None, *, count: int, size: int, seed: int) -> TrainingPhotos:
    """``count`` photographs of side ``size``.

    Args:
        folder: the first images by name, cut to centred squares. None takes random windows, half
            of them mirrored, of the photographs that installed packages ship. No dataset shows
            them, so nobody is tuned on what is tested.
        seed: of the windows.

    Raises:
        UsageError: the folder holds fewer images.
        DataError: no folder, or no images in it.
        BadImageError: one that cannot be decoded.
    """
    if folder is None:
        pictures = _windows(count, size, seed)
    else:
        found = load_styles(folder, size, "lanczos")[:count]
        if len(found) < count:
            raise UsageError(
                f"training_images={folder} holds {len(found)} images, fewer than "
                f"training_count={count}: add some, or lower training_count"
            )
        pictures = [style.pixels for style in found]
    digest = hashlib.sha256(b"".join(picture.tobytes() for picture in pictures))
    return TrainingPhotos(torch.stack(list(map(to_model_range, pictures))), digest.hexdigest())


def _windows(count: int, size: int, seed: int) -> list[np.ndarray]:
    photos = [decode(photo_bytes(name)) for name in sorted(PHOTOS)]
    generator = np.random.default_rng(seed)
    windows = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(min(photo.size) * generator.uniform(SMALLEST_WINDOW, 1.0))
        left, top = (int(generator.uniform(0, length - side + 1)) for length in photo.size)
        window = square(photo.crop((left, top, left + side, top + side)), size, "lanczos")
        windows.append(window[:, ::-1] if generator.uniform() < 0.5 else window)
    return windows
