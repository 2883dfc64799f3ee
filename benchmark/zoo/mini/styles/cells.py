"""Partitions of the image plane: Voronoi cells, tiles and bricks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .fields import Field, Image, Shape, as_float32, coordinates

Labels: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True)
class Cells:
    """A Voronoi partition, all arrays of shape (H, W).

    `label` numbers the cells, `down` and `across` are offsets from the cell's seed,
    `distance` is their length and `border` the distance gap to the second nearest seed
    (0 on a border between two cells).
    """

    label: Labels
    count: int
    down: Field
    across: Field
    distance: Field
    border: Field

    def mean(self, image: Image) -> Image:
        """Image with every cell filled by its mean colour."""
        return self.paint(self._means(image))

    def _means(self, image: Image) -> Image:
        flat = self.label.ravel()
        size = np.maximum(np.bincount(flat, minlength=self.count), 1)
        sums = [np.bincount(flat, image[..., c].ravel(), self.count) for c in range(image.shape[2])]
        return (np.stack(sums, axis=1) / size[:, None]).astype(np.float32)

    def paint(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Per-cell values (count, ...) spread over the pixels of each cell."""
        return values[self.label]

    def noise(self, rng: np.random.Generator) -> Field:
        """One uniform value in [0, 1] per cell, spread over its pixels."""
        return self.paint(rng.random(self.count, dtype=np.float32))


def cells(
    down: Field, across: Field, size: float, jitter: float, rng: np.random.Generator
) -> Cells:
    """Voronoi cells of about `size` units around grid points moved by up to `jitter` of a unit."""
    v, u = down / np.float32(size), across / np.float32(size)
    v, u = v - float(v.min()) + 1.0, u - float(u.min()) + 1.0
    row, column = v.astype(np.intp), u.astype(np.intp)
    rows, columns = int(row.max()) + 2, int(column.max()) + 2
    seeds = 0.5 + jitter * rng.uniform(-0.5, 0.5, (rows, columns, 2)).astype(np.float32)
    seed_v = seeds[..., 0] + np.arange(rows, dtype=np.float32)[:, None]
    seed_u = seeds[..., 1] + np.arange(columns, dtype=np.float32)[None, :]
    first = np.full(v.shape, np.inf, dtype=np.float32)
    second, label = first.copy(), np.zeros(v.shape, dtype=np.intp)
    for step_row in (-1, 0, 1):
        for step_column in (-1, 0, 1):
            index = (row + step_row) * columns + (column + step_column)
            distance = (v - seed_v.ravel()[index]) ** 2 + (u - seed_u.ravel()[index]) ** 2
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            first = np.where(nearer, distance, first)
            label = np.where(nearer, index, label)
    nearest = np.sqrt(first) * size
    return Cells(
        label=label,
        count=rows * columns,
        down=as_float32((v - seed_v.ravel()[label]) * size),
        across=as_float32((u - seed_u.ravel()[label]) * size),
        distance=as_float32(nearest),
        border=as_float32(np.sqrt(second) * size - nearest),
    )


def tiles(
    down: Field, across: Field, height: float, width: float, rng: np.random.Generator
) -> Cells:
    """Rectangular tiles; `border` is the distance to the tile's edge."""
    v = down - float(down.min()) + height * float(rng.random())
    u = across - float(across.min()) + width * float(rng.random())
    return _grid(v, u, height, width)


def running_bond(shape: Shape, height: float, width: float, rng: np.random.Generator) -> Cells:
    """Bricks in rows, each row moved by half a brick against the next."""
    y, x = coordinates(shape)
    v = y + height * float(rng.random())
    u = x + width * float(rng.random())
    return _grid(v, u + np.where(np.floor(v / height) % 2 == 0, 0.0, width / 2.0), height, width)


def _grid(v: Field, u: Field, height: float, width: float) -> Cells:
    row, column = (v / height).astype(np.intp), (u / width).astype(np.intp)
    columns = int(column.max()) + 1
    down = (v - (row + 0.5) * height).astype(np.float32)
    across = (u - (column + 0.5) * width).astype(np.float32)
    border = np.minimum(height / 2.0 - np.abs(down), width / 2.0 - np.abs(across))
    return Cells(
        label=row * columns + column,
        count=(int(row.max()) + 1) * columns,
        down=down,
        across=across,
        distance=np.hypot(down, across),
        border=border.astype(np.float32, copy=False),
    )
