"""Training recipe of the face embedder: a larger network's opinion of faces, repeated."""

from __future__ import annotations

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from benchmark.zoo.face import FaceAligner, FaceEmbedder

from .augment import Crops, random_crops
from .face_teacher import described, mixed_faces
from .trainer import Schedule
from .unet import to_model_range

log = logging.getLogger(__name__)

HELD_OUT_IDENTITIES = 24
MIXTURES = 6000  # of faces, beside as many faces
PAIRS_WEIGHT = 4.0
# wider than the crop that is read, so that augmentation can shift, zoom and turn
_STORED_MARGIN, _STORED_SIZE = 1.25, 80


def aligned(
    folder: Path, domain: str, split: str, cache: Path, limit: int | None = None
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Aligned crops [N, 80, 80, 3] uint8 of a domain's faces, and their rows of the corpus.

    Pictures without a detected face are left out. The crops are cached, because detecting takes
    a tenth of a second each. The outer tenth is a margin: the standard crop is the inner 64 pixels.
    """
    rows = pq.read_table(folder / f"{domain}-{split}.parquet").slice(0, limit).to_pylist()
    path = cache / f"aligned-{domain}-{split}-{len(rows)}.npz"
    if not path.is_file():
        log.info("aligning %d pictures of %s", len(rows), domain)
        aligner = FaceAligner()
        kept, crops = [], []
        for index, row in enumerate(rows):
            picture = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB"))
            image = to_model_range(torch.from_numpy(picture.copy())[None])
            face = aligner.detect(image[0])
            if face is None:
                continue
            big = aligner.crop(image, [face], _STORED_SIZE, margin=_STORED_MARGIN)
            pixels = ((big[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).round()
            crops.append(pixels.numpy().astype(np.uint8))
            kept.append(index)
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez(partial, pixels=np.stack(crops), kept=np.array(kept))
        partial.rename(path)
    with np.load(path, allow_pickle=False) as stored:
        return torch.from_numpy(stored["pixels"]), [rows[int(i)] for i in stored["kept"]]


def held_out_identities(labels: list[str], count: int) -> set[str]:
    """The identities kept from training: those whose names have the smallest digests."""
    names = sorted(set(labels), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(names[:count])


def verification_auc(embeddings: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve of cosine similarity, over all pairs of images.

    Args:
        embeddings: [N, D] unit vectors.
        labels: [N] identities.
    """
    rows, columns = torch.triu_indices(len(labels), len(labels), 1).unbind(0)
    scores = (embeddings[rows] * embeddings[columns]).sum(1)
    same = labels[rows] == labels[columns]
    ranks = torch.empty(len(scores), dtype=torch.float64)
    ranks[scores.argsort()] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    positives = int(same.sum())
    negatives = len(same) - positives
    return float((ranks[same].sum() - positives * (positives + 1) / 2) / (positives * negatives))


class FaceRecipe:
    """The embedder repeats what a teacher says of faces with names, without, and of mixtures.

    Names are used for the held-out figure alone.
    """

    name = "face"
    kind = "face"
    seed = 41
    domains: tuple[str, ...] = ("faces-id", "faces")

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 96,
        held_out: int = HELD_OUT_IDENTITIES, unnamed: int | None = None, mixtures: int = MIXTURES,
    ) -> None:  # fmt: skip
        self.batch_size = batch_size
        self.schedule = Schedule(
            steps=steps, learning_rate=3e-3, warmup=100, weight_decay=0.05, ema_decay=0.995
        )
        self.crops = Crops(
            min_area=0.5, max_area=0.8, whole=0.0, perspective=0.25, damaged=0.5, noise=0.15,
            gain=0.25, grey=0.4, tint=0.2,
        )  # fmt: skip
        pixels, rows = aligned(folder, "faces-id", "train", cache)
        names = [row["label"] for row in rows]
        unseen = held_out_identities(names, held_out)
        test = [i for i, name in enumerate(names) if name in unseen]
        self._test_pixels = pixels[test]
        order = sorted(unseen)
        self._test_labels = torch.tensor([order.index(names[i]) for i in test])
        # identities are held out, not photos: the other split's photos of the rest are for training
        more_pixels, more_rows = aligned(folder, "faces-id", "test", cache)
        names += [row["label"] for row in more_rows]
        train = [i for i, name in enumerate(names) if name not in unseen]
        named = torch.cat([pixels, more_pixels])[train]
        others, _ = aligned(folder, "faces", "train", cache, unnamed)
        # of the faces without names: those with names are few, and grey
        mixed = mixed_faces(others, mixtures, torch.Generator().manual_seed(self.seed))
        self._pixels = torch.cat([named, others, mixed])
        said = described(self._pixels, cache)
        # all descriptors share a direction, which is not what tells faces apart
        self._said = F.normalize(said - said[: len(named) + len(others)].mean(0), dim=1)

    def build(self) -> FaceEmbedder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = FaceEmbedder()
        return model.to(memory_format=torch.channels_last)

    def views(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        images = random_crops(
            to_model_range(pixels), self.crops, generator, FaceEmbedder.input_size
        )
        return images.contiguous(memory_format=torch.channels_last)

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        device = next(model.parameters()).device
        chosen = torch.randint(len(self._pixels), (self.batch_size,), generator=generator)
        embeddings = model(self.views(self._pixels[chosen], generator).to(device)).float()
        said = self._said[chosen].to(device)
        with torch.autocast(device.type, enabled=False):
            embeddings = F.normalize(embeddings, dim=1)
            angle = (1 - (embeddings * said).sum(1)).mean()
            # what verification compares are cosines of pairs
            pairs = (embeddings @ embeddings.T - said @ said.T).square().mean()
        total = angle + PAIRS_WEIGHT * pairs
        return total, {"angle": float(angle.detach()), "pairs": float(pairs.detach())}

    def architecture(self) -> dict[str, Any]:
        return {"widths": [32, 64, 96, 128], "dim": 128, "image_size": 64}

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """Verification AUC on identities held out from training, in grey and tinted."""
        assert isinstance(shipped, FaceEmbedder)
        shipped.eval()
        margin = (_STORED_SIZE - FaceEmbedder.input_size) // 2
        inner = slice(margin, margin + FaceEmbedder.input_size)
        crops = to_model_range(self._test_pixels[:, inner, inner])
        device = next(shipped.parameters()).device
        generator = torch.Generator().manual_seed(7)
        tint = 1 + 0.2 * (2 * torch.rand(len(crops), 3, 1, 1, generator=generator) - 1)

        def auc(images: Tensor) -> float:
            parts = [shipped.embed(part.to(device)).cpu() for part in torch.split(images, 128)]
            return verification_auc(torch.cat(parts), self._test_labels)

        return {
            "verification_auc": auc(crops),
            "verification_auc_tinted": auc((crops + 1) * tint - 1),
        }

    def finish(self, model: nn.Module) -> nn.Module:
        """What is shipped: the whole model."""
        return model
