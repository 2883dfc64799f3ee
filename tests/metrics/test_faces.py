from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.metrics.face_detected import FaceDetected
from benchmark.metrics.face_id_distance import FaceIdDistance
from benchmark.metrics.faces import SourceFaces
from benchmark.zoo.face import FaceAligner
from tests.metrics.conftest import TinyZoo

FACE, CAT = 0, 1


@pytest.fixture
def distance(zoo: Any, aligner: FaceAligner) -> FaceIdDistance:
    return FaceIdDistance(zoo.face(), SourceFaces(aligner))


def test_an_unchanged_face_has_no_distance(distance: FaceIdDistance, photos: Tensor) -> None:
    distance.update(photos[:1], photos[:1], ["faces"])
    assert distance.compute().item() == pytest.approx(0.0, abs=1e-6)


def test_what_has_no_face_gets_a_status_and_no_value(
    distance: FaceIdDistance, aligner: FaceAligner, photos: Tensor
) -> None:
    detected = FaceDetected(SourceFaces(aligner))
    sources = photos[[FACE, CAT, FACE]]
    for metric in (distance, detected):
        metric.update(sources, sources, ["faces", "faces", "dogs"])
        scores = metric.per_sample()
        assert [score.status for score in scores] == ["ok", "no_face", "not_applicable"]
        assert [score.value is None for score in scores] == [False, True, True]


def test_distance_agrees_with_numpy_on_crops_at_the_sources_landmarks(
    distance: FaceIdDistance, zoo: Any, aligner: FaceAligner, photos: Tensor,
    noisy: Callable[[float], Tensor],
) -> None:  # fmt: skip
    source, output = photos[:1].float() / 127.5 - 1, noisy(25)[:1].float() / 127.5 - 1
    face = aligner.detect(source[0])
    assert face is not None
    size = zoo.face().input_size
    u, v = (
        zoo.face().embed(aligner.crop(image, [face], size))[0].numpy().astype(np.float64)
        for image in (source, output)
    )
    distance.update(noisy(25)[:1], photos[:1], ["faces"])
    assert distance.per_sample()[0].value == pytest.approx(1 - u @ v, abs=1e-6)
    assert 1 - u @ v > 1e-5


def test_an_output_without_a_face_still_has_a_distance_but_is_not_detected(
    distance: FaceIdDistance, aligner: FaceAligner, photos: Tensor
) -> None:
    detected = FaceDetected(SourceFaces(aligner))
    sources = photos[[FACE, FACE]]
    outputs = torch.stack([photos[FACE], photos[CAT]])
    distance.update(outputs, sources, ["faces", "faces"])
    detected.update(outputs, sources, ["faces", "faces"])
    assert [score.value for score in detected.per_sample()] == [1.0, 0.0]
    first, second = distance.per_sample()
    assert first.value is not None and second.value is not None
    assert second.value > first.value + 1e-3


def test_a_source_is_searched_once_for_all_its_outputs_and_metrics(
    photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo: Any = TinyZoo()
    searched = []
    detect = FaceAligner.detect

    def counting(self: FaceAligner, image: Tensor) -> Any:
        searched.append(image)
        return detect(self, image)

    monkeypatch.setattr(FaceAligner, "detect", counting)
    metrics = (FaceIdDistance.from_zoo(zoo, []), FaceDetected.from_zoo(zoo, []))
    outputs, sources = photos[[CAT, CAT]], photos[[FACE, FACE]]
    for _ in range(3):
        for metric in metrics:
            metric.update(outputs, sources, ["faces", "faces"])
    source = sources[0].float() / 127.5 - 1
    assert sum(torch.equal(image, source) for image in searched) == 1
    assert len(searched) == 1 + 3 * 2  # and each output, by the metric that looks at them


def test_large_pictures_are_searched_and_none_is_held(aligner: FaceAligner, photos: Tensor) -> None:
    """At 256 pixels and more a side does not fit a byte; a picture is 192 KiB there."""
    faces = SourceFaces(aligner)
    large = torch.nn.functional.interpolate(photos[[FACE, CAT]].float(), 256).to(torch.uint8)
    found, missing = faces(large, ["faces", "faces"])
    assert found[0] is not None and found[1] is None
    assert missing == [None, "no_face"]
    assert sum(len(key) for key in faces._known) <= 2 * 64


def test_growing_noise_takes_the_identity_away(
    distance: FaceIdDistance, photos: Tensor, noisy: Callable[[float], Tensor]
) -> None:
    course = []
    for strength in (0, 10, 40, 120):
        distance.reset()
        distance.update(noisy(strength)[:1], photos[:1], ["faces"])
        course.append(distance.compute().item())
    assert course == sorted(course)
