"""Face ID distance by a second model that guides no method, FaceNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from benchmark.metrics.face_id_distance import FaceIdDistance
from benchmark.metrics.faces import SourceFaces

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo


class FaceIdFaceNet(FaceIdDistance):
    """:class:`FaceIdDistance` by the model of role ``face-facenet``.

    Papers differ in the face model, so a protocol may name two. Several methods hold the identity
    by the model of role ``face``, as their official codes do by ArcFace; this one guides none.
    """

    name = "face_id_facenet"
    version = 1
    direction = "lower"
    bounds = (0.0, 2.0)
    encoders = ("face-facenet",)
    description = "face_id_distance by a second face model (FaceNet), which guides no method"

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.face("face-facenet"), SourceFaces.of(zoo))
