"""Training recipe of the mini DINO's first stage: self-distillation over crops, without labels.

The second stage, :mod:`.dino_keys`, is what ships.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.zoo.dino import DinoViT

from . import corpus
from .augment import Crops, random_crops
from .bank import PHOTO, Bank
from .trainer import Schedule
from .unet import to_model_range

PROTOTYPES = 1024
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.04
CENTRE_MOMENTUM = 0.9
TEACHER_MOMENTUM = 0.99  # rises to 1 along a cosine, as in the paper
LOCAL_SIZE = 32
NEIGHBOURS = 10
ARCHITECTURE = {"patch": 8, "width": 128, "depth": 5, "heads": 2, "image_size": 64}


class Head(nn.Module):
    """Projection to prototypes: an MLP, a unit bottleneck, unit prototypes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 64)
        )
        self.prototypes = nn.Parameter(torch.randn(PROTOTYPES, 64))

    def forward(self, x: Tensor) -> Tensor:
        x = self.mlp(x).float()
        with torch.autocast(x.device.type, enabled=False):  # a sharp softmax follows
            return F.normalize(x, dim=1) @ F.normalize(self.prototypes, dim=1).T


class SelfDistillation(nn.Module):
    """Student, teacher (its moving average) and the centre of the teacher's outputs."""

    centre: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.ModuleDict({"vit": DinoViT(), "head": Head(128)})
        self.teacher = nn.ModuleDict({"vit": DinoViT(), "head": Head(128)})
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self.register_buffer("centre", torch.zeros(1, PROTOTYPES))

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher towards the student."""
        teacher: list[Tensor] = list(self.teacher.parameters())
        student = [p.detach() for p in self.student.parameters()]
        torch._foreach_lerp_(teacher, student, 1.0 - momentum)

    @staticmethod
    def project(network: nn.ModuleDict, images: Tensor) -> Tensor:
        """[N, PROTOTYPES] cosines."""
        out: Tensor = network["head"](network["vit"](images)[:, 0])
        return out


class DinoRecipe:
    """Two global and two local crops of photos, paintings and stylised photos."""

    name = "dino-base"
    kind = "dino"
    seed = 37
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 64, copies: int = 2
    ) -> None:
        self.batch_size = batch_size
        self.schedule = Schedule(
            steps=steps, learning_rate=1e-3, warmup=100, weight_decay=0.04, ema_decay=0.99
        )
        common = {
            "whole": 0.0,
            "perspective": 0.0,
            "noise": 0.1,
            "grey": 0.2,
            "gain": 0.3,
            "tint": 0.1,
        }
        self.global_crops = Crops(min_area=0.35, max_area=1.0, **common)
        self.local_crops = Crops(min_area=0.08, max_area=0.35, **common)
        self.bank = Bank(folder, "train", cache, copies)
        self.held_out = Bank(folder, "test", cache, 1)

    def build(self) -> SelfDistillation:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return SelfDistillation()

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Global crops [2B, 3, 64, 64] and local crops [2B, 3, 32, 32]."""
        bank, half = self.bank, self.batch_size // 2
        plain = torch.randint(len(bank.pixels), (self.batch_size - half,), generator=generator)
        styled = torch.randint(len(bank.styled), (half,), generator=generator)
        pixels = torch.cat([bank.pixels[plain], bank.styled[styled]])
        images = to_model_range(pixels).repeat(2, 1, 1, 1)
        wide = random_crops(images, self.global_crops, generator)
        return wide, random_crops(images, self.local_crops, generator, LOCAL_SIZE)

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, SelfDistillation)
        device = model.centre.device
        share = step / self.schedule.steps
        model.follow(1 - (1 - TEACHER_MOMENTUM) * (math.cos(math.pi * share) + 1) / 2)
        wide, local = (crops.to(device) for crops in self.batch(generator))
        # the CPU's fused attention spends half of a training step in its backward pass
        with sdpa_kernel(SDPBackend.MATH):
            with torch.no_grad():
                target = model.project(model.teacher, wide)
            students = torch.cat(
                [model.project(model.student, wide), model.project(model.student, local)]
            )
        sharp = F.softmax((target - model.centre) / TEACHER_TEMPERATURE, dim=1).chunk(2)
        logs = F.log_softmax(students / STUDENT_TEMPERATURE, dim=1).chunk(4)
        terms = [
            -(teacher * student).sum(1).mean()
            for i, teacher in enumerate(sharp) for j, student in enumerate(logs) if i != j
        ]  # fmt: skip
        loss = torch.stack(terms).mean()
        with torch.no_grad():
            model.centre.lerp_(target.mean(0, keepdim=True), 1 - CENTRE_MOMENTUM)
            both = torch.cat(sharp)
            entropy = -(both * both.clamp_min(1e-9).log()).sum(1).mean()
            used = both.mean(0)
            spread = -(used * used.clamp_min(1e-9).log()).sum()
        # collapse shows as `spread` near 0 (one prototype for all) or `entropy` near log(1024)
        return loss, {
            "dino": float(loss.detach()), "entropy": float(entropy), "spread": float(spread),
        }  # fmt: skip

    def architecture(self) -> dict[str, Any]:
        return ARCHITECTURE

    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        assert isinstance(shipped, DinoViT)
        return figures_of(shipped.eval(), self.bank, self.held_out)

    def finish(self, model: nn.Module) -> nn.Module:
        """What is shipped: the teacher's vision transformer."""
        assert isinstance(model, SelfDistillation)
        return model.teacher["vit"]


@torch.no_grad()
def figures_of(vit: DinoViT, train: Bank, test: Bank) -> dict[str, float]:
    """Figures of the vision transformer alone.

    ``domain_knn`` and ``style_knn``: share of held-out images whose class the 10 nearest
    training images name. ``structure_2afc``: share of held-out photos whose own stylised
    version has nearer keys (self-similarity, Tumanyan et al. 2022) than another photo in the
    same style.
    """
    some = torch.randperm(len(train.pixels), generator=torch.Generator().manual_seed(5))[:4000]
    drawn = torch.randperm(len(train.styled), generator=torch.Generator().manual_seed(6))[:4000]
    test_plain = _class_tokens(vit, test.pixels)
    figures = {
        "domain_knn": _knn(
            test_plain, test.facts.content,
            _class_tokens(vit, train.pixels[some]), train.facts.content[some],
        ),
        "style_knn": _knn(
            _class_tokens(vit, test.styled), test.styled_facts.style,
            _class_tokens(vit, train.styled[drawn]), train.styled_facts.style[drawn],
        ),
    }  # fmt: skip
    hits, count = 0, 0
    for style in range(PHOTO):
        of_style = (test.styled_facts.style == style).nonzero().flatten()[:24]
        photos = _structure(vit, test.pixels[test.styled_source[of_style]])
        styled = _structure(vit, test.styled[of_style])
        distance = torch.cdist(photos, styled)
        own = distance.diagonal()[:, None]
        n = len(of_style)
        hits += int((own < distance).sum())
        count += n * (n - 1)
    figures["structure_2afc"] = hits / max(1, count)
    return figures


def _class_tokens(vit: DinoViT, pixels: Tensor) -> Tensor:
    device = vit.cls_token.device
    parts = [vit.cls(to_model_range(part).to(device)).cpu() for part in torch.split(pixels, 128)]
    return F.normalize(torch.cat(parts), dim=1)


def _structure(vit: DinoViT, pixels: Tensor) -> Tensor:
    """Flattened self-similarity of the keys, [N, L * L]."""
    keys = F.normalize(vit.keys(to_model_range(pixels).to(vit.cls_token.device)), dim=2)
    return (keys @ keys.transpose(1, 2)).flatten(1).cpu()


def _knn(queries: Tensor, truth: Tensor, bank: Tensor, classes: Tensor) -> float:
    """Share of queries whose class wins among the nearest bank vectors, weighted by similarity."""
    similarity, index = (queries @ bank.T).topk(NEIGHBOURS, dim=1)
    votes = torch.zeros(len(queries), int(classes.max()) + 1)
    votes.scatter_add_(1, classes[index], (similarity / 0.07).exp())
    return float((votes.argmax(1) == truth).float().mean())
