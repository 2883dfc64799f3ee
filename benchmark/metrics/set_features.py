"""One feature vector for each picture, for the distances of sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.metrics.clip_space import embed_pixels
from benchmark.metrics.pixels import to_float
from benchmark.zoo import ModelZoo
from benchmark.zoo.registry import model_card

INCEPTION = "inception-fid"
BATCH = 32


@dataclass(frozen=True)
class SetEncoder:
    """What turns pictures into rows of features.

    Attributes:
        id: in the weights registry, or ``inception-fid``.
        sha256: of its weights.
        pinned: whether the hash was compared with a known one.
        features: uint8 [N, 3, H, W] to [N, D].
    """

    id: str
    sha256: str
    pinned: bool
    features: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def embed(self, pictures: Iterable[npt.NDArray[np.uint8]]) -> Tensor:
        """Features [n, D] of n pictures [H, W, 3] of one size; [0, 0] for none."""
        rows = []
        waiting = iter(pictures)
        while group := list(islice(waiting, BATCH)):
            batch = torch.from_numpy(np.stack(group)).permute(0, 3, 1, 2).contiguous()
            rows.append(self.features(batch))
        return torch.cat(rows) if rows else torch.zeros(0, 0)


def set_encoder(name: str, weights_dir: Path | None) -> SetEncoder:
    """The encoder of an id, its weights verified.

    A CLIP gives its image embedding, a VGG the mean of conv5_4 over the positions, a DINO its class
    token, ``inception-fid`` the pooled features of the published FID.

    Raises:
        UsageError: unknown, or of a kind that gives no vector for an image.
        WeightsError: weights that are missing or damaged.
    """
    zoo = ModelZoo(dict.fromkeys(("clip", "vgg", "dino"), name), weights_dir)
    if name == INCEPTION:
        from benchmark.metrics.inception import CARD, FidInception

        network = FidInception.from_weights_dir(zoo.weights_dir)
        return SetEncoder(name, str(CARD.sha256), True, network.pooled)
    kind = model_card(name).kind
    if kind == "clip":
        clip = zoo.clip("clip")

        def features(images: Tensor) -> Tensor:
            return embed_pixels(clip, images)

    elif kind == "vgg":
        vgg = zoo.vgg()

        def features(images: Tensor) -> Tensor:
            return vgg.pooled(images.float() / 255)

    elif kind == "dino":
        dino = zoo.dino()

        def features(images: Tensor) -> Tensor:
            return dino.cls(to_float(images))

    else:
        raise UsageError(
            f"--encoder {name}: a model of kind {kind!r} gives no vector for any image; choose a "
            f"CLIP, VGG or DINO of `bench list models`, or {INCEPTION}"
        )
    facts = zoo.verified_hashes([kind])[kind]
    return SetEncoder(name, facts["sha256"], facts["pinned"], features)
