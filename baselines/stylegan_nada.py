"""StyleGAN-NADA: a generator moved into a style by CLIP alone, as its code does it.

Gal, Patashnik, Maron, Bermano, Chechik and Cohen-Or, SIGGRAPH 2022 (arXiv 2108.00946);
``rinongal/StyleGAN-nada`` at commit dc8406a, ``ZSSGAN/``. A copy of the generator is tuned for a
prompt on sampled latents until the change of its pictures in CLIP space has the direction from the
source prompt to the target; a photo is inverted with the frozen generator and shown by the tuned
one. Kept of its code:

- both prompts go through 79 ImageNet templates, embeddings are unit vectors *before* differences;
- the layers to train are chosen anew in every step, by how far one step of SGD (rate 0.01) on the
  distance to the bare target prompt moves each row of W+ ... of the copy that is being tuned;
- row k chooses the k-th of (conv1, to_rgb1, convs...), although row k is read by convs[k - 1] and
  to_rgb1 reads row 1; the other to_rgb layers and the learned constant are never trained so;
- without the choice (``auto_layer_iters`` 0) constant, conv1 and convs are trained;
- frozen and tuned generator draw different noise maps, so their difference is never quite zero;
- Adam runs with beta1 = 0 and, under the pinned PyTorch 1.7.1, over all layers: those that are not
  chosen have zero gradients, which move nothing but count in the second moment;
- pictures are resized for CLIP without antialiasing.

Different here: one CLIP guides, not the sum over ViT-B/32 and ViT-B/16; all random numbers of the
tuning come from a generator of its own (``tuning_seed``; upstream seeds the global one with 2); no
pictures are sampled on the way; latents are not mixed (``mixing`` is 0 in the official command).
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from baselines.clipstyler import templated
from baselines.stylegan_inversion import (
    InversionConfig,
    Inverter,
    as_shown,
    prompt_of,
)
from benchmark.errors import UsageError
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.profiling import phase
from benchmark.tuning import TunedWeights

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.stylegan2 import StyleGan2

log = logging.getLogger(__name__)

_LATENT_RATE = 0.01  # of the SGD that chooses layers
VERSION = 1  # of the training; raise it with every change that moves the weights


class StyleGanNadaConfig(InversionConfig):
    """Defaults are the command of the official README (flags' names in the descriptions)."""

    iterations: int = Field(default=301, ge=1, description="iter")
    batch: int = Field(default=2, ge=1, description="batch, sampled latents a step")
    learning_rate: float = Field(default=0.002, gt=0, description="lr, before the ratio")
    regularise_every: int = Field(
        default=4, ge=1, description="g_reg_every: the ratio r / (r + 1) of rate and betas"
    )
    direction: float = Field(default=1.0, gt=0, description="lambda_direction")
    auto_layer_k: int = Field(
        default=18,
        ge=1,
        description="auto_layer_k, layers a step; 18 is all of them at 1024 pixels",
    )
    auto_layer_iters: int = Field(
        default=1, ge=0, description="auto_layer_iters, 0 trains all but mapping and colours"
    )
    auto_layer_batch: int = Field(default=8, ge=1, description="auto_layer_batch")
    templates: bool = Field(
        default=True, description="wrap prompts in 79 ImageNet templates (fixed upstream)"
    )
    tuning_seed: int = Field(
        default=0, ge=0, description="of the sampled latents and noise; the run's seed has no part"
    )


# what the inversion reads decides no weight
_TUNING = tuple(
    name for name in StyleGanNadaConfig.model_fields if name not in InversionConfig.model_fields
)


class StyleGanNada(StyleTransferMethod):
    """Tunes a generator for each prompt and shows photos through it."""

    Config: ClassVar[type[MethodConfig]] = StyleGanNadaConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="StyleGAN-NADA",
        paper="arXiv 2108.00946",
        upstream="github.com/rinongal/StyleGAN-nada@dc8406a",
        roles=("generator", "guide", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: StyleGanNadaConfig

    def __init__(self, config: StyleGanNadaConfig) -> None:
        super().__init__(config)
        self.config = config
        self.cache = TunedWeights("stylegan-nada", version=VERSION)

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.frozen = zoo.generator()
        self.clip = zoo.clip("guide")
        self.invert = Inverter(self.frozen, zoo.vgg(), self.config)
        hashes = zoo.verified_hashes(["generator", "guide"])
        self._models = {role: found["sha256"] for role, found in hashes.items()}

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class.

        Raises:
            UsageError: a prompt that is missing or that the text encoder cannot read, source and
                target prompts that are the same.
            WeightsError: the cache of tuned weights is damaged or cannot be written.
        """
        outputs = []
        for place, request in enumerate(batch.requests):
            prompt = prompt_of("stylegan-nada", request)
            tuned = self.tuned(prompt, request.source_prompt, request.domain)
            image = batch.images[place : place + 1]
            latent = self.invert(image, request.image_id, noise)
            with torch.no_grad(), phase("generator"):
                outputs.append(as_shown(tuned(latent), image))
        return torch.cat(outputs)

    def tuned(self, prompt: str, source_prompt: str, domain: str) -> StyleGan2:
        """The generator for a prompt, from the cache or tuned now."""
        facts: dict[str, Any] = {
            "prompt": prompt,
            "source_prompt": source_prompt,
            "domain": domain,
            "models": self._models,
            "config": self.config.model_dump(mode="json", include=set(_TUNING)),
        }

        def train() -> dict[str, Tensor]:
            with phase("tuning"):
                model = self.tune(
                    self.text_direction(source_prompt, prompt), self.unit_text(prompt)
                )
            return {name: value for name, value in model.named_parameters() if _tunable(name)}

        state = self.cache.get(facts, train)
        model = copy.deepcopy(self.frozen)
        model.load_state_dict(state, strict=False)
        return model

    @torch.no_grad()
    def unit_text(self, prompt: str) -> Tensor:
        """Unit embedding [1, D] of the bare prompt, which chooses the layers."""
        return F.normalize(self.clip.encode_text([prompt]), dim=-1)

    @torch.no_grad()
    def text_direction(self, source: str, target: str) -> Tensor:
        """Unit direction [1, D] from one prompt to the other, over the templates.

        Raises:
            UsageError: the prompts are the same, or one cannot be read.
        """
        if source.strip() == target.strip():
            raise UsageError(
                f"the prompt and the source prompt are both {target!r}, so there is no direction "
                "to move in: name another style or another --source-prompt"
            )
        ends = []
        for prompt in (source, target):
            if not prompt.strip():
                raise UsageError(f"the prompt {prompt!r} is empty: describe the style in words")
            texts = templated(prompt) if self.config.templates else [prompt]
            ends.append(F.normalize(self.clip.encode_text(texts), dim=-1))
        return F.normalize((ends[1] - ends[0]).mean(0, keepdim=True), dim=-1)

    def tune(self, direction: Tensor, target: Tensor) -> StyleGan2:
        """A copy of the generator, tuned.

        Args:
            direction: [1, D], unit direction of the prompts.
            target: [1, D], unit embedding of the target prompt.
        """
        config, device = self.config, self.frozen.latent_avg.device
        model = copy.deepcopy(self.frozen)
        draws = torch.Generator().manual_seed(config.tuning_seed)
        ratio = config.regularise_every / (config.regularise_every + 1)
        parameters = [p for name, p in model.named_parameters() if _tunable(name)]
        optimiser = torch.optim.Adam(
            parameters, lr=config.learning_rate * ratio, betas=(0.0**ratio, 0.99**ratio)
        )
        if not config.auto_layer_iters:
            _train_only(model, [model.input, model.conv1, model.convs])
        for step in range(config.iterations):
            z = torch.randn(config.batch, model.config.style_dim, generator=draws).to(device)
            if config.auto_layer_iters:
                _train_only(model, self.choose_layers(model, target, draws))
            with torch.no_grad():
                w = self.frozen.map(z)
                before = self.embed(self.frozen(w, self.frozen.random_noise(len(w), draws)))
            with torch.enable_grad():
                after = model(w, model.random_noise(len(w), draws))
                loss = config.direction * self.direction_loss(after, before, direction)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            log.debug("step %d: %.4g", step, loss.detach())
            optimiser.step()
        return model.requires_grad_(False)

    def choose_layers(
        self, model: StyleGan2, target: Tensor, draws: torch.Generator
    ) -> list[nn.Module]:
        """The layers whose rows of W+ the target prompt moves most (section 4.2 of the paper)."""
        config = self.config
        z = torch.randn(config.auto_layer_batch, model.config.style_dim, generator=draws)
        with torch.no_grad():
            start = model.broadcast(self.frozen.map(z.to(target))).clone()
        rows = start.clone().requires_grad_()
        model.requires_grad_(False)
        for _ in range(config.auto_layer_iters):
            with torch.enable_grad():
                pictures = model(rows, model.random_noise(len(rows), draws))
                loss = (1 - self.embed(pictures) @ target.T).mean()
                (gradient,) = torch.autograd.grad(loss, rows)
            rows = (rows - _LATENT_RATE * gradient).detach().requires_grad_()
        moved = (rows.detach() - start).abs().mean((0, 2))
        layers = [model.conv1, model.to_rgb1, *model.convs]
        chosen = torch.topk(moved, min(config.auto_layer_k, len(layers))).indices
        return [layers[index] for index in chosen.tolist()]

    def embed(self, pictures: Tensor) -> Tensor:
        """Unit CLIP embeddings [N, D] of pictures [N, 3, S, S] in about [-1, 1]."""
        side = self.clip.input_size
        if tuple(pictures.shape[2:]) != (side, side):
            pictures = F.interpolate(
                pictures, size=(side, side), mode="bicubic", align_corners=False
            )
        return F.normalize(self.clip.encode_image(pictures), dim=-1)

    def direction_loss(self, pictures: Tensor, before: Tensor, direction: Tensor) -> Tensor:
        """Mean of 1 - cosine between the change of the pictures and the prompts' direction.

        Args:
            pictures: [N, 3, S, S] of the tuned generator.
            before: [N, D], unit embeddings of the frozen one's.
            direction: [1, D].
        """
        change = self.embed(pictures) - before
        if change.sum() == 0:
            change = self.embed(pictures + 1e-6) - before
        return (1 - F.cosine_similarity(change, direction)).mean()


def _tunable(name: str) -> bool:
    """All that upstream's optimiser can move: not the mapping network, nor an encoder."""
    return name.split(".")[0] in ("input", "conv1", "to_rgb1", "convs")


def _train_only(model: StyleGan2, layers: list[nn.Module]) -> None:
    model.requires_grad_(False)
    for layer in layers:
        layer.requires_grad_(True)
