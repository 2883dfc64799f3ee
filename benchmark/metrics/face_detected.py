"""Whether the output still shows a face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from benchmark.metrics.base import SampleMetric
from benchmark.metrics.faces import SourceFaces
from benchmark.metrics.pixels import require_pairs, to_float

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo


class FaceDetected(SampleMetric):
    """1 if the detector finds a face on the output, else 0, for images of faces.

    No face on the source: ``no_face``; another domain than faces: ``not_applicable``. Read it next
    to ``face_id_distance``, which is measured whether or not the output still shows a face.

    Args:
        faces: of the sources, and the detector.
    """

    name = "face_detected"
    version = 1
    direction = "higher"
    bounds = (0.0, 1.0)
    encoders = ()
    description = "1 if a face is found on the output of a source with a face, else 0"

    def __init__(self, faces: SourceFaces) -> None:
        super().__init__()
        self._faces = faces

    @classmethod
    def from_zoo(cls, zoo: ModelZoo, prompts: Sequence[str]) -> Self:
        return cls(SourceFaces.of(zoo))

    @torch.no_grad()
    def update(self, outputs: Tensor, sources: Tensor, domains: Sequence[str]) -> None:
        """Look for faces on ``outputs`` made from ``sources`` (both uint8 [N, 3, H, W]).

        Raises:
            DataError: not stored pixels, or of different shapes.
        """
        require_pairs(outputs, sources)
        faces, missing = self._faces(sources, domains)
        rows = [row for row, face in enumerate(faces) if face is not None]
        values = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
        if rows:
            found = self._faces.aligner.detect_all(to_float(outputs[rows]))
            values[rows] = torch.tensor(
                [float(face is not None) for face in found],
                dtype=torch.float64, device=outputs.device,
            )  # fmt: skip
        self._keep(values, missing)
