"""Face ID distance by a second model, ArcFace, beside the protocol's first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from benchmark.metrics.face_id_distance import FaceIdDistance
from benchmark.metrics.faces import SourceFaces

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo


class FaceIdArcFace(FaceIdDistance):
    """:class:`FaceIdDistance` by the model of role ``face-arcface``.

    The reported numbers of the field differ in the face model, so a protocol may name two.
    """

    name = "face_id_arcface"
    version = 1
    direction = "lower"
    bounds = (0.0, 2.0)
    encoders = ("face-arcface",)
    description = "face_id_distance by ArcFace, beside the protocol's first face model"

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.face("face-arcface"), SourceFaces.of(zoo))
