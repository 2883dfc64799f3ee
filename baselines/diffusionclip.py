"""DiffusionCLIP: a denoiser fine-tuned for each prompt, between inversion and sampling.

Kim, Kwon and Ye, CVPR 2022 (arXiv 2110.02711); ``gwang-kim/DiffusionCLIP`` at commit e4bfb25,
``clip_finetune`` and ``edit_one_image``. Where code and paper differ the code is followed:

- the directional loss enters as -log((1 + cos) / 2), which the paper does not mention;
- a text's direction is the mean over 79 ImageNet templates of differences of unit embeddings;
- the timesteps are ``int(k t0 / (n - 1))``: the paper's skipping needs no division, so t0 itself is
  visited, and inversion makes one step fewer than sampling;
- the learning rate *rises* by 1.3 after every round over the photographs;
- the identity loss crops the middle of the image, without alignment.

One thing differs: the code tunes on the dataset's training photographs, which a method behind this
interface does not have. ``training_images`` names a folder of them; without it, windows of the
photographs that installed packages ship are taken (:mod:`baselines.training_photos`).
"""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from baselines.clipstyler import templated
from baselines.diffuseit_losses import face_region
from baselines.training_photos import TrainingPhotos, training_photos
from benchmark.diffusion.schedule import Schedule
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleRequest,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.profiling import phase
from benchmark.tuning import TunedWeights

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.clip import ClipEncoder
    from benchmark.zoo.denoiser import Denoiser

VERSION = 1  # of the fine-tuning: raise it when its weights change
_CLEAN = -1  # the timestep after the last one, where nothing is noise
_FACES = "faces"


class DiffusionClipConfig(MethodConfig):
    """Defaults are the fine-tuning command of the official README (flags in the descriptions)."""

    t0: int = Field(default=500, ge=1, lt=1000, description="t_0, timestep of the return")
    inversion_steps: int = Field(default=40, ge=2, description="n_inv_step")
    train_steps: int = Field(default=6, ge=2, description="n_train_step")
    test_steps: int = Field(default=40, ge=2, description="n_test_step")
    clip: float = Field(default=3.0, ge=0, description="clip_loss_w, directional CLIP loss")
    l1: float = Field(default=1.0, ge=0, description="l1_loss_w, mean absolute difference")
    identity: float = Field(default=0.0, ge=0, description="id_loss_w, on faces")
    learning_rate: float = Field(default=8e-6, gt=0, description="lr_clip_finetune, Adam")
    learning_rate_growth: float = Field(
        default=1.3, gt=0, description="sch_gamma, factor after each round"
    )
    rounds: int = Field(default=5, ge=1, description="n_iter, rounds over the photographs")
    training_count: int = Field(default=50, ge=1, description="n_train_img")
    training_images: Path | None = Field(
        default=None, description="folder of photographs of the domain; none: those that ship"
    )
    model_ratio: float = Field(
        default=1.0, ge=0, le=1, description="model_ratio, share of the tuned model's noise"
    )
    templates: bool = Field(
        default=True, description="mean over 79 ImageNet prompt templates (fixed upstream)"
    )
    tuning_seed: int = Field(
        default=0, ge=0, description="of the photographs' windows; upstream shuffles its dataset"
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> DiffusionClipConfig:
        for name in ("inversion_steps", "train_steps", "test_steps"):
            if getattr(self, name) > self.t0 + 1:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) cannot exceed t0 + 1 ({self.t0 + 1})"
                )
        return self


def visited_timesteps(t0: int, count: int) -> list[int]:
    """Timesteps from 0 to ``t0``, truncated as upstream."""
    return [int(t) for t in np.linspace(0, 1, count) * t0]


def clip_loss(distance: Tensor) -> Tensor:
    """-log((2 - d) / 2) of a directional distance d in [0, 2]."""
    return -torch.log((2 - distance) / 2)


def directional(edited: Tensor, source: Tensor, direction: Tensor) -> Tensor:
    """1 - cos between the move of unit image embeddings and a text direction.

    Args:
        edited, source: [B, D], not normalised. direction: [D], unit.

    Returns:
        [B].
    """
    move = F.normalize(edited, dim=-1) - F.normalize(source, dim=-1)
    move = move / (move.norm(dim=-1, keepdim=True) + 1e-7)
    return 1 - F.cosine_similarity(move, direction[None])


@torch.no_grad()
def text_direction(clip: ClipEncoder, source: str, target: str, templates: bool) -> Tensor:
    """Unit direction from a source text to a target text, [D].

    Raises:
        UsageError: a text is empty or too long for the encoder.
    """
    there, here = (
        F.normalize(clip.encode_text(templated(text) if templates else [text]), dim=-1)
        for text in (target, source)
    )
    return F.normalize((there - here).mean(0), dim=-1)


class DiffusionClip(StyleTransferMethod):
    """The official fine-tuning and editing behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = DiffusionClipConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="DiffusionCLIP",
        paper="arXiv 2110.02711",
        upstream="github.com/gwang-kim/DiffusionCLIP@e4bfb25",
        roles=("denoiser", "guide", "face"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: DiffusionClipConfig

    def __init__(self, config: DiffusionClipConfig) -> None:
        super().__init__(config)
        self.config = config
        self._alphas_cumprod = Schedule.linear(1000).alphas_cumprod
        self._cache = TunedWeights("diffusionclip", VERSION)
        self._photos: dict[int, TrainingPhotos] = {}  # by size

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.denoiser = zoo.denoiser()
        self.clip = zoo.clip("guide")
        self.face = zoo.face() if self.config.identity else None
        # the zoo's models are shared and frozen, this one is changed
        self.tuned = copy.deepcopy(self.denoiser)
        used = [role for role in self.card.roles if role != "face" or self.config.identity]
        self._hashes = {role: facts["sha256"] for role, facts in zoo.verified_hashes(used).items()}

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class; a prompt whose weights are not cached is tuned for first."""
        batch.prompts()  # refuses a sample without one before anything is tuned
        outputs = []
        for index, request in enumerate(batch.requests):
            image = batch.images[index : index + 1]
            self.tuned.load_state_dict(self._weights(request, image.shape[-1]))
            labels = self.denoiser.labels([request.domain], image.device)
            with torch.no_grad():
                with phase("inversion"):
                    latent = self.invert(image, labels)
                with phase("denoiser"):
                    outputs.append(
                        self.sample(latent, labels, self.config.test_steps, self.config.model_ratio)
                    )
        return torch.cat(outputs)

    # --- the process ----------------------------------------------------------------------------

    def invert(self, image: Tensor, labels: Tensor | None) -> Tensor:
        """Latent at t0 of images [B, 3, H, W], by the denoiser as it was."""
        steps = visited_timesteps(self.config.t0, self.config.inversion_steps)
        x = image
        for here, there in itertools.pairwise(steps):
            x = self._move(x, here, there, self._eps(self.denoiser, x, here, labels))
        return x

    def sample(
        self, latent: Tensor, labels: Tensor | None, count: int, ratio: float = 1.0
    ) -> Tensor:
        """Deterministic sampling in ``count`` steps from t0.

        Args:
            ratio: share of the tuned denoiser's noise; the rest is the original's.
        """
        steps = visited_timesteps(self.config.t0, count)
        x = latent
        for here, there in itertools.pairwise([*reversed(steps), _CLEAN]):
            eps = self._eps(self.tuned, x, here, labels)
            if ratio < 1:
                eps = ratio * eps + (1 - ratio) * self._eps(self.denoiser, x, here, labels)
            x = self._move(x, here, there, eps)
        return x

    @staticmethod
    def _eps(denoiser: Denoiser, x: Tensor, timestep: int, labels: Tensor | None) -> Tensor:
        times = torch.full((len(x),), float(timestep), device=x.device)
        eps: Tensor = denoiser(x, times, labels)[:, :3]
        return eps.float()

    def _move(self, x: Tensor, here: int, there: int, eps: Tensor) -> Tensor:
        """DDIM with eta = 0 from one timestep to another, in either direction."""
        abar = float(self._alphas_cumprod[here])
        after = 1.0 if there == _CLEAN else float(self._alphas_cumprod[there])
        x0_hat = (x - eps * (1 - abar) ** 0.5) / abar**0.5
        moved: Tensor = after**0.5 * x0_hat + (1 - after) ** 0.5 * eps
        return moved

    # --- the fine-tuning ------------------------------------------------------------------------

    def _weights(self, request: StyleRequest, size: int) -> dict[str, Tensor]:
        photos = self._training_photos(size)
        config = self.config.model_dump(mode="json")
        for unread in ("test_steps", "model_ratio", "training_images"):
            del config[unread]
        facts: dict[str, Any] = {
            **config, "prompt": request.prompt, "source_prompt": request.source_prompt,
            "domain": request.domain, "size": size, "photos": photos.sha256, "models": self._hashes,
        }  # fmt: skip
        return self._cache.get(facts, lambda: self.fine_tune(request, photos.images))

    def _training_photos(self, size: int) -> TrainingPhotos:
        if size not in self._photos:
            self._photos[size] = training_photos(
                self.config.training_images, count=self.config.training_count, size=size,
                seed=self.config.tuning_seed,
            )  # fmt: skip
        return self._photos[size]

    def fine_tune(self, request: StyleRequest, photos: Tensor) -> dict[str, Tensor]:
        """Weights of a denoiser that samples the inverted photographs in the wanted style.

        Args:
            photos: [N, 3, S, S] in [-1, 1]; each is a batch of its own, as upstream.
        """
        device = next(self.denoiser.parameters()).device
        photos = photos.to(device)
        labels = self.denoiser.labels([request.domain], device)
        direction = text_direction(
            self.clip, request.source_prompt, str(request.prompt), self.config.templates
        )
        with torch.no_grad():
            latents = [self.invert(photo[None], labels) for photo in photos]
        self.tuned.load_state_dict(self.denoiser.state_dict())
        self.tuned.requires_grad_(True)
        optimizer = torch.optim.Adam(self.tuned.parameters(), lr=self.config.learning_rate)
        schedule = torch.optim.lr_scheduler.StepLR(
            optimizer, step_size=1, gamma=self.config.learning_rate_growth
        )
        try:
            with torch.enable_grad():
                for _ in range(self.config.rounds):
                    for photo, latent in zip(photos, latents, strict=True):
                        optimizer.zero_grad(set_to_none=True)
                        loss = self._loss(photo[None], latent, labels, direction, request)
                        loss.backward()  # type: ignore[no-untyped-call]
                        optimizer.step()
                    schedule.step()
        finally:
            self.tuned.requires_grad_(False).zero_grad(set_to_none=True)
        return {name: value.clone() for name, value in self.tuned.state_dict().items()}

    def _loss(
        self, photo: Tensor, latent: Tensor, labels: Tensor | None, direction: Tensor,
        request: StyleRequest,
    ) -> Tensor:  # fmt: skip
        """The weighted loss of one photograph."""
        config = self.config
        edited = self.sample(latent, labels, config.train_steps)
        total = config.clip * self._clip_loss(edited, photo, direction)
        total = total + config.l1 * F.l1_loss(photo, edited)
        if self.face is not None and request.domain == _FACES:
            size = self.face.input_size
            with torch.no_grad():
                wanted = self.face.embed(face_region(photo, size))
            seen = self.face.embed(face_region(edited, size))
            total = total + config.identity * (1 - (seen * wanted).sum(1)).mean()
        return total

    def _clip_loss(self, edited: Tensor, photo: Tensor, direction: Tensor) -> Tensor:
        with torch.no_grad():
            source = self.clip.encode_image(self.clip.resize(photo))
        seen = self.clip.encode_image(self.clip.resize(edited))
        return clip_loss(directional(seen, source, direction).mean())
