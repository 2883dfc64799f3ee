"""What a mini StyleGAN2 learns from: losses, and one step of training.

An encoder is trained with the generator, which starts the methods' inversions. Photos go through
encoder and generator and must come back (L1, and the features that the critic looks at); a critic
that knows ImageNet (:mod:`.projected_critic`) judges what comes back and what the mapping network's
latents give; and the mapping network follows the distribution of the encoder's latents (sliced
Wasserstein distance), so that its pictures are like those that the generator has learned to draw.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from .adversarial_loop import rate_at
from .imagenet_teacher import ImageNetTeacher
from .projected_critic import ProjectedCritic
from .stylegan2_parts import augment, relative_distance, sliced_wasserstein
from .stylegan2_recipes import FacesRecipe
from .unet import to_model_range

CRITIC_SEED = 7
NEW = 12  # pictures of new latents, beside as many that come back of photos
# peaks; the generator's weights are scaled at run time, the mapping network's by another hundredth
RATES = {"generator": 2e-3, "mapping": 0.1, "encoder": 4e-4}
CRITIC_RATE = 1e-3
BETAS = (0.0, 0.99)
EMA = 0.998
RAMP = 100  # steps in which the critic's weight rises
ADVERSARIAL, PIXELS, FEATURE, LATENT, OFFSETS = 0.2, 2.0, 1.0, 1.0, 0.01
QUEUE = 512  # encoded latents that the mapping network is compared with
TEACHER_SIDE = 128  # pixels at which the teacher looks
SHOWN = 16  # held-out pictures on a sheet


class Training:
    """Generator with encoder, critic, their optimisers, and one step of both.

    Raises:
        DataError: the packages of the critic's teacher are not installed.
    """

    def __init__(self, recipe: FacesRecipe, steps: int, device: torch.device) -> None:
        self.name = recipe.name
        self.recipe, self.steps, self.device = recipe, steps, device
        self._shown = to_model_range(recipe.held_out[:SHOWN]).to(device)
        self.model = recipe.build().to(device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.teacher = ImageNetTeacher(device)
        self.critic = ProjectedCritic(CRITIC_SEED).to(device)
        parts: dict[str, list[nn.Parameter]] = {"generator": [], "mapping": [], "encoder": []}
        for name, parameter in self.model.named_parameters():
            part = {"style": "mapping", "encoder": "encoder"}.get(name.split(".")[0], "generator")
            parts[part].append(parameter)
        groups = [{"params": parts[part], "peak": RATES[part]} for part in parts]
        self.optimizer = torch.optim.Adam(groups, betas=BETAS)
        self.critic_optimizer = torch.optim.Adam(
            self.critic.critics.parameters(), lr=CRITIC_RATE, betas=BETAS
        )
        self.queue = torch.zeros(QUEUE, recipe.config.style_dim, device=device)
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

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        """Held-out pictures, what the encoder's latents give (w, then W+), and new pictures."""
        model, photos = self.ema, self._shown
        assert model.encoder is not None
        shared, offsets = model.encoder.parts(photos)
        draws = torch.Generator().manual_seed(0)
        z = torch.randn(2 * len(photos), model.config.style_dim, generator=draws)
        base = model.latent_avg
        rows = [
            photos,
            model(base + shared),
            model(base + shared[:, None] + offsets),
            *torch.split(model(model.map(z.to(photos))), len(photos)),
        ]
        grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
        values = ((grid.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        Image.fromarray(values.permute(1, 2, 0).cpu().numpy()).save(path)

    def advance(self) -> dict[str, float]:
        """One step of the generator and one of the critic; the losses."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate_at(self.step, self.steps)
        photos = self.recipe.photos(generator).to(self.device)
        real, fake, parts = self._generator_step(photos, generator)
        parts |= self._critic_step(real, fake)
        weight = 1.0 - min(EMA, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.parameters()), [p.detach() for p in self.model.parameters()], weight
            )
        self.step += 1
        return parts

    def _generator_step(
        self, photos: Tensor, generator: torch.Generator
    ) -> tuple[list[Tensor], list[Tensor], dict[str, float]]:
        """Losses, and the teacher's maps of photos and of pictures for the critic's step."""
        model, count = self.model, len(photos)
        assert model.encoder is not None
        z = torch.randn(QUEUE, self.recipe.config.style_dim, generator=generator).to(self.device)
        mapped = model.map(z)
        # offsets are left out for half of the photos: w alone must tell most of a face
        kept = (torch.rand(count, generator=generator) < 0.5).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            shared, offsets = model.encoder.parts(photos)
            shared, offsets = shared.float(), offsets.float()
            encoded = shared[:, None] + offsets * kept[:, None, None]
            encoded = torch.cat([encoded, model.broadcast(mapped[:NEW])])
            pictures = model(encoded, model.random_noise(len(encoded), generator)).float()
            # a photo and what came back of it are moved alike, so that their maps can be compared
            before = generator.get_state()
            moved_photos = augment(photos, generator)
            generator.set_state(before)
            moved = [augment(pictures[:count], generator)]
            generator.set_state(before)
            moved += [augment(pictures[count:], generator)]
            with torch.no_grad():
                real = self.teacher.pyramid(moved_photos, TEACHER_SIDE)
            fake = self.teacher.pyramid(torch.cat(moved), TEACHER_SIDE)
            self.critic.critics.requires_grad_(False)
            adversarial = -self.critic(fake).mean()
            self.critic.critics.requires_grad_(True)
        features = relative_distance([maps[:count] for maps in fake], real)
        pixels = (pictures[:count] - photos).abs().mean()
        self.queue = torch.cat([self.queue[count:], shared.detach()])
        filled = min(QUEUE, (self.step + 1) * count)
        latent = sliced_wasserstein(mapped[:filled], self.queue[-filled:], generator)
        loss = (
            PIXELS * pixels + FEATURE * features + LATENT * latent
            + ADVERSARIAL * min(1.0, self.step / RAMP) * adversarial
            + OFFSETS * offsets.square().mean()
        )  # fmt: skip
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        self.optimizer.step()
        return real, [maps.detach() for maps in fake], {
            "pixels": float(pixels.detach()), "features": float(features.detach()),
            "adversarial": float(adversarial.detach()), "latent": float(latent.detach()),
            "spread": float(shared.detach().std(0).mean()),
        }  # fmt: skip

    def _critic_step(self, real: list[Tensor], fake: list[Tensor]) -> dict[str, float]:
        """The hinge loss of the maps of photos [P, ...] and of pictures [P + NEW, ...]."""
        with torch.autocast(self.device.type, torch.bfloat16):
            photos, pictures = self.critic(real), self.critic(fake)
        loss = F.relu(1 - photos).mean() + F.relu(1 + pictures).mean()
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimizer.step()
        count = len(photos)
        return {
            "real": float(photos.detach().mean()),
            "fake_rec": float(pictures[:count].detach().mean()),
            "fake_new": float(pictures[count:].detach().mean()),
        }
