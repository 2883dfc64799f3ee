"""The picture of what a DINO's keys tell apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import registry
from benchmark.config import load_protocol
from benchmark.zoo import ModelZoo
from reports import keys_pca
from reports.keys_pca import OF_EACH, SHOWN, column, components


def test_like_keys_have_like_colours_and_the_two_things_of_a_picture_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    things = torch.randn(2, 128, generator=generator)
    of = torch.arange(64) % 2
    keys = torch.stack([things[of], 3 * things[of]])  # the copy's are longer, and no other
    keys += 0.02 * torch.randn(keys.shape, generator=generator)
    colours = components(keys)
    assert colours.shape == (2, 64, 3) and colours.min() == 0 and colours.max() == 1
    first, second = colours[:, of == 0, 0], colours[:, of == 1, 0]
    assert abs(float(first.mean() - second.mean())) > 0.8
    assert float(first.std()) < 0.1 and float(second.std()) < 0.1


def test_a_column_shows_the_picture_its_copy_and_a_tile_for_each_patch() -> None:
    dino = ModelZoo(load_protocol("mini-64-v1").models, None).dino()
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    shown = column(picture, picture, dino)
    assert shown.shape == (4 * SHOWN, SHOWN, 3)
    tiles = np.split(shown, 4)
    assert np.array_equal(tiles[0][::2, ::2], picture) and np.array_equal(tiles[0], tiles[2])
    assert np.array_equal(tiles[1], tiles[3]), "the copy is the picture"
    of_patches = tiles[1].reshape(8, 16, 8, 16, 3)
    assert np.array_equal(of_patches.min((1, 3)), of_patches.max((1, 3)))


def test_the_command_draws_every_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.png"
    monkeypatch.setattr("sys.argv", ["keys_pca", "mini-64-v1", "--out", str(path)])
    assert keys_pca.main() == 0
    wide = OF_EACH * len(registry.names(registry.DATASETS)) * SHOWN
    assert Image.open(path).size == (wide, 4 * SHOWN)


def test_a_protocol_that_is_not_there_is_an_error_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["keys_pca", "mini-99", "--out", str(tmp_path / "k.png")])
    assert keys_pca.main() != 0
    assert capsys.readouterr().err.startswith("error: ")
