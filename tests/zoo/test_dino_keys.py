"""The second stage of the mini DINO: keys that learn a teacher's self-similarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import DataError
from benchmark.zoo.dino import DinoViT
from benchmark.zoo.mini import dino_keys
from benchmark.zoo.mini.dino_keys import (
    KEPT_DIMENSIONS,
    DinoKeysRecipe,
    correlation,
    read,
    teacher_maps,
)
from benchmark.zoo.mini.unet import to_model_range


@pytest.fixture(scope="module")
def vit() -> DinoViT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DinoViT().eval()


def patches(images: Tensor) -> Tensor:
    """Mean colours [N, 64, 3] of the patches of images [N, 3, 64, 64]."""
    return F.avg_pool2d(images, 8).flatten(2).transpose(1, 2)


def test_one_pass_reads_the_last_keys_and_the_token_before_the_norm(vit: DinoViT) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        keys, token = read(vit, images)
        assert torch.allclose(keys, vit.keys(images), atol=1e-5)
        assert torch.allclose(vit.norm(token), vit.cls(images), atol=1e-5)


def test_a_map_is_of_the_photograph_and_mirrored_with_it(
    vit: DinoViT, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps of mean colours lie as the colours of the very picture do, also in a mirrored one."""

    def colours(train: Tensor, test: Tensor, cache: Path) -> tuple[Tensor, Tensor]:
        first, second = (patches(to_model_range(pixels)) for pixels in (train, test))
        return first, second

    monkeypatch.setattr(dino_keys, "teacher_maps", colours)
    monkeypatch.setattr(DinoKeysRecipe, "_stage_before", staticmethod(lambda work_dir: vit))
    monkeypatch.setattr(dino_keys, "STYLISED_SHARE", 0.5)
    recipe = DinoKeysRecipe(tiny_corpus, tmp_path / "bank", steps=1, batch_size=80, copies=1)
    # stylised copies that are the photographs, but for a tint
    recipe.bank.styled = recipe.bank.pixels[recipe.bank.styled_source] // 2
    monkeypatch.setattr(dino_keys, "damage", lambda images, *_: images)
    monkeypatch.setattr(dino_keys, "recolour", lambda images, *_: images)
    images, maps = recipe.batch(torch.Generator().manual_seed(3))
    assert images.shape == (80, 3, 64, 64) and maps.shape == (80, 64, 3)
    mirrored = 0
    for image, wanted in zip(patches(images), maps, strict=True):
        grid = wanted.unflatten(0, (8, 8))
        same, other = (
            float(correlation(image[None], m.flatten(0, 1)[None])) for m in (grid, grid.flip(1))
        )
        assert same > 0.97
        mirrored += other < same
    assert mirrored > 70


def test_the_teachers_maps_tell_one_thing_from_another_and_are_kept(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    # the left half is noise, the right one plain
    pixels = np.full((12, 64, 64, 3), 128, np.uint8)
    pixels[:, :, :32] = generator.integers(0, 256, (12, 64, 32, 3))
    batch = torch.from_numpy(pixels)
    train, test = teacher_maps(batch, batch[:2], tmp_path / "maps.npz")
    assert train.shape == (12, 64, KEPT_DIMENSIONS) and train.dtype == torch.float16
    grid = F.normalize(test.float(), dim=2).unflatten(1, (8, 8))
    left, right = grid[:, :, :2].flatten(1, 2), grid[:, :, 6:].flatten(1, 2)
    within = (left @ left.transpose(1, 2)).mean()
    across = (left @ right.transpose(1, 2)).mean()
    assert float(within) > float(across) + 0.3
    again, _ = teacher_maps(batch[:1], batch[:2], tmp_path / "maps.npz")
    assert torch.equal(again, train), "from the file"


def test_correlation_ignores_scale_and_offset() -> None:
    first = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(correlation(first, 2 * first - 1), torch.ones(3), atol=1e-5)
    assert torch.allclose(correlation(first, -first), -torch.ones(3), atol=1e-5)


def test_the_second_stage_needs_the_first(tiny_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"starts from dino-base.* train it first"):
        DinoKeysRecipe(tiny_corpus, tmp_path / "bank", steps=1, copies=1)
