"""ArcFace IR-SE50 and FaceNet in their official formats.

``tests/golden/make_arcface.py`` made the numbers with the code in ``gwang-kim/DiffusionCLIP`` at
e4bfb25; FaceNet is facenet-pytorch's own class.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from facenet_pytorch.models.utils.detect_face import extract_face
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from benchmark.errors import WeightsError
from benchmark.metrics.face_id_distance import FaceIdDistance
from benchmark.metrics.face_id_facenet import FaceIdFaceNet
from benchmark.metrics.faces import SourceFaces
from benchmark.zoo import ModelZoo
from benchmark.zoo.face import Face, FaceAligner
from benchmark.zoo.face_official import ArcFaceIrSe50, FaceNet
from benchmark.zoo.models import build
from benchmark.zoo.registry import model_card
from tests.golden.make_arcface import faces
from tests.golden.official_format import filled_norm_state, picture, shapes_of

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def arcface_state() -> dict[str, Tensor]:
    shapes = json.loads((GOLDEN / "arcface_shapes.json").read_text())
    return filled_norm_state(shapes, "arcface")


@pytest.fixture(scope="module")
def arcface(arcface_state: dict[str, Tensor]) -> ArcFaceIrSe50:
    return ArcFaceIrSe50.from_state_dict(arcface_state)


def facenet_state() -> dict[str, Tensor]:
    network = InceptionResnetV1(pretrained=None, classify=False)
    return filled_norm_state(shapes_of(network), "facenet")


def test_arcface_is_the_official_network(arcface: ArcFaceIrSe50) -> None:
    found = arcface.embed(faces())
    wanted = load_file(GOLDEN / "arcface.safetensors")["embeddings"]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_facenet_is_facenet_pytorchs_and_leaves_the_classifier_out() -> None:
    state = facenet_state()
    published = {**state, "logits.weight": torch.zeros(8631, 512), "logits.bias": torch.zeros(8631)}
    ours = FaceNet.from_state_dict(published)
    theirs = InceptionResnetV1(pretrained=None, classify=False).eval()
    theirs.load_state_dict(state)
    crops = picture("facenet", 160, batch=2)
    pixels = (crops + 1) * 127.5
    with torch.no_grad():
        wanted = theirs((pixels - 127.5) / 128)  # fixed_image_standardization
    torch.testing.assert_close(ours.embed(crops), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("box", [(20.4, 11.7, 60.2, 70.9), (-8.0, 5.0, 50.0, 120.0)])
def test_facenets_crops_are_facenet_pytorchs(box: tuple[float, ...]) -> None:
    image = picture("crop", 96)
    pixels = image[0].add(1).mul(127.5).round().to(torch.uint8)
    photo = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    wanted = extract_face(photo, np.array(box), image_size=160) / 127.5 - 1
    face = Face(np.array(box), np.zeros((5, 2)), 1.0)
    found = FaceNet.cut(FaceAligner(), pixels[None].float() / 127.5 - 1, [face], 160)
    # Pillow rounds its result to whole levels
    torch.testing.assert_close(found[0], wanted, atol=1.6 / 127.5, rtol=0)


def test_other_checkpoints_are_refused(arcface_state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="ArcFace IR-SE50"):
        ArcFaceIrSe50.from_state_dict(facenet_state())
    with pytest.raises(WeightsError, match="no Inception-ResNet-v1"):
        FaceNet.from_state_dict(arcface_state)


def test_the_registry_builds_both_from_official_files(
    arcface_state: dict[str, Tensor], tmp_path: Path
) -> None:
    for model_id, state, kind in (
        ("arcface-ir-se50", arcface_state, ArcFaceIrSe50),
        ("facenet-vggface2", facenet_state(), FaceNet),
    ):  # fmt: skip
        path = tmp_path / f"{model_id}.pt"
        torch.save(state, path)
        before = torch.get_rng_state()
        with torch.random.fork_rng(devices=[]):
            assert isinstance(build(model_card(model_id), path), kind)
        assert torch.equal(before, torch.get_rng_state())


def test_two_face_models_give_two_columns(arcface: ArcFaceIrSe50) -> None:
    zoo = ModelZoo({"face": "mini-face", "face-facenet": "mini-face"})
    first = FaceIdDistance.from_zoo(zoo, ())
    second = FaceIdFaceNet.from_zoo(zoo, ())
    assert (first.name, second.name) == ("face_id_distance", "face_id_facenet")
    assert first._faces is second._faces  # each source is searched once for both
    known = FaceIdFaceNet(arcface, SourceFaces.of(zoo))
    assert known.embedder.input_size == 112
