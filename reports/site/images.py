"""Copies of a run's pictures in the site, as they are, with smaller ones beside large ones."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmark.errors import RunDirectoryError
from benchmark.run import RunDirectory
from reports.board import Board, Row
from reports.collect import CollectedRun
from reports.site import names

LARGEST = 256  # pixels; what is larger gets a thumbnail of this side


@dataclass(frozen=True)
class Samples:
    """The (image, prompt) pairs of a board, in the order of its first run.

    Attributes:
        images, prompts: indices into the board's images and prompts.
        place: index of a pair.
    """

    images: tuple[int, ...]
    prompts: tuple[int, ...]
    place: Mapping[tuple[str, str], int]

    @classmethod
    def of(cls, board: Board) -> Samples:
        pairs = list(zip(board.rows[0].run.image_ids, board.rows[0].run.prompt_ids, strict=True))
        image = {name: index for index, name in enumerate(board.image_ids)}
        prompt = {name: index for index, name in enumerate(board.prompts)}
        return cls(
            images=tuple(image[name] for name, _ in pairs),
            prompts=tuple(prompt[name] for _, name in pairs),
            place={pair: index for index, pair in enumerate(pairs)},
        )

    def places_of(self, run: CollectedRun) -> list[int]:
        """Index of each sample of a run of the board."""
        return [self.place[pair] for pair in zip(run.image_ids, run.prompt_ids, strict=True)]


def side_of(board: Board) -> int:
    """Side of the board's images in pixels."""
    return board.rows[0].run.manifest.config.resolution


def copy_outputs(row: Row, samples: Samples, out: Path) -> None:
    """Copy a run's outputs to ``out``, named by the index of their sample.

    Raises:
        RunDirectoryError: a sample id that would lead out of the run directory.
    """
    directory = RunDirectory(row.run.path)
    folder = out / names.outputs(row.id)
    folder.mkdir(parents=True)
    large = row.run.manifest.config.resolution > LARGEST
    places = samples.places_of(row.run)
    for position in np.flatnonzero(row.run.made).tolist():
        sample = row.run.manifest.sample_ids[position]
        if "/" in sample or "\\" in sample:
            raise RunDirectoryError(
                f"{directory.manifest_path} lists the sample {sample!r}, which is no file name: "
                f"the run was not written by `bench run`, leave it out"
            )
        name = names.image(places[position])
        shutil.copyfile(directory.image_path(sample), folder / name)
        if large:
            _write_thumbnail(folder / name, out / names.thumbnails(names.outputs(row.id)) / name)


def write_sources(board: Board, out: Path) -> bool:
    """Write the board's content images to ``out``, named by their index.

    Returns:
        whether any run of the board still has them.
    """
    folder = out / names.sources(board.id)
    stored = _stored_sources(board)
    if stored is None:
        return False
    folder.mkdir(parents=True)
    for index, image_id in enumerate(board.image_ids):
        path = folder / names.image(index)
        path.write_bytes(stored[image_id])
        if side_of(board) > LARGEST:
            _write_thumbnail(path, out / names.thumbnails(names.sources(board.id)) / path.name)
    return True


def _stored_sources(board: Board) -> Mapping[str, bytes] | None:
    for row in board.rows:
        path = RunDirectory(row.run.path).sources_path
        if not path.is_file():
            continue
        table = pq.read_table(path, columns=["image_id", "png"])
        found = dict(zip(table["image_id"].to_pylist(), table["png"].to_pylist(), strict=True))
        if set(board.image_ids) <= set(found):
            return found
    return None


def _write_thumbnail(path: Path, thumbnail: Path) -> None:
    thumbnail.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, format="PNG")
    thumbnail.write_bytes(data.getvalue())
