"""``bench similarity``: what a CLIP encoder sees, as a matrix of prompts and images.

A style benchmark rests on its encoder: where the rows of two styles look alike for every image, the
encoder does not separate them, and neither do the scores.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmark.config import load_protocol
from benchmark.errors import DataError, UsageError
from benchmark.files import explain_write_errors, write_atomically
from benchmark.metrics.clip_space import PromptEmbeddings, cosine, embed_pixels
from benchmark.run import RunDirectory
from benchmark.zoo import ModelZoo
from benchmark.zoo.clip import ClipEncoder
from data.cards import load_prompts
from data.decode import BadImageError, Pixels, decode, square
from data.sources import FolderSource

COLUMNS_SHOWN = 8  # of the table in the terminal; the CSV has all
LABEL_LENGTH = 24
ANNOTATED_CELLS = 400  # numbers in more cells than this cannot be read


@dataclass(frozen=True)
class Similarity:
    """Cosines of prompts and images under one encoder.

    Attributes:
        encoder: its name.
        prompts: of the rows.
        images: of the columns, as the user knows them.
        cosines: a row for each prompt, a value in [-1, 1] for each image.
    """

    encoder: str
    prompts: tuple[str, ...]
    images: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]

    def nearest(self) -> list[str]:
        """The prompt that each image is nearest to."""
        return [self.prompts[row] for row in np.argmax(np.array(self.cosines), axis=0)]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "nearest": dict(zip(self.images, self.nearest(), strict=True))}


def similarity_report(
    paths: Sequence[Path], prompts: Sequence[str] | None, encoder: str | None, protocol_name: str,
    *, out: Path, weights_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """The command: write the CSV and the heat map, print the matrix.

    Args:
        paths: image files, folders, run directories.
        prompts: rows; the protocol's whole prompt set if None.
        encoder: id of a CLIP in the weights registry; the protocol's judge if None.

    Raises:
        UsageError: unknown encoder or protocol, a model that is no CLIP, unusable prompts.
        DataError: unusable images.
    """
    protocol = load_protocol(protocol_name)
    clip = ModelZoo({"judge": encoder or protocol.models["judge"]}, weights_dir).clip("judge")
    images = read_images(paths)
    rows = prompts or [prompt.text for prompt in load_prompts(protocol.prompt_set).prompts]
    found = similarity(clip, images, rows)
    table, picture = write(found, out)
    if as_json:
        json.dump({**found.as_json(), "csv": str(table), "heat_map": str(picture)}, sys.stdout,
                  indent=2)  # fmt: skip
        sys.stdout.write("\n")
        return
    Console().print(terminal_table(found))
    sys.stdout.write(f"table     {table}\nheat map  {picture}\n")


def similarity(
    encoder: ClipEncoder, images: dict[str, Pixels], prompts: Sequence[str]
) -> Similarity:
    """The matrix of images [H, W, 3] uint8 by name, and prompts.

    Every image is embedded alone, so that no value depends on the others.

    Raises:
        UsageError: no prompt, one twice, one that is empty or longer than the encoder reads.
    """
    if not prompts:
        raise UsageError("no prompt was given: name at least one with --prompt")
    twice = sorted({prompt for prompt in prompts if list(prompts).count(prompt) > 1})
    if twice:
        raise UsageError(f"these prompts are given twice: {', '.join(twice)}")
    texts = PromptEmbeddings(encoder)(list(prompts))
    device = texts.device
    columns = []
    for pixels in images.values():
        batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(device)
        columns.append(cosine(embed_pixels(encoder, batch).expand(len(texts), -1), texts))
    table = torch.stack(columns, dim=1).cpu().tolist()
    return Similarity(encoder.name, tuple(prompts), tuple(images), tuple(map(tuple, table)))


def read_images(paths: Sequence[Path]) -> dict[str, Pixels]:
    """Square pictures by name, from files, folders (their images, sorted) and run directories.

    Raises:
        DataError: a path that is none of these, a folder without images, a file that is no image.
        UsageError: an image given twice.
    """
    images: dict[str, Pixels] = {}
    for file in (file for path in paths for file in _files(path)):
        name = _name(file, images)
        try:
            picture = decode(file.read_bytes())
        except BadImageError as error:
            raise DataError(f"{file}: {error}") from error
        images[name] = square(picture, min(picture.size), "bicubic")
    return images


def _files(path: Path) -> list[Path]:
    if RunDirectory(path).manifest_path.is_file():
        path = RunDirectory(path).images_path
    if path.is_dir():
        return [path / entry.file for entry in FolderSource(path).entries()]
    if not path.is_file():
        raise DataError(f"{path} does not exist: give image files, folders or run directories")
    return [path]


def _name(file: Path, taken: dict[str, Pixels]) -> str:
    """The file's name, with its folder where another file has that name."""
    for name in (file.name, str(file)):
        if name not in taken:
            return name
    raise UsageError(f"the image {file} is given twice")


def as_csv(found: Similarity) -> str:
    """Prompts down, images across, cosines with six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["prompt", *found.images])
    for prompt, row in zip(found.prompts, found.cosines, strict=True):
        writer.writerow([prompt, *(f"{value:.6f}" for value in row)])
    return text.getvalue()


def heat_map(found: Similarity) -> bytes:
    """A PNG of the matrix; a column's greatest value is framed."""
    values: npt.NDArray[np.float64] = np.array(found.cosines)
    rows, columns = values.shape
    figure = Figure(figsize=(3 + 0.45 * columns, 1.6 + 0.32 * rows), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(values, cmap="viridis", aspect="auto")
    # a dollar sign in a file name or prompt is no formula
    axes.set_xticks(range(columns), [_short(name) for name in found.images], rotation=90,
                    parse_math=False)  # fmt: skip
    axes.set_yticks(range(rows), [_short(name) for name in found.prompts], parse_math=False)
    axes.set_title(f"cosine in {found.encoder}", parse_math=False)
    middle = (values.min() + values.max()) / 2
    for column, row in enumerate(values.argmax(axis=0)):
        axes.plot(
            column + np.array([-0.48, 0.48, 0.48, -0.48, -0.48]),
            row + np.array([-0.48, -0.48, 0.48, 0.48, -0.48]), color="red", linewidth=1.5,
        )  # fmt: skip
    if values.size <= ANNOTATED_CELLS:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value < middle else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7,
                      color=colour)  # fmt: skip
    figure.colorbar(drawn, ax=axes)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def _short(text: str) -> str:
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 1] + "…"


def terminal_table(found: Similarity) -> Table:
    """The matrix's first columns, each image's nearest prompt in bold."""
    shown = found.images[:COLUMNS_SHOWN]
    best = np.argmax(np.array(found.cosines), axis=0)
    table = Table(title=f"cosine in {found.encoder}")
    table.add_column("prompt")
    for name in shown:
        table.add_column(_short(name).replace("[", r"\["), justify="right")
    for index, (prompt, row) in enumerate(zip(found.prompts, found.cosines, strict=True)):
        cells = [
            f"[bold]{value:.3f}[/bold]" if best[column] == index else f"{value:.3f}"
            for column, value in enumerate(row[: len(shown)])
        ]
        table.add_row(prompt.replace("[", r"\["), *cells)
    left = len(found.images) - len(shown)
    if left:
        table.caption = f"and {left} more images in the CSV"
    return table


def write(found: Similarity, folder: Path) -> tuple[Path, Path]:
    """``similarity.csv`` and ``similarity.png`` in a folder; returns their paths.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "similarity.csv", folder / "similarity.png"
    write_atomically(table, as_csv(found).encode())
    write_atomically(picture, heat_map(found))
    return table, picture
