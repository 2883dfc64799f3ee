"""Face ID distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.clip_space import cosine
from benchmark.metrics.faces import SourceFaces
from benchmark.metrics.pixels import require_pairs, to_float

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.face import FaceModel


class FaceIdDistance(SampleMetric):
    """1 - cosine of the identity embeddings of source and output, for images of faces.

    Both are cropped at the *source's* landmarks, so that a style under which the detector finds no
    face still gets a distance. No face on the source: ``no_face``; another domain than faces:
    ``not_applicable``.

    Args:
        embedder: an identity encoder.
        faces: of the sources, and the aligner that cuts crops.
    """

    name = "face_id_distance"
    version = 2
    direction = "lower"
    bounds = (0.0, 2.0)
    encoders = ("face",)
    description = "1 - cosine of face identity embeddings, both aligned on the source's landmarks"

    def __init__(self, embedder: FaceModel, faces: SourceFaces) -> None:
        super().__init__()
        self.embedder = embedder
        self._faces = faces

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(zoo.face(), SourceFaces.of(zoo))

    @torch.no_grad()
    def update(self, outputs: Tensor, sources: Tensor, domains: Sequence[str]) -> None:
        """Compare ``outputs`` with ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, or of different shapes.
        """
        require_pairs(outputs, sources)
        source_faces, missing = self._faces(sources, domains)
        found = [(row, face) for row, face in enumerate(source_faces) if face is not None]
        values = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
        if found:
            rows, faces = [row for row, _ in found], [face for _, face in found]
            size = self.embedder.input_size
            cut, aligner = self.embedder.cut, self._faces.aligner
            before = self.embedder.embed(cut(aligner, to_float(sources[rows]), faces, size))
            after = self.embedder.embed(cut(aligner, to_float(outputs[rows]), faces, size))
            values[rows] = 1 - cosine(before, after)
        self._keep(values, missing)
