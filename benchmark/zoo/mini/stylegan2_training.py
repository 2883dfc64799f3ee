"""What the mini StyleGAN2 of faces learns from: networks, losses, and one step of training.

A GAN alone learns little in an hour on one core, so an encoder is trained with it. Photos go
through encoder and generator and must come back (L1 and VGG features); a critic judges what comes
back and what the mapping network's latents give; and the mapping network follows the distribution
of the encoder's latents (sliced Wasserstein distance), so that its pictures are like those that
the generator has learned to draw.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.zoo.loading import load_state
from benchmark.zoo.stylegan2 import StyleGan2, StyleGan2Config
from benchmark.zoo.stylegan2_encoder import EncoderConfig
from benchmark.zoo.vgg import VggFeatures

from . import corpus
from .export import WEIGHTS
from .stylegan2_parts import Critic, augment, feature_distance, initialise, sliced_wasserstein
from .unet import to_model_range

CONFIG = StyleGan2Config(
    size=64,
    style_dim=128,
    n_mlp=4,
    channels=(160, 160, 128, 64, 32),
    encoder=EncoderConfig(channels=(24, 48, 96, 160, 160)),
)
CRITIC = (24, 48, 96, 160, 160)
SEED = 51
BATCH, NEW = 16, 8  # photos, and pictures of new latents
# peaks; the generator's weights are scaled at run time, the mapping network's by another hundredth
RATES = {"generator": 2.5e-3, "mapping": 0.1, "encoder": 4e-4, "critic": 4e-4}
BETAS = (0.5, 0.99)
EMA = 0.995
R1_EVERY, R1_WEIGHT = 16, 0.5
ALONE = 900  # first steps, without a critic: it would only see that nothing is sharp yet
RAMP = 200  # steps in which the critic's weight rises
ADVERSARIAL, PIXELS, FEATURE, LATENT, OFFSETS = 0.3, 1.0, 1.0, 1.0, 0.01
QUEUE = 512  # encoded latents that the mapping network is compared with


def rate_at(step: int, steps: int) -> float:
    """Factor of the learning rates: a short warm-up, then a cosine over the last third."""
    start = steps * 2 // 3
    late = max(0.0, (step - start) / max(1, steps - start))
    return min(1.0, (step + 1) / 100) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * late)))


class StyleGan2Recipe:
    """Model, data and figures, in the form that :func:`..export.export` takes."""

    name = "stylegan2"
    kind = "stylegan2"
    seed = SEED
    batch_size = BATCH
    domains: tuple[str, ...] = ("faces",)

    def __init__(self, folder: Path) -> None:
        self.pixels = torch.from_numpy(corpus.load(folder, "train", self.domains).pixels)
        self.held_out = torch.from_numpy(corpus.load(folder, "test", self.domains).pixels)

    def build(self) -> StyleGan2:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = StyleGan2(CONFIG)
        assert model.encoder is not None
        initialise(model.encoder, torch.Generator().manual_seed(self.seed))
        with torch.no_grad():
            model.encoder.offsets.weight.mul_(0.1)
        return model

    def photos(self, generator: torch.Generator) -> Tensor:
        """A batch [N, 3, 64, 64] in [-1, 1], half of it mirrored."""
        chosen = torch.randint(len(self.pixels), (self.batch_size,), generator=generator)
        images = to_model_range(self.pixels[chosen])
        mirrored = torch.rand(self.batch_size, generator=generator) < 0.5
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)

    def architecture(self) -> dict[str, Any]:
        return CONFIG.model_dump(mode="json", exclude={"channel_multiplier"})

    def finish(self, model: nn.Module) -> nn.Module:
        """The generator with its encoder; the mean latent, which was 0, is filled in."""
        assert isinstance(model, StyleGan2) and model.encoder is not None
        shipped = copy.deepcopy(model).eval()
        assert shipped.encoder is not None
        with torch.no_grad():
            average = shipped.average_latent()
            shipped.encoder.shared.bias.sub_(average - shipped.latent_avg)
            shipped.latent_avg.copy_(average)
        return shipped

    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        from .stylegan2_figures import figures

        assert isinstance(shipped, StyleGan2)
        return figures(shipped, self.pixels, self.held_out)


class Training:
    """Generator with encoder, critic, their optimisers, and one step of both."""

    def __init__(self, recipe: StyleGan2Recipe, steps: int, device: torch.device) -> None:
        self.recipe, self.steps, self.device = recipe, steps, device
        self.model = recipe.build().to(device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.critic = Critic(CRITIC).to(device)
        initialise(self.critic, torch.Generator().manual_seed(recipe.seed + 1))
        self.vgg = VggFeatures.from_state_dict(load_state(WEIGHTS / "vgg.safetensors")).to(device)
        parts: dict[str, list[nn.Parameter]] = {"generator": [], "mapping": [], "encoder": []}
        for name, parameter in self.model.named_parameters():
            part = {"style": "mapping", "encoder": "encoder"}.get(name.split(".")[0], "generator")
            parts[part].append(parameter)
        groups = [{"params": parts[part], "peak": RATES[part]} for part in parts]
        self.optimizer = torch.optim.Adam(groups, betas=BETAS)
        critic = [{"params": list(self.critic.parameters()), "peak": RATES["critic"]}]
        self.critic_optimizer = torch.optim.Adam(critic, betas=(0.0, 0.99))
        self.queue = torch.zeros(QUEUE, CONFIG.style_dim, device=device)
        self.step, self.seconds = 0, 0.0

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model, "ema": self.ema, "critic": self.critic,
            "optimizer": self.optimizer, "critic_optimizer": self.critic_optimizer,
        }  # fmt: skip

    def save(self, path: Path) -> None:
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"queue": self.queue, "step": self.step, "seconds": self.seconds}
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        saved = torch.load(path, map_location=self.device, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.queue, self.step, self.seconds = saved["queue"], saved["step"], saved["seconds"]

    def advance(self) -> dict[str, float]:
        """One step of the generator and one of the critic; the losses."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        factor = rate_at(self.step, self.steps)
        for optimizer in (self.optimizer, self.critic_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
        photos = self.recipe.photos(generator).to(self.device)
        pictures, parts = self._generator_step(photos, generator)
        if self.step >= ALONE:
            parts |= self._critic_step(photos, pictures, generator)
        weight = 1.0 - min(EMA, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.parameters()), [p.detach() for p in self.model.parameters()], weight
            )
        self.step += 1
        return parts

    def _generator_step(
        self, photos: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        model, count = self.model, len(photos)
        assert model.encoder is not None
        z = torch.randn(QUEUE, CONFIG.style_dim, generator=generator).to(self.device)
        mapped = model.map(z)
        # offsets are left out for half of the photos: w alone must tell most of a face
        kept = (torch.rand(count, generator=generator) < 0.5).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            shared, offsets = model.encoder.parts(photos)
            shared, offsets = shared.float(), offsets.float()
            encoded = shared[:, None] + offsets * kept[:, None, None]
            if self.step >= ALONE:
                encoded = torch.cat([encoded, model.broadcast(mapped[:NEW])])
            pictures = model(encoded, model.random_noise(len(encoded), generator)).float()
            features = feature_distance(self.vgg, pictures[:count], photos)
            adversarial = pictures.new_zeros(())
            if self.step >= ALONE:
                self.critic.requires_grad_(False)
                logits = self.critic(augment(pictures, generator))
                self.critic.requires_grad_(True)
                adversarial = F.softplus(-logits).mean()
        self.queue = torch.cat([self.queue[count:], shared.detach()])
        filled = min(QUEUE, (self.step + 1) * count)
        latent = sliced_wasserstein(mapped[:filled], self.queue[-filled:], generator)
        pixels = (pictures[:count] - photos).abs().mean()
        weight = ADVERSARIAL * min(1.0, (self.step - ALONE + 1) / RAMP)
        loss = (
            PIXELS * pixels + FEATURE * features + weight * adversarial + LATENT * latent
            + OFFSETS * offsets.square().mean()
        )  # fmt: skip
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        spread = float(shared.detach().std(0).mean())
        return pictures.detach(), {
            "real": 1.0, "fake_rec": 0.0, "fake_new": 0.0,
            "pixels": float(pixels.detach()), "features": float(features.detach()),
            "fooled": float(adversarial.detach()), "latent": float(latent.detach()),
            "spread": spread,
        }  # fmt: skip

    def _critic_step(
        self, photos: Tensor, pictures: Tensor, generator: torch.Generator
    ) -> dict[str, float]:
        with torch.autocast(self.device.type, torch.bfloat16):
            real = self.critic(augment(photos, generator))
            fake = self.critic(augment(pictures, generator))
        loss = F.softplus(-real).mean() + F.softplus(fake).mean()
        if self.step % R1_EVERY == 0:
            inputs = augment(photos, generator).requires_grad_(True)
            (slope,) = torch.autograd.grad(self.critic(inputs).sum(), inputs, create_graph=True)
            loss = loss + 0.5 * R1_WEIGHT * R1_EVERY * slope.square().sum((1, 2, 3)).mean()
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimizer.step()
        return {
            "real": float(real.detach().gt(0).float().mean()),
            "fake_rec": float(fake[: len(photos)].detach().gt(0).float().mean()),
            "fake_new": float(fake[len(photos) :].detach().gt(0).float().mean()),
        }
