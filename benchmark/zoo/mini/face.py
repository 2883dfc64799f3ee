"""Training recipe of the face embedder: ArcFace on labelled faces, InfoNCE on others."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import re
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
from .trainer import Schedule
from .unet import to_model_range

log = logging.getLogger(__name__)

HELD_OUT_IDENTITIES = 24
SCALE, MARGIN = 24.0, 0.2  # ArcFace's s = 64, m = 0.5 are for a million faces
TEMPERATURE = 0.15
DROPOUT = 0.1
VIEWS_WEIGHT = 0.3
ATTRIBUTES_WEIGHT = 0.3
OLDEST = 100.0  # years
_AGE = re.compile(r"(\d+) year old")
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


def attributes(rows: list[dict[str, Any]]) -> Tensor:
    """[N, 2] float32: 1 for a woman and 0 for a man, age / 100 years; NaN where unknown."""
    sexes = {"man": 0.0, "woman": 1.0}
    ages = [_AGE.search(row["caption"]) for row in rows]
    return torch.tensor([
        [sexes.get(row["label"], math.nan), float(age[1]) / OLDEST if age else math.nan]
        for row, age in zip(rows, ages, strict=True)
    ])  # fmt: skip


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


class ArcFace(nn.Module):
    """Embedder with a unit prototype for each identity (Deng et al. 2019, equation 3)."""

    def __init__(self, identities: int) -> None:
        super().__init__()
        self.embedder = FaceEmbedder()
        self.prototypes = nn.Parameter(torch.randn(identities, 128))
        self.attributes = nn.Linear(128, 2)

    def logits(self, embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
        """s cos(theta + m [j = label]), from embeddings [N, D] (any length) to [N, identities]."""
        cosine = F.normalize(embeddings.float(), dim=1) @ F.normalize(self.prototypes, dim=1).T
        angle = torch.arccos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        own = F.one_hot(labels, cosine.shape[1]).bool()
        widened = torch.where(own, torch.cos((angle + margin).clamp(max=torch.pi)), cosine)
        return SCALE * widened

    def traits_loss(self, embeddings: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy of the sex and error of the age, from embeddings [N, D] of any length.

        Args:
            truth: :func:`attributes` [N, 2]; where it is NaN nothing is lost.
        """
        known = truth.isfinite()
        said = self.attributes(F.normalize(embeddings, dim=1))
        # the zeros keep unknown values out of the gradient
        truth = torch.where(known, truth, torch.zeros_like(truth))
        sex = F.binary_cross_entropy_with_logits(said[:, 0], truth[:, 0], reduction="none")
        age = 4 * F.smooth_l1_loss(said[:, 1], truth[:, 1], beta=0.05, reduction="none")
        return (sex * known[:, 0] + age * known[:, 1]).sum() / known[:, 0].sum().clamp(min=1)


class FaceRecipe:
    """ArcFace on the faces with names; on the others, sex, age and the likeness of two views.

    The faces with names are few and grey (150 persons): by themselves they are learnt by heart.
    """

    name = "face"
    kind = "face"
    seed = 41
    domains: tuple[str, ...] = ("faces-id", "faces")

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 128,
        held_out: int = HELD_OUT_IDENTITIES,
        unnamed: int | None = None,
    ) -> None:  # fmt: skip
        self.batch_size = batch_size
        self.schedule = Schedule(
            steps=steps, learning_rate=3e-3, warmup=100, weight_decay=0.1, ema_decay=0.995
        )
        self.crops = Crops(
            min_area=0.5, max_area=0.8, whole=0.0, perspective=0.25, damaged=0.5, noise=0.15,
            gain=0.25, grey=0.4, tint=0.2,
        )  # fmt: skip
        pixels, rows = aligned(folder, "faces-id", "train", cache)
        names = [row["label"] for row in rows]
        unseen = held_out_identities(names, held_out)
        seen = sorted(set(names) - unseen)
        test = [i for i, name in enumerate(names) if name in unseen]
        self._test_pixels = pixels[test]
        order = sorted(unseen)
        self._test_labels = torch.tensor([order.index(names[i]) for i in test])
        # identities are held out, not photos: the other split's photos of the rest are for training
        more_pixels, more_rows = aligned(folder, "faces-id", "test", cache)
        names += [row["label"] for row in more_rows]
        train = [i for i, name in enumerate(names) if name in seen]
        self.identities = len(seen)
        self._pixels = torch.cat([pixels, more_pixels])[train]
        self._labels = torch.tensor([seen.index(names[i]) for i in train])
        self._unnamed, unnamed_rows = aligned(folder, "faces", "train", cache, unnamed)
        self._attributes = attributes(unnamed_rows)

    def build(self) -> ArcFace:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = ArcFace(self.identities)
        return model.to(memory_format=torch.channels_last)

    def views(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        images = random_crops(
            to_model_range(pixels), self.crops, generator, FaceEmbedder.input_size
        )
        return images.contiguous(memory_format=torch.channels_last)

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, ArcFace)
        device = model.prototypes.device
        pairs = self.batch_size // 4
        chosen = torch.randint(
            len(self._pixels), (self.batch_size - 2 * pairs,), generator=generator
        )
        other = torch.randint(len(self._unnamed), (pairs,), generator=generator)
        pixels = torch.cat([self._pixels[chosen], self._unnamed[other], self._unnamed[other]])
        features = model.embedder.features(self.views(pixels, generator).to(device))
        # nn.Dropout would draw from the global stream, and a resumed run would differ
        kept = torch.rand(features.shape, generator=generator) >= DROPOUT
        features = features * kept.to(device) / (1 - DROPOUT)
        embeddings = model.embedder.head(features).float()
        labelled, pair = embeddings[: len(chosen)], embeddings[len(chosen) :]
        labels = self._labels[chosen].to(device)
        with torch.autocast(device.type, enabled=False):
            # the margin grows, since a margin on random prototypes only hinders
            margin = MARGIN * min(1.0, 2.0 * step / self.schedule.steps)
            arc = F.cross_entropy(model.logits(labelled, labels, margin), labels)
            first, second = pair.chunk(2)
            similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / TEMPERATURE
            views = F.cross_entropy(similarity, torch.arange(pairs, device=device))
            traits = model.traits_loss(pair, self._attributes[other].repeat(2, 1).to(device))
        total = arc + VIEWS_WEIGHT * views + ATTRIBUTES_WEIGHT * traits
        return total, {
            "arcface": float(arc.detach()), "views": float(views.detach()),
            "traits": float(traits.detach()),
        }  # fmt: skip

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
        """What is shipped: the embedder without the identities' prototypes."""
        assert isinstance(model, ArcFace)
        return model.embedder
