"""Training recipe of the narrow VGG19: what is shown, in which style, and the corpus's labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.zoo.vgg import MINI_WIDTHS, VggFeatures

from . import corpus
from .augment import Crops, random_crops
from .bank import CONTENT, PHOTO, Bank, Facts
from .trainer import Schedule
from .unet import to_model_range

MIN_IMAGES_PER_LABEL = 10
UNLABELLED = -100  # what cross_entropy ignores


class VggClassifier(nn.Module):
    """VGG19 features with batch normalisation, which :meth:`folded` takes out again.

    Sixteen plain convolutions do not train from scratch in minutes; normalised ones do, and in
    evaluation mode a normalisation is an affine map that the convolution before it can absorb.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.vgg = VggFeatures(MINI_WIDTHS)
        convs = [layer for layer in self.vgg.features if isinstance(layer, nn.Conv2d)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(conv.out_channels) for conv in convs)
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        width = MINI_WIDTHS[-1]
        self.heads = nn.ModuleDict({
            "style": nn.Linear(width, PHOTO + 1),
            "content": nn.Linear(width, len(CONTENT)),
            "label": nn.Linear(width, labels),
        })  # fmt: skip

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits by head, from images [N, 3, 64, 64] in [-1, 1]."""
        # the narrow net is fed as its users feed it: [-1, 1] with ImageNet's mean subtracted
        x = (images - self.vgg.mean) / self.vgg.std
        norm = iter(self.norms)
        for layer in list(self.vgg.features)[:-1]:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                x = next(norm)(x)
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return {name: head(pooled) for name, head in self.heads.items()}

    @torch.no_grad()
    def folded(self) -> VggFeatures:
        """Plain features that compute the same in evaluation mode."""
        plain = VggFeatures(MINI_WIDTHS)
        targets = [layer for layer in plain.features if isinstance(layer, nn.Conv2d)]
        sources = [layer for layer in self.vgg.features if isinstance(layer, nn.Conv2d)]
        for target, source, norm in zip(targets, sources, self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None and norm.running_var is not None
            assert source.bias is not None and target.bias is not None
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            target.weight.copy_(source.weight * gain[:, None, None, None])
            target.bias.copy_((source.bias - norm.running_mean) * gain + norm.bias)
        return plain.eval()


class VggRecipe:
    """Three cross-entropies over random crops of photos, paintings and stylised photos."""

    name = "vgg"
    kind = "vgg"
    seed = 31
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 128, copies: int = 2
    ) -> None:
        self.batch_size = batch_size
        self.schedule = Schedule(
            steps=steps, learning_rate=3e-3, warmup=100, weight_decay=0.02, ema_decay=0.99
        )
        self.crops = Crops(min_area=0.15, noise=0.1, damaged=0.3)
        self.bank = Bank(folder, "train", cache, copies)
        self.held_out = Bank(folder, "test", cache, 1)
        counts = Counter(self.bank.facts.label.tolist())
        frequent = sorted(label for label, n in counts.items() if n >= MIN_IMAGES_PER_LABEL)
        self._label_index = {label: i for i, label in enumerate(frequent)}
        self._plain, self._styled = self._labels(self.bank)

    def _labels(self, bank: Bank) -> tuple[Tensor, Tensor]:
        def of(facts: Facts) -> Tensor:
            return torch.tensor(
                [self._label_index.get(label, UNLABELLED) for label in facts.label.tolist()]
            )

        return of(bank.facts), of(bank.styled_facts)

    def build(self) -> VggClassifier:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = VggClassifier(len(self._label_index))
        return model.to(memory_format=torch.channels_last)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        bank, half = self.bank, self.batch_size // 2
        plain = torch.randint(len(bank.pixels), (half,), generator=generator)
        styled = torch.randint(len(bank.styled), (self.batch_size - half,), generator=generator)
        pixels = torch.cat([bank.pixels[plain], bank.styled[styled]])
        facts = Facts.join([bank.facts[plain], bank.styled_facts[styled]])
        targets = {
            "style": torch.where(facts.style <= PHOTO, facts.style, UNLABELLED),
            "content": facts.content,
            "label": torch.cat([self._plain[plain], self._styled[styled]]),
        }
        return random_crops(to_model_range(pixels), self.crops, generator), targets

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        device = next(model.parameters()).device
        images, targets = self.batch(generator)
        logits = model(images.contiguous(memory_format=torch.channels_last).to(device))
        losses = {
            name: _cross_entropy(logits[name].float(), target.to(device))
            for name, target in targets.items()
        }
        total = torch.stack(list(losses.values())).sum()
        return total, {name: float(value.detach()) for name, value in losses.items()}

    def architecture(self) -> dict[str, Any]:
        return {"widths": list(MINI_WIDTHS), "layout": "torchvision vgg19 features"}

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """Shares of held-out images whose class the heads read off the shipped features."""
        assert isinstance(shipped, VggFeatures) and isinstance(model, VggClassifier)
        bank, heads = self.held_out, model.heads
        vgg = shipped.to(next(heads.parameters()).device).eval()
        plain, styled = self._features(vgg, bank.pixels), self._features(vgg, bank.styled)
        labels, _ = self._labels(bank)
        known = labels != UNLABELLED

        def share(features: Tensor, head: str, truth: Tensor) -> float:
            return float(heads[head](features).argmax(1).cpu().eq(truth).float().mean())

        return {
            "style_top1": share(styled, "style", bank.styled_facts.style),
            "domain_top1": share(plain, "content", bank.facts.content),
            "label_top1": share(plain[known.to(plain.device)], "label", labels[known]),
        }

    @staticmethod
    def _features(vgg: VggFeatures, pixels: Tensor) -> Tensor:
        device = vgg.mean.device
        return torch.cat(
            [vgg.pooled(to_model_range(part).to(device)) for part in torch.split(pixels, 128)]
        )

    def finish(self, model: nn.Module) -> nn.Module:
        """What is shipped: the features with the normalisation folded in."""
        assert isinstance(model, VggClassifier)
        return model.folded()


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the labelled images; 0 (not NaN, as PyTorch's) if there is none."""
    total = F.cross_entropy(logits, target, ignore_index=UNLABELLED, reduction="sum")
    return total / (target != UNLABELLED).sum().clamp(min=1)
