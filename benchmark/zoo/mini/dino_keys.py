"""Training recipe of the mini DINO's second stage: keys that tell what belongs together.

Self-distillation on 15,000 small pictures gives a class token that knows styles and domains, and
keys that say hardly more than the pixels do. Their self-similarity is what the structure distance
compares (Tumanyan et al. 2022), so it is taught: of a photograph, and of its stylised copy alike,
that of a network trained on ImageNet.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.metrics.dino_structure import self_similarity
from benchmark.zoo.dino import DinoViT
from benchmark.zoo.loading import load_strictly

from . import corpus
from .augment import Crops, damage, recolour
from .bank import Bank
from .dino import ARCHITECTURE, figures_of
from .imagenet_teacher import STRIDE, ImageNetTeacher
from .trainer import Schedule, trained_before
from .unet import to_model_range

log = logging.getLogger(__name__)

START = "dino-base"
POSITIONS = 8  # of the keys and of the teacher's maps, a side
KEPT_DIMENSIONS = 64  # of the teacher's 1,280 channels, by principal components
STYLISED_SHARE = 0.6
CHANGES = Crops(noise=0.1, gain=0.3, grey=0.2, tint=0.1)  # those of the first stage, uncropped
KEYS_WEIGHT = 10.0  # of the keys' error beside the class token's
EVALUATED = 512
_PART = 256


class DinoKeysRecipe:
    """The teacher's self-similarity for the keys; the class token stays what it was."""

    name = "dino"
    kind = "dino"
    seed = 41
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 96, copies: int = 2
    ) -> None:
        self.batch_size = batch_size
        self.schedule = Schedule(
            steps=steps, learning_rate=1e-3, warmup=100, weight_decay=0.04, ema_decay=0.99
        )
        self.bank = Bank(folder, "train", cache, copies)
        self.held_out = Bank(folder, "test", cache, 1)
        self.maps, self.held_out_maps = teacher_maps(
            self.bank.pixels, self.held_out.pixels, cache / "imagenet-maps.npz"
        )
        self._before = self._stage_before(cache.parent)

    @staticmethod
    def _stage_before(work_dir: Path) -> DinoViT:
        prefix = "teacher.vit."
        state = {
            name.removeprefix(prefix): value
            for name, value in trained_before(work_dir, START).items() if name.startswith(prefix)
        }  # fmt: skip
        vit = DinoViT()
        load_strictly(vit, state, f"the {START} that training starts from")
        return vit.eval().requires_grad_(False)

    def build(self) -> DinoViT:
        vit = DinoViT()
        vit.load_state_dict(self._before.state_dict())
        return vit

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, 64, 64], and the maps [B, 64, KEPT_DIMENSIONS] of what they were."""
        bank = self.bank
        n_styled = round(STYLISED_SHARE * self.batch_size)
        plain = torch.randint(len(bank.pixels), (self.batch_size - n_styled,), generator=generator)
        styled = torch.randint(len(bank.styled), (n_styled,), generator=generator)
        pixels = torch.cat([bank.pixels[plain], bank.styled[styled]])
        maps = self.maps[torch.cat([plain, bank.styled_source[styled]])]
        maps = maps.view(len(maps), POSITIONS, POSITIONS, -1).float()
        flip = (torch.rand(len(pixels), generator=generator) < 0.5)[:, None, None, None]
        images = to_model_range(torch.where(flip, pixels.flip(2), pixels))
        maps = torch.where(flip, maps.flip(2), maps).flatten(1, 2)
        with torch.autocast("cpu", enabled=False):  # the training loop has one around a loss
            images = damage(images, CHANGES.damaged, CHANGES.noise, generator)
            return recolour(images, CHANGES, generator), maps

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, DinoViT)
        device = model.cls_token.device
        images, maps = (part.to(device) for part in self.batch(generator))
        # the CPU's fused attention spends half of a training step in its backward pass
        with sdpa_kernel(SDPBackend.MATH):
            keys, token = read(model, images)
            with torch.no_grad():
                before = read(self._before.to(device), images)[1].float()
        with torch.autocast(device.type, enabled=False):
            key_error = F.mse_loss(self_similarity(keys.float()), self_similarity(maps))
            token_error = F.mse_loss(token.float(), before) / before.var(0).mean()
        parts = {"keys": float(key_error.detach()), "token": float(token_error.detach())}
        return KEYS_WEIGHT * key_error + token_error, parts

    def finish(self, model: nn.Module) -> nn.Module:
        return model

    def architecture(self) -> dict[str, Any]:
        return ARCHITECTURE

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """The first stage's figures, and three of the keys' self-similarity on held-out pictures.

        ``keys_like_teacher``: correlation of the keys' cosines with the teacher's, each less its
        mean over the pictures, of photographs; ``keys_like_teacher_stylised``: of their stylised
        copies. ``structure_own``: share of the photographs to whose keys those of the stylised copy
        are nearer than those of another photograph.
        """
        assert isinstance(shipped, DinoViT)
        figures = figures_of(shipped.eval(), self.bank, self.held_out)
        some = torch.randperm(
            len(self.held_out.styled), generator=torch.Generator().manual_seed(7)
        )[:EVALUATED]
        sources = self.held_out.styled_source[some]
        wanted = self_similarity(self.held_out_maps[sources].float())
        plain, styled = (
            self_similarity(shipped.keys(to_model_range(p).to(shipped.cls_token.device)).cpu())
            for p in (self.held_out.pixels[sources], self.held_out.styled[some])
        )
        for name, found in (("keys_like_teacher", plain), ("keys_like_teacher_stylised", styled)):
            own = correlation(found - found.mean(0), wanted - wanted.mean(0))
            figures[name] = float(own.mean())
        to_copy, to_another = (
            (plain - other).square().mean((1, 2)) for other in (styled, plain.roll(1, 0))
        )
        figures["structure_own"] = float((to_copy < to_another).float().mean())
        return figures


def read(vit: DinoViT, images: Tensor) -> tuple[Tensor, Tensor]:
    """Keys [N, L, D] of the patches, and the class token [N, D]."""
    keys, token = vit.keys_and_token(images)
    return keys[:, 1:], token


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Of the entries of matrices [N, L, L]: [N]."""
    a, b = (m.flatten(1) - m.flatten(1).mean(1, keepdim=True) for m in (first, second))
    return F.cosine_similarity(a, b, dim=1)


def teacher_maps(train: Tensor, test: Tensor, cache: Path) -> tuple[Tensor, Tensor]:
    """The teacher's maps of both splits, [N, 64, KEPT_DIMENSIONS] float16, cached.

    The features less their mean, of length 1, on the principal components of the training split.

    Args:
        train, test: uint8 [N, 64, 64, 3].

    Raises:
        DataError: the teacher's packages are not installed.
    """
    if not cache.is_file():
        teacher = ImageNetTeacher()
        log.info("maps of %d pictures", len(train) + len(test))
        sample = _features(teacher, train[:: max(1, len(train) // 2000)])
        mean = sample.mean((0, 1))
        unit = F.normalize(sample - mean, dim=2).flatten(0, 1).double()
        # ascending, so the last ones carry the most
        axes = torch.linalg.eigh(unit.T @ unit).eigenvectors[:, -KEPT_DIMENSIONS:].float()
        found = [
            torch.cat([
                (F.normalize(_features(teacher, part) - mean, dim=2) @ axes).half()
                for part in torch.split(pixels, _PART)
            ]).numpy()
            for pixels in (train, test)
        ]  # fmt: skip
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(".part.npz")
        np.savez(partial, train=found[0], test=found[1])
        partial.replace(cache)
    with np.load(cache, allow_pickle=False) as saved:
        return torch.from_numpy(saved["train"]), torch.from_numpy(saved["test"])


def _features(teacher: ImageNetTeacher, pixels: Tensor) -> Tensor:
    """[N, 64, 1280]."""
    return teacher.maps(pixels, POSITIONS * STRIDE).flatten(2).transpose(1, 2)
