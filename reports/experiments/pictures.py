"""Pictures beside a table: outputs of all variants, and the attention maps of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from benchmark.errors import BenchError
from benchmark.guidance.query_attention import Routing
from benchmark.ours import QSAttnStyleTransfer
from benchmark.pictures import Pixels
from benchmark.run import RunDirectory
from benchmark.zoo import ModelZoo
from data.module import to_model_range
from reports.contact_sheet import contact_sheet
from reports.experiments.measure import Measured, Row

MOST_PROMPTS = 4  # a sheet for each
MOST_IMAGES = 16
HEAT = np.array([[8, 29, 88], [34, 94, 168], [65, 182, 196], [199, 233, 180], [255, 255, 178]])
ANCHOR = (214, 40, 40)


def write_sheets(measured: Measured, folder: Path) -> dict[str, str]:
    """A contact sheet for each dataset and prompt; columns are the variants.

    Returns:
        title -> file name.
    """
    written: dict[str, str] = {}
    for dataset, rows in measured.rows.items():
        made = [row for row in rows if row.run is not None]
        if not made or made[0].run is None:
            continue
        prompts = made[0].run.manifest.config.prompts[:MOST_PROMPTS]
        for prompt in prompts:
            name = f"pictures-{dataset}-{prompt.id}.png"
            title = f"{measured.experiment.name} on {dataset}: {prompt.caption}"
            _sheet(made, prompt.id, title).save(folder / name, format="PNG")
            written[title] = name
    return written


def _sheet(rows: list[Row], prompt: str, title: str) -> Image.Image:
    runs = [row.run for row in rows if row.run is not None]
    images = list(dict.fromkeys(runs[0].image_ids))[:MOST_IMAGES]
    lines = []
    for image in images:
        sample = f"{image}__{prompt}"
        outputs: list[Pixels | None] = [
            RunDirectory(run.path).load_image(sample)
            if run.made[run.manifest.sample_ids.index(sample)]
            else None
            for run in runs
        ]
        lines.append((RunDirectory(runs[0].path).load_source(image), outputs))
    return contact_sheet(
        lines, [row.variant.label for row in rows], title=title,
        note=runs[0].manifest.stand_in_note,
    )  # fmt: skip


def write_attention_maps(measured: Measured, zoo: ModelZoo, folder: Path) -> dict[str, str]:
    """For every source, what the anchors of each variant look at and where they are.

    Bright places are looked at more, relative to the map's own largest value; a red square is an
    anchor. Layers whose anchors are random have no map.

    Returns:
        title -> file name.
    """
    written = {}
    for dataset, rows in measured.rows.items():
        made = [row for row in rows if row.run is not None]
        if not made or made[0].run is None:
            continue
        run = made[0].run
        images = list(dict.fromkeys(run.image_ids))[:MOST_IMAGES]
        pixels = [RunDirectory(run.path).load_source(image) for image in images]
        domain = str(run.manifest.dataset["domain"])
        columns: list[tuple[str, list[Pixels]]] = []
        for row in made:
            columns += _maps(row, zoo, pixels, domain)
        lines = [
            (source, [column[place] for _, column in columns])
            for place, source in enumerate(pixels)
        ]
        name, title = f"attention-{dataset}.png", f"Attention maps on {dataset}"
        sheet = contact_sheet(
            lines, [head for head, _ in columns], title=f"{measured.experiment.name}: {title}",
            note="Bright: looked at by the anchors; red: anchors.",
        )  # fmt: skip
        sheet.save(folder / name, format="PNG")
        written[title] = name
    return written


def _maps(
    row: Row, zoo: ModelZoo, sources: list[Pixels], domain: str
) -> list[tuple[str, list[Pixels]]]:
    """(heading, a picture for each source) of every layer with selected anchors."""
    assert row.run is not None
    config = row.run.manifest.config
    if config.method != "ours":
        raise BenchError(f"attention maps are drawn of ours, not of {config.method}")
    method = QSAttnStyleTransfer(
        QSAttnStyleTransfer.Config.model_validate(config.method_config)  # type: ignore[arg-type]
    )
    method.prepare(zoo)
    images = torch.stack([to_model_range(source) for source in sources]).to(zoo.device)
    columns = []
    for routing, (height, width) in method.source_attention(images, [domain] * len(sources)):
        looked = attended(routing, height, width).cpu().numpy()
        positions = routing.positions.cpu().numpy()
        pictures = [
            _overlay(source, looked[place].reshape(height, width), positions[place])
            for place, source in enumerate(sources)
        ]
        columns.append((f"{row.variant.label}, {height} x {width}", pictures))
    return columns


def attended(routing: Routing, height: int, width: int) -> Tensor:
    """Mean weight with which the anchors look at every position, [B, H * W]; rows sum to 1.

    Of local attention, what falls outside the map is left out, and rows may sum to less.
    """
    if not routing.window:
        return routing.weights.mean(dim=1)
    batch, anchors, _ = routing.weights.shape
    radius = routing.window // 2
    steps = torch.arange(-radius, radius + 1, device=routing.positions.device)
    rows = (routing.positions // width)[..., None, None] + steps[:, None]
    columns = (routing.positions % width)[..., None, None] + steps[None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)
    weights = (routing.weights.view(batch, anchors, routing.window, -1) * inside).flatten(1)
    found = torch.zeros(batch, height * width, device=weights.device, dtype=weights.dtype)
    return found.scatter_add(1, places, weights) / anchors


def _overlay(
    source: Pixels, looked: npt.NDArray[np.float32], anchors: npt.NDArray[np.int64]
) -> Pixels:
    """The map in colour over the grey source, anchors as red squares. [S, S, 3] uint8."""
    height, width = looked.shape
    cell = source.shape[0] // height, source.shape[1] // width
    scaled = looked / max(float(looked.max()), 1e-12)
    large = np.kron(scaled, np.ones(cell))
    place = large * (len(HEAT) - 1)
    low = np.minimum(place.astype(np.intp), len(HEAT) - 2)
    share = (place - low)[..., None]
    colour = HEAT[low] * (1 - share) + HEAT[low + 1] * share
    grey = source[: large.shape[0], : large.shape[1]].mean(axis=2, keepdims=True)
    picture = np.array(source)
    picture[: large.shape[0], : large.shape[1]] = np.round(0.7 * colour + 0.3 * grey)
    side = max(1, min(cell) // 3)
    for anchor in anchors:
        top = anchor // width * cell[0] + (cell[0] - side) // 2
        left = anchor % width * cell[1] + (cell[1] - side) // 2
        picture[top : top + side, left : left + side] = ANCHOR
    return picture
