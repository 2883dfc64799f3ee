"""Training recipe of AdaIN's decoder on the mini VGG: photos in the styles of other pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.zoo import ModelZoo
from benchmark.zoo.adain import AdaInDecoder, adaptive_instance_norm, mean_std

from . import corpus
from .bank import Bank
from .trainer import Schedule

ENCODER = "mini-vgg"
STYLE_WEIGHT, PIXEL_WEIGHT = 10.0, 100.0
# wider than the mini VGG mirrored, whose 8 channels at full size are too few
CHANNELS = {
    "conv2_1": (16, 48, 32, 3),
    "conv3_1": (32, 48, 48, 32, 32, 3),
    "conv4_1": (64, 64, 64, 64, 64, 48, 48, 32, 32, 3),
}
LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")
MEASURED, EVALUATED = 512, 128  # pictures for the scales of the layers; held-out pairs


class AdaInRecipe:
    """Upstream's losses: features of the output against AdaIN's, statistics against the style's.

    ``train.py`` of ``naoto0804/pytorch-AdaIN`` at 47950d0 (content weight 1, style weight 10,
    batches of 8), with these differences:

    - far fewer steps, so the learning rate is higher (and falls to a twentieth);
    - upstream's VGG is scaled so that activations average 1, which its weights are chosen for; here
      each layer's maps are divided by their mean over training pictures in the losses;
    - ``conv2_1`` is decoded instead of ``conv4_1``, which at 64x64 has 8x8 positions only, so
      colours and fine texture are what is transferred; the style loss takes all four layers;
    - the photo itself is decoded as well and compared by pixels: features of the narrow VGG alone
      leave patterns that no photo has.

    Args:
        layer: that is decoded.
    """

    name = "adain-decoder"
    kind = "adain"
    seed = 41
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(
        self, folder: Path, cache: Path, *, steps: int, batch_size: int = 8, copies: int = 2,
        layer: str = "conv2_1",
    ) -> None:  # fmt: skip
        self.batch_size = batch_size
        self.schedule = Schedule(steps=steps, learning_rate=1e-3, warmup=100)
        self.layer = layer
        zoo = ModelZoo({"adain-encoder": ENCODER})
        self.encoder = zoo.adain_encoder().to(memory_format=torch.channels_last)
        self._encoder_hash: str = zoo.verified_hashes()["adain-encoder"]["sha256"]
        self.bank = Bank(folder, "train", cache, copies)
        self.held_out = Bank(folder, "test", cache, 1)
        self.scales = self._mean_activations()

    @torch.no_grad()
    def _mean_activations(self) -> dict[str, float]:
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(self.bank.pixels), generator=generator)[:MEASURED]
        maps = self.encoder(unit_range(self.bank.pixels[chosen]), LAYERS)
        return {name: float(values.mean()) for name, values in maps.items()}

    def build(self) -> AdaInDecoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            decoder = AdaInDecoder(CHANNELS[self.layer])
        return decoder.to(memory_format=torch.channels_last)

    @staticmethod
    def pairs(bank: Bank, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Photos, and as many styles: paintings and stylised photos. [N, 3, 64, 64] in [0, 1]."""

        def pick(number: int, size: int) -> Tensor:
            return torch.randint(size, (number,), generator=generator)

        content = bank.pixels[bank.photos[pick(count, len(bank.photos))]]
        painted = count // 2
        style = torch.cat([
            bank.pixels[bank.paintings[pick(painted, len(bank.paintings))]],
            bank.styled[pick(count - painted, len(bank.styled))],
        ])  # fmt: skip
        flip = torch.rand(2, count, generator=generator) < 0.5
        content, style = (
            unit_range(torch.where(flips[:, None, None, None], pixels.flip(2), pixels))
            for flips, pixels in zip(flip, (content, style), strict=True)
        )
        return content, style

    def losses(
        self, decoder: nn.Module, content: Tensor, style: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Content loss, style loss and reconstruction loss (unweighted) of a batch."""
        with torch.no_grad():
            wanted = {name: maps.float() for name, maps in self.encoder(style, LAYERS).items()}
            features = self.encoder(content, (self.layer,))[self.layer].float()
            target = adaptive_instance_norm(features, wanted[self.layer])
        stylised, back = decoder(torch.cat([target, features])).chunk(2)
        output = {name: maps.float() for name, maps in self.encoder(stylised, LAYERS).items()}
        content_loss = F.mse_loss(output[self.layer], target) / self.scales[self.layer] ** 2
        return content_loss, self._style_loss(output, wanted), F.mse_loss(back.float(), content)

    def _style_loss(self, output: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        terms = []
        for name, maps in output.items():
            for mine, theirs in zip(mean_std(maps), mean_std(wanted[name]), strict=True):
                terms.append(F.mse_loss(mine, theirs) / self.scales[name] ** 2)
        return torch.stack(terms).sum()

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        device = next(model.parameters()).device
        self.encoder.to(device)
        batch = self.pairs(self.bank, self.batch_size, generator)
        losses = self.losses(model, *(images.to(device) for images in batch))
        parts = zip(("content", "style", "pixels"), losses, strict=True)
        total = losses[0] + STYLE_WEIGHT * losses[1] + PIXEL_WEIGHT * losses[2]
        return total, {name: float(value.detach()) for name, value in parts}

    def finish(self, model: nn.Module) -> nn.Module:
        """What is shipped: the whole model."""
        return model

    def architecture(self) -> dict[str, Any]:
        return {
            "channels": list(CHANNELS[self.layer]),
            "layer": self.layer,
            "encoder": {"id": ENCODER, "sha256": self._encoder_hash},
        }

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """Losses on held-out pairs beside those before training; PSNR of decoding plain features.

        ``style_content`` is the style loss of the untouched photo: what there is to gain.
        """
        device = next(shipped.parameters()).device
        self.encoder.to(device)
        generator = torch.Generator().manual_seed(1)
        content, style = (
            images.to(device) for images in self.pairs(self.held_out, EVALUATED, generator)
        )
        figures: dict[str, float] = {}
        for name, decoder in (("", shipped.eval()), ("_untrained", self.build().to(device))):
            losses = self.losses(decoder, content, style)
            figures |= {f"content{name}": float(losses[0]), f"style{name}": float(losses[1])}
        maps = [self.encoder(images, LAYERS) for images in (content, style)]
        figures["style_content"] = float(self._style_loss(*maps))
        back = shipped(maps[0][self.layer]).clamp(0, 1)
        mse = (back - content).square().mean((1, 2, 3))
        figures["reconstruction_psnr"] = float((-10 / math.log(10) * mse.log()).mean())
        return figures


def unit_range(pixels: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [0, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div(255)
