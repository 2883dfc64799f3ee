"""Where the faces are: shared by the metrics that look at faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from benchmark.metrics.base import NO_FACE, NOT_APPLICABLE
from benchmark.metrics.pixels import to_float

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.face import Face, FaceAligner

FACE_DOMAIN = "faces"

_of_zoo: WeakKeyDictionary[ModelZoo, tuple[torch.device, SourceFaces]] = WeakKeyDictionary()


class SourceFaces:
    """Faces of source images, found once for each image however many outputs it has.

    Args:
        aligner: the face detector.
    """

    def __init__(self, aligner: FaceAligner) -> None:
        self.aligner = aligner
        self._known: dict[bytes, Face | None] = {}

    @classmethod
    def of(cls, zoo: ModelZoo) -> SourceFaces:
        """The one that all metrics of a zoo share, so that each source is searched once."""
        from benchmark.zoo.face import FaceAligner

        device, faces = _of_zoo.get(zoo, (None, None))
        if faces is None or device != zoo.device:
            faces = cls(FaceAligner(zoo.device))
            _of_zoo[zoo] = (zoo.device, faces)
        return faces

    @torch.no_grad()
    def __call__(
        self, sources: Tensor, domains: Sequence[str]
    ) -> tuple[list[Face | None], list[str | None]]:
        """Faces and missing statuses of a batch.

        Args:
            sources: uint8 [N, 3, H, W].
            domains: what each image shows.

        Returns:
            for each image its face (None if it has none or is of another domain), and the
            status ``not_applicable`` or ``no_face`` that stands in for a value, or None.
        """
        faces: list[Face | None] = []
        missing: list[str | None] = []
        for image, domain in zip(sources, domains, strict=True):
            if domain != FACE_DOMAIN:
                faces.append(None)
                missing.append(NOT_APPLICABLE)
                continue
            # hashed, since the pictures of a whole run would be held otherwise
            content = f"{tuple(image.shape)}".encode() + image.cpu().numpy().tobytes()
            key = hashlib.sha256(content).digest()
            if key not in self._known:
                self._known[key] = self.aligner.detect(to_float(image[None])[0])
            faces.append(self._known[key])
            missing.append(NO_FACE if self._known[key] is None else None)
        return faces, missing
