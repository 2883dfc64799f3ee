"""The large network that the mini face embedder learns from."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.errors import DataError
from benchmark.zoo.face import FaceAligner
from benchmark.zoo.mini.face_teacher import Teacher, chips, described, mixed_faces
from benchmark.zoo.mini.unet import to_model_range
from data.cards import load_card
from data.sources import EmbeddedSource


@pytest.fixture(scope="module")
def drawn_faces() -> Tensor:
    """Aligned crops [N, 80, 80, 3] of embedded faces."""
    source, aligner = EmbeddedSource("celebahq", load_card("celebahq").embedded), FaceAligner()
    crops = []
    for entry in source.entries()[:6]:
        picture = np.array(source.decode(entry, source.read(entry)))
        image = to_model_range(torch.from_numpy(picture)[None])
        face = aligner.detect(image[0])
        assert face is not None
        crop = aligner.crop(image, [face], 80, margin=1.25)
        crops.append(((crop[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round().byte())
    return torch.stack(crops)


def test_a_chip_is_the_lower_middle_of_a_crop_enlarged() -> None:
    pixels = torch.zeros(1, 80, 80, 3, dtype=torch.uint8)
    pixels[:, 16:48, 8:40] = 200  # the upper left quarter of what the network is to see
    chip = torch.from_numpy(chips(pixels))[0, :, :, 0].float()
    assert chip.shape == (150, 150)
    assert float(chip[:70, :70].min()) > 190 and float(chip[80:].max()) < 10
    assert float(chip[:, 80:].max()) < 10


def test_mixtures_are_of_two_faces_and_repeat() -> None:
    pixels = torch.stack([torch.full((4, 4, 3), value, dtype=torch.uint8) for value in (0, 200)])
    first = mixed_faces(pixels, 64, torch.Generator().manual_seed(0))
    assert torch.equal(first, mixed_faces(pixels, 64, torch.Generator().manual_seed(0)))
    values = first[:, 0, 0, 0].float()
    mixed = (values > 0) & (values < 200)
    assert int(mixed.sum()) > 16 and float(values[mixed].min()) >= 50  # at least a quarter
    assert float(values[mixed].max()) <= 150


def test_the_teacher_finds_a_face_nearer_to_its_mirror_image_than_to_others(
    drawn_faces: Tensor,
) -> None:
    said = Teacher().describe(torch.cat([drawn_faces, drawn_faces.flip(2)]))
    assert said.shape == (2 * len(drawn_faces), Teacher.dim)
    first, mirrored = said.chunk(2)
    distance = torch.cdist(first, mirrored)
    assert torch.equal(distance.argmin(1), torch.arange(len(first)))


def test_descriptors_are_kept_for_the_very_same_faces(drawn_faces: Tensor, tmp_path: Path) -> None:
    few = drawn_faces[:2]
    said = described(few, tmp_path)
    assert torch.allclose(said, Teacher().describe(few))
    (kept,) = tmp_path.iterdir()
    np.save(kept, np.full((2, 128), 0.5, np.float32))
    assert torch.equal(described(few, tmp_path), torch.full((2, 128), 0.5))
    assert torch.allclose(described(drawn_faces[1:3], tmp_path)[0], said[1], atol=1e-5)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"face_recognition_models is not .*stylebench\[teachers"):
        Teacher()
