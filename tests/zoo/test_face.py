"""Face detection, alignment and embedding."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.errors import WeightsError
from benchmark.zoo import ModelZoo
from benchmark.zoo.face import TEMPLATE, Face, FaceAligner, FaceEmbedder, similarity
from benchmark.zoo.mini.unet import to_model_range

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    return FaceAligner()


def as_image(pixels: Pixels) -> Tensor:
    """[1, 3, 64, 64] in [-1, 1]."""
    return F.avg_pool2d(to_model_range(torch.from_numpy(pixels.copy())[None]), 2)


def test_the_global_random_stream_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    FaceAligner()
    assert torch.equal(torch.random.get_rng_state(), before)


@settings(max_examples=25, deadline=None)
@given(angle=st.floats(-3, 3), scale=st.floats(0.1, 9), x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_similarity_recovers_the_transform(angle: float, scale: float, x: float, y: float) -> None:
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    moved = TEMPLATE @ turn.T + [x, y]
    found = similarity(TEMPLATE, moved)
    assert np.allclose(found[:, :2], turn, atol=1e-6) and np.allclose(
        found[:, 2], [x, y], atol=1e-6
    )


@pytest.mark.parametrize("name", ["astronaut", "hopper"])
def test_faces_are_found_at_64_pixels(
    name: str, aligner: FaceAligner, photos: dict[str, Pixels]
) -> None:
    face = aligner.detect(as_image(photos[name])[0])
    assert face is not None and face.probability > 0.9
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    left, top, right, bottom = face.box
    assert left < left_eye[0] and right_eye[0] < right and top < left_eye[1]
    assert right_mouth[1] < bottom


def test_pictures_without_a_face_give_none(aligner: FaceAligner, photos: dict[str, Pixels]) -> None:
    images = torch.cat([as_image(photos["coffee"]), as_image(photos["rocket"])])
    assert aligner.detect_all(images) == [None, None]
    assert aligner.detect(torch.zeros(3, 64, 64)) is None


def test_landmarks_land_on_the_template(aligner: FaceAligner) -> None:
    """White dots painted on the landmarks end up where the template wants them."""
    landmarks = np.array([[30.5, 40.5], [60.5, 36.5], [47.5, 55.5], [36.5, 72.5], [62.5, 69.5]])
    image = torch.full((1, 3, 96, 96), -1.0)
    for x, y in landmarks:
        image[0, :, int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] = 1.0
    face = Face(np.zeros(4), landmarks, 1.0)
    crop = FaceAligner.crop(image, [face], 64)
    fitted = similarity(landmarks, TEMPLATE * 64)
    for x, y in landmarks @ fitted[:, :2].T + fitted[:, 2]:
        assert crop[0, 0, int(y), int(x)] > 0.0
    assert crop.mean() < -0.9


def test_crops_do_not_depend_on_the_size_of_the_picture(
    aligner: FaceAligner, photos: dict[str, Pixels]
) -> None:
    small = as_image(photos["astronaut"])
    face = aligner.detect(small[0])
    assert face is not None
    large = F.interpolate(small, size=256, mode="bicubic", align_corners=False)
    scaled = Face(face.box * 4, face.landmarks * 4, face.probability)
    difference = aligner.crop(small, [face], 64) - aligner.crop(large, [scaled], 64)
    assert difference.abs().mean() < 0.03


def test_crops_pass_gradients_and_count_faces(aligner: FaceAligner) -> None:
    face = Face(np.zeros(4), TEMPLATE * 64, 1.0)
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    crop = aligner.crop(image, [face], 64)
    crop.sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="1 faces do not fit 2 images"):
        aligner.crop(torch.zeros(2, 3, 64, 64), [face], 64)


def test_a_face_at_the_template_is_its_own_crop() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    crop = FaceAligner.crop(image, [Face(np.zeros(4), TEMPLATE * 64, 1.0)], 64)
    assert torch.allclose(crop, image, atol=1e-4)


def test_shipped_embedder_tells_two_people_apart(
    aligner: FaceAligner, photos: dict[str, Pixels]
) -> None:
    """One person mirrored, noised and tinted stays nearer to herself than to the other."""
    embedder = ModelZoo({"face": "mini-face"}).face()
    crops = {}
    for name in ("astronaut", "hopper"):
        image = as_image(photos[name])
        face = aligner.detect(image[0])
        assert face is not None
        crops[name] = aligner.crop(image, [face], embedder.input_size)
    noise = 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    tint = torch.tensor([1.0, 0.9, 0.8]).view(3, 1, 1)
    own = [
        crops["astronaut"].flip(3),
        crops["astronaut"] + noise,
        (crops["astronaut"] + 1) * tint - 1,
    ]
    reference = embedder.embed(crops["astronaut"])
    assert reference.norm().item() == pytest.approx(1.0, abs=1e-5)
    other = (reference @ embedder.embed(crops["hopper"]).T).item()
    assert min((reference @ embedder.embed(crop).T).item() for crop in own) > other + 0.2


def test_wrong_input_is_explained() -> None:
    with pytest.raises(ValueError, match=r"aligned crops \[N, 3, 64, 64\], got \[1, 3, 32, 32\]"):
        FaceEmbedder().embed(torch.zeros(1, 3, 32, 32))
    with pytest.raises(WeightsError, match=r"lacks project\.weight"):
        FaceEmbedder.from_state_dict({"x": torch.zeros(1)})
