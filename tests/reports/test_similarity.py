"""The matrix of prompts and images."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from benchmark.config import load_protocol
from benchmark.errors import DataError, UsageError
from benchmark.zoo import ModelZoo
from benchmark.zoo.clip import ClipEncoder
from benchmark.zoo.mini.styles import STYLES, stylize
from reports.similarity import (
    Similarity,
    as_csv,
    heat_map,
    read_images,
    similarity,
    terminal_table,
    write,
)

NAMES = ("golden", "red-bricks", "charcoal", "neon-light")


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ModelZoo(load_protocol("mini-64-v1").models).clip("judge")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One photograph in four styles."""
    from skimage.data import coffee

    found = tmp_path_factory.mktemp("styled")
    photo = Image.fromarray(coffee()).crop((100, 0, 500, 400)).resize((128, 128))
    for name in NAMES:
        drawn = stylize(np.asarray(photo, np.float32) / 255, name, np.random.default_rng(0))
        Image.fromarray((drawn * 255).astype(np.uint8)).save(found / f"{name}.png")
    return found


def test_the_judge_finds_each_style_in_its_own_column(encoder: ClipEncoder, folder: Path) -> None:
    images = read_images([folder])
    prompts = [STYLES[name].prompt for name in NAMES]
    found = similarity(encoder, images, prompts)
    assert found.images == tuple(sorted(f"{name}.png" for name in NAMES))
    wanted = [STYLES[name.removesuffix(".png")].prompt for name in found.images]
    assert found.nearest() == wanted
    values = np.array(found.cosines)
    assert values.shape == (4, 4)
    assert np.abs(values).max() <= 1


def test_a_value_does_not_depend_on_the_other_images_and_prompts(
    encoder: ClipEncoder, folder: Path
) -> None:
    whole = similarity(encoder, read_images([folder]), ["Golden", "Charcoal"])
    alone = similarity(encoder, read_images([folder / "neon-light.png"]), ["Charcoal"])
    assert alone.cosines[0][0] == whole.cosines[1][whole.images.index("neon-light.png")]


HOSTILE = Similarity(
    "a [red]clip[/red]", ("$x^2", "a, \"b\"\n[bold]"), ("<i>.png", "$y.png"),
    ((0.25, -0.5), (0.125, 0.75)),
)  # fmt: skip


def test_csv_survives_commas_quotes_and_line_breaks() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(HOSTILE))))
    assert rows == [
        ["prompt", "<i>.png", "$y.png"],
        ["$x^2", "0.250000", "-0.500000"],
        ['a, "b"\n[bold]', "0.125000", "0.750000"],
    ]


def test_heat_map_and_table_show_hostile_names_as_they_are(tmp_path: Path) -> None:
    picture = Image.open(io.BytesIO(heat_map(HOSTILE)))
    assert picture.format == "PNG" and min(picture.size) > 100
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(terminal_table(HOSTILE))
    text = console.export_text()
    assert "[bold]" in text and "0.750" in text
    table, drawn = write(HOSTILE, tmp_path / "out")
    assert table.read_text() == as_csv(HOSTILE)
    assert Image.open(drawn).size == picture.size


def test_bad_input(encoder: ClipEncoder, folder: Path, tmp_path: Path) -> None:
    images = read_images([folder / "golden.png"])
    with pytest.raises(UsageError, match="no prompt"):
        similarity(encoder, images, [])
    with pytest.raises(UsageError, match="twice: Golden"):
        similarity(encoder, images, ["Golden", "Golden"])
    with pytest.raises(UsageError, match="given twice"):
        read_images([folder, folder / "golden.png", folder / "golden.png"])
    with pytest.raises(DataError, match="does not exist"):
        read_images([tmp_path / "nowhere"])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        read_images([broken])
