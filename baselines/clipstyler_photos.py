"""What CLIPstyler's fast variant is trained on: crops of a folder's photographs, or of one picture.

After the data loading in ``train_fast.py`` of ``cyclomon/CLIPstyler`` at commit 4843cec.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.noise import NoiseSource

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def own_crops(image: Tensor, noise: NoiseSource, step: int, count: int, side: int) -> Tensor:
    """Crops at uniform places, half of them mirrored.

    Args:
        image: [1, 3, H, W]. side: of the crops, at most the image's. In pixels.
        noise: of one sample.
        step: update that they are for.

    Returns:
        [count, 3, side, side].
    """
    draws = NoiseSource(noise.run_seed, noise.sample_ids).uniform(f"crops/{step}", (count, 3))[0]
    crops = []
    for across, down, mirrored in draws.double().tolist():
        x, y = (int(u * (n - side + 1)) for u, n in ((across, image.shape[3]),
                                                    (down, image.shape[2])))  # fmt: skip
        crop = image[0, :, y : y + side, x : x + side]
        crops.append(crop.flip(2) if mirrored < 0.5 else crop)
    return torch.stack(crops)


@dataclass(frozen=True)
class PhotoFolder:
    """Photographs that are opened when they are wanted.

    Attributes:
        paths: of the files, sorted by name.
        side: of the crops, in pixels.
        sha256: over the contents of the files in that order; it does not depend on where they lie.
    """

    paths: tuple[Path, ...]
    side: int
    sha256: str

    @classmethod
    def at(cls, folder: Path, side: int) -> PhotoFolder:
        """All images of a folder; subfolders are not entered.

        Raises:
            UsageError: no folder, no image in it, or one that cannot be read or is too small.
        """
        if not folder.is_dir():
            raise UsageError(f"training_images={folder} is no folder: name a folder of photographs")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise UsageError(
                f"training_images={folder} holds no images ({', '.join(sorted(SUFFIXES))})"
            )
        digest = hashlib.sha256()
        for path in paths:
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
                with Image.open(path) as image:
                    size = image.size
            except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
                raise UsageError(f"training_images: {path} cannot be read ({error})") from error
            if min(size) < side:
                raise UsageError(
                    f"training_images: {path} has {size[0]}x{size[1]} pixels, fewer than "
                    f"crop_size={side}: take larger photographs or smaller crops"
                )
        return cls(tuple(paths), side, digest.hexdigest())

    def crops(self, noise: NoiseSource, step: int, count: int) -> Tensor:
        """Crops of an update, at uniform places; every photograph comes once before one repeats.

        Returns:
            [count, 3, side, side] in [0, 1], on the device of ``noise``.
        """
        host = NoiseSource(noise.run_seed, noise.sample_ids)
        draws = host.uniform(f"crops/{step}", (count, 2))[0].double().tolist()
        crops = []
        for place, (across, down) in enumerate(draws, start=step * count):
            epoch, index = divmod(place, len(self.paths))
            order = host.permutation(f"order/{epoch}", len(self.paths))[0]
            crops.append(self._crop(self.paths[int(order[index])], across, down))
        return torch.stack(crops).to(noise.device)

    def _crop(self, path: Path, across: float, down: float) -> Tensor:
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except (OSError, Image.DecompressionBombError) as error:
            raise UsageError(f"training_images: {path} cannot be read ({error})") from error
        x, y = (int(u * (n - self.side + 1)) for u, n in zip((across, down), image.size,
                                                            strict=True))  # fmt: skip
        pixels = np.asarray(image.crop((x, y, x + self.side, y + self.side)))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
