"""StyleCLIP by latent optimisation, as its code does it.

Patashnik, Wu, Shechtman, Cohen-Or and Lischinski, ICCV 2021 (arXiv 2103.17249), section 4;
``orpatashnik/StyleCLIP`` at commit f87a47f, ``optimization/run_optimization.py``. Kept of its code:

- the distance of the latents is a sum over W+, not a mean (equation 1 writes a norm), so the right
  weight depends on the generator's size;
- the identity term compares with the picture of the *starting latent*, not with the photo, and cuts
  its fixed window out of 256 pixels without looking for a face;
- the rate is ramped from 0, so the first step moves nothing, and what is shown is the last picture
  that was judged, one update behind the latent;
- CLIP sees the whole picture, upsampled and pooled, without crops or augmentation, and its values
  in [-1, 1] as they are, without CLIP's mean and standard deviation (``normalise``).

Different here: real photos are inverted by :mod:`baselines.stylegan_inversion` (upstream asks for a
latent file or starts from a random latent); the cosine is taken directly, where upstream divides
CLIP's logits by 100; the identity term is left out where the content is no face.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from baselines.stylegan_inversion import (
    InversionConfig,
    Inverter,
    area_resize,
    as_shown,
    prompt_of,
    ramped_rate,
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

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

log = logging.getLogger(__name__)

_FACES = "faces"
# the window of upstream's identity loss in a picture of 256 pixels: rows, columns
_FACE_SIDE, _FACE_ROWS, _FACE_COLUMNS = 256, slice(35, 223), slice(32, 220)


class StyleClipConfig(InversionConfig):
    """Defaults are those of the official script and notebook."""

    steps: int = Field(default=300, ge=1, description="step")
    learning_rate: float = Field(default=0.1, gt=0, description="lr")
    rampdown: float = Field(
        default=0.25, gt=0, le=1, description="rampdown, last share of the steps"
    )
    rampup: float = Field(default=0.05, gt=0, le=1, description="lr_rampup, first share")
    clip: float = Field(default=1.0, ge=0, description="weight of the CLIP term (fixed upstream)")
    normalise: bool = Field(
        default=False, description="give CLIP the values it was trained on (upstream does not)"
    )
    l2: float = Field(default=0.008, ge=0, description="l2_lambda, of a sum over W+")
    identity: float = Field(
        default=0.005, ge=0, description="id_lambda of the notebook (the script's default is 0)"
    )


class StyleClip(StyleTransferMethod):
    """Moves a photo's latent towards a prompt."""

    Config: ClassVar[type[MethodConfig]] = StyleClipConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="StyleCLIP (latent optimisation)",
        paper="arXiv 2103.17249",
        upstream="github.com/orpatashnik/StyleCLIP@f87a47f",
        roles=("generator", "guide", "face", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: StyleClipConfig

    def __init__(self, config: StyleClipConfig) -> None:
        super().__init__(config)
        self.config = config

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.generator = zoo.generator()
        self.clip = zoo.clip("guide")
        self.face = zoo.face() if self.config.identity else None
        self.invert = Inverter(self.generator, zoo.vgg(), self.config)

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class.

        Raises:
            UsageError: a prompt that is missing or that the text encoder cannot read.
        """
        outputs = []
        for place, request in enumerate(batch.requests):
            prompt = prompt_of("styleclip", request)
            with phase("clip"), torch.no_grad():
                text = F.normalize(self.clip.encode_text([prompt]), dim=-1)
            image = batch.images[place : place + 1]
            start = self.invert(image, request.image_id, noise)
            _, picture = self.edit(start, text, identity=request.domain == _FACES)
            outputs.append(as_shown(picture, image))
        return torch.cat(outputs)

    def edit(self, start: Tensor, text: Tensor, *, identity: bool = True) -> tuple[Tensor, Tensor]:
        """Optimise a latent.

        Args:
            start: [1, L, D].
            text: unit embedding of the prompt, [1, D].
            identity: keep the face's identity, if the config weighs it.

        Returns:
            The last latent [1, L, D], and the picture [1, 3, S, S] before its last update.
        """
        config = self.config
        own = None
        with torch.no_grad():
            picture = self.generator(start)
            if identity and self.face is not None:
                own = self.identity(picture)
        latent = start.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([latent], lr=config.learning_rate)
        for step in range(config.steps):
            optimiser.param_groups[0]["lr"] = ramped_rate(
                step / config.steps, config.learning_rate, config.rampdown, config.rampup
            )
            with torch.enable_grad():
                with phase("generator"):
                    picture = self.generator(latent)
                with phase("clip"):
                    loss = config.clip * self.clip_loss(picture, text).sum()
                loss = loss + config.l2 * (latent - start).square().sum()
                if own is not None:
                    with phase("face"):
                        alike = (self.identity(picture) * own).sum(1)
                        loss = loss + config.identity * (1 - alike).sum()
                with phase("generator"):
                    (gradient,) = torch.autograd.grad(loss, latent)
            log.debug("step %d: %.4g", step, loss.detach())
            latent.grad = gradient
            optimiser.step()
        return latent.detach(), picture.detach()

    def clip_loss(self, pictures: Tensor, text: Tensor) -> Tensor:
        """1 - cosine of pictures [N, 3, S, S] and a text's unit embedding [1, D] -> [N]."""
        view = area_resize(pictures, self.clip.input_size)
        if not self.config.normalise:
            view = self._without_normalisation(view)
        seen = self.clip.encode_image(view)
        return 1 - (F.normalize(seen, dim=-1) * text).sum(1)

    def _without_normalisation(self, view: Tensor) -> Tensor:
        """Undo beforehand what the encoder will do to an image's values."""
        visual: Any = self.clip.model.visual
        mean = view.new_tensor(visual.image_mean).view(3, 1, 1)
        std = view.new_tensor(visual.image_std).view(3, 1, 1)
        return 2 * (view * std + mean) - 1

    def identity(self, pictures: Tensor) -> Tensor:
        """Unit face embeddings [N, D] of pictures [N, 3, S, S], from upstream's fixed window."""
        if self.face is None:
            raise UsageError("the face embedder is loaded only where `identity` is above 0")
        if pictures.shape[2] != _FACE_SIDE:
            pictures = F.adaptive_avg_pool2d(pictures, (_FACE_SIDE, _FACE_SIDE))
        window = pictures[:, :, _FACE_ROWS, _FACE_COLUMNS]
        side = self.face.input_size
        return self.face.embed(F.adaptive_avg_pool2d(window, (side, side)))
