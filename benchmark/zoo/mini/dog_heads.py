"""Close-ups of dogs' heads, cut from the corpus's photographs of dogs.

A network of 6 M parameters learns what a dog looks like from close-ups, as AFHQ's are; from whole
dogs in any pose it learns fur.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmark.errors import DataError

from . import corpus
from .imagenet_teacher import ImageNetTeacher

log = logging.getLogger(__name__)

_SEEN = 320  # side in pixels at which the teacher sees a photograph
_FINE = 64  # side of its enlarged map
_ABOVE = 0.6  # of the map's range: what counts as the head
_SIDE_OF_SPREAD = 4.2  # a head's box, in root mean square distances of its positions
SIDES = (0.5, 0.94)  # the smallest and the largest box, as shares of the photograph
# two dogs, or a whole one, have no such small bright place
MOST_SPREAD = 0.172  # root mean square distance, as a share of the photograph
LEAST_DOG = 0.2  # probability of a breed


def boxes(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Squares around what is brightest.

    Args:
        maps: [N, h, w], how much of a dog's head is where.

    Returns:
        [N, 3], top, left and side as shares of the picture, inside it; and how far the bright
        positions spread [N], on the same scale.
    """
    fine = F.interpolate(maps[:, None], size=(_FINE, _FINE), mode="bicubic")[:, 0]
    low, high = fine.amin((1, 2), keepdim=True), fine.amax((1, 2), keepdim=True)
    bright = ((fine - low) / (high - low) - _ABOVE).clamp_min(0).flatten(1)
    bright = bright / bright.sum(1, keepdim=True)
    middles = (torch.arange(_FINE) + 0.5) / _FINE
    places = torch.stack(torch.meshgrid(middles, middles, indexing="ij")).flatten(1)  # [2, L]
    centres = bright @ places.T
    away = (places[None] - centres[:, :, None]).square().sum(1)
    spread = (bright * away).sum(1).sqrt()
    side = (_SIDE_OF_SPREAD * spread).clamp(*SIDES)
    corners = (centres - side[:, None] / 2).clamp_min(0).minimum((1 - side)[:, None])
    return torch.cat([corners, side[:, None]], dim=1), spread


def cut(photo: Image.Image, box: Tensor, size: int) -> corpus.Pixels:
    """The part [size, size, 3] uint8 of a square photograph that a box of :func:`boxes` names."""
    top, left, side = (float(share) * photo.width for share in box)
    part = photo.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return np.asarray(part)


def heads(folder: Path, split: str, size: int, cache: Path) -> corpus.Pixels:
    """Heads [M, size, size, 3] uint8 of a split's dogs, from the cache if they are there.

    Photographs in which the teacher sees no dog, or no single small place that tells the breed,
    give none.

    Raises:
        FileNotFoundError: the corpus lacks the dogs.
        DataError: the teacher's packages are not installed, or it finds no head at all.
    """
    path = cache / f"dog-heads-{split}-{size}.npy"
    if not path.is_file():
        file = folder / f"dogs-{split}.parquet"
        if not file.is_file():
            raise FileNotFoundError(f"the training corpus has no {file.name} in {folder}")
        rows = pq.read_table(file).to_pylist()
        photos = [Image.open(io.BytesIO(row["image"])).convert("RGB") for row in rows]
        found = _find(photos, size)
        if not found:
            raise DataError(f"the teacher finds no head of a dog in {file}: is it of dogs?")
        log.info("%d heads in %d photographs of dogs", len(found), len(photos))
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npy")
        np.save(partial, np.stack(found))
        partial.replace(path)
    array: corpus.Pixels = np.load(path, allow_pickle=False)
    return array


def _find(photos: list[Image.Image], size: int, part: int = 64) -> list[corpus.Pixels]:
    teacher = ImageNetTeacher()
    found: list[corpus.Pixels] = []
    for start in range(0, len(photos), part):
        some = photos[start : start + part]
        pixels = torch.from_numpy(np.stack([np.asarray(photo) for photo in some]))
        maps, dog = teacher.dog_maps(teacher.maps(pixels, _SEEN))
        places, spread = boxes(maps)
        clear = (dog >= LEAST_DOG) & (spread <= MOST_SPREAD)
        found += [cut(some[i], places[i], size) for i in clear.nonzero().flatten().tolist()]
    return found
