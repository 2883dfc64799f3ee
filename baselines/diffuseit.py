"""DiffuseIT: image translation with disentangled style and content, as its code does it.

Kwon and Ye, ICLR 2023 (arXiv 2209.15264); ``cyclomon/DiffuseIT`` at commit 8386b9a. Guided by a
prompt or, for batches with style images, by an image. What its code does beside its equations:

- CLIP and (with ``noise_mix``) all ViT losses see a mixture of x0_hat and x_t, not x0_hat;
- the first step is repeated and undone with the beta of the step *before* it; its ``resample_num``
  is without effect, and under DDIM nothing is repeated;
- the semantic divergence compares with what the step before saw, in early steps only;
- the self-similarity of keys is a mean square and holds the class token's key;
- ``use_prog_contrast`` has a second stage (0.25 above -0.4) that can never be reached;
- with the range restart, a step below the first whose range loss is too high starts all over with
  fresh noise, while CLIP loss and image of the step before are carried over;
- what is shown is the last x0_hat (unguided under DDPM), not the last sample;
- colours are matched only after image guidance, and the picture is stretched to the full range.

Different here: a sample restarts ``max_restarts`` times at most (upstream without end); images are
saved without colour matching, too; one picture is made, where upstream makes ten and drops those
after a flag; the U-Net is not halved; a view is drawn for each sample by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.diffuseit_config import DiffuseITConfig
from baselines.diffuseit_losses import (
    clip_loss,
    clip_target,
    cut_views,
    draw_views,
    face_region,
    key_contrast_loss,
    match_colours,
    read_vit,
    resized,
    structure_loss,
)
from benchmark.diffusion.process import DiffusionProcess
from benchmark.diffusion.schedule import Schedule
from benchmark.errors import UsageError
from benchmark.guidance.gradient import LossGradient
from benchmark.guidance.losses import mean_squared, range_penalty
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

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo

_FACES = "faces"
# shares of the source prompt and the source image in the target of the CLIP loss
_SOURCE_TEXT, _SOURCE_IMAGE = 0.4, 0.2
_TEMPERATURE = 0.07


@dataclass
class _Edit:
    """What guides the samples at work; every tensor has a row for each of them.

    ``targets`` holds one [R, D] for each CLIP and is empty under image guidance. ``token`` [R, D],
    the class token of what the step before saw, and ``clip_loss`` [R] change from step to step.
    """

    noise: NoiseSource
    images: Tensor
    labels: Tensor | None
    faces: Tensor
    identity: Tensor | None
    keys: Tensor
    targets: tuple[Tensor, ...]
    style: Tensor | None
    style_token: Tensor | None
    token: Tensor
    clip_loss: Tensor

    def select(self, rows: Tensor) -> _Edit:
        """The rows of some samples; what changes is a copy."""
        if len(rows) == len(self.images):
            return replace(self)
        chosen = {name: v[rows] for name, v in vars(self).items() if isinstance(v, Tensor)}
        ids = [self.noise.sample_ids[row] for row in rows.tolist()]
        noise = NoiseSource(self.noise.run_seed, ids, self.noise.device)
        targets = tuple(target[rows] for target in self.targets)
        return replace(self, noise=noise, targets=targets, **chosen)

    def update(self, rows: Tensor, part: _Edit) -> None:
        """Keep what a step has changed."""
        self.token = self.token.index_copy(0, rows, part.token)
        self.clip_loss = self.clip_loss.index_copy(0, rows, part.clip_loss)


class DiffuseIT(StyleTransferMethod):
    """The official editor behind the common interface."""

    Config: ClassVar[type[MethodConfig]] = DiffuseITConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="DiffuseIT",
        paper="arXiv 2209.15264",
        upstream="github.com/cyclomon/DiffuseIT@8386b9a",
        roles=("denoiser", "guide", "dino", "face"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT, Guidance.IMAGE})
    config: DiffuseITConfig

    def __init__(self, config: DiffuseITConfig) -> None:
        super().__init__(config)
        self.config = config
        self.process = DiffusionProcess(Schedule.linear(config.respacing))
        names = (
            "clip", "structure", "contrastive", "divergence", "style_class", "style_l2", "identity",
            "range",
        )  # fmt: skip
        self._weights = {name: float(getattr(config, name)) for name in names}

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        self.denoiser = zoo.denoiser()
        self.clips = nn.ModuleList(zoo.clip(role) for role in self.config.clip_roles)
        self.vit = zoo.dino()
        if self.config.vit_size % self.vit.patch:
            raise UsageError(
                f"vit_size ({self.config.vit_size}) must be a multiple of the ViT's patches of "
                f"{self.vit.patch} pixels"
            )
        self.face = zoo.face() if self.config.identity else None

    @torch.no_grad()
    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class. A batch with ``style_images`` is guided by them, not by prompts."""
        edit = self._begin(batch, noise)
        out = torch.empty_like(batch.images)
        rows = torch.arange(len(out), device=out.device)
        for attempt in range(self.config.max_restarts + 1):
            rows = self._attempt(edit, rows, attempt, out)
            if not len(rows):
                break
        if batch.style_images is not None and self.config.colour_match:
            return match_colours(out, batch.style_images)
        return out

    def _begin(self, batch: StyleBatch, noise: NoiseSource) -> _Edit:
        images, size = batch.images, self.config.vit_size
        domains = [request.domain for request in batch.requests]
        faces = torch.tensor([domain == _FACES for domain in domains], device=images.device)
        with phase("vit"):
            keys, token = read_vit(self.vit, images, size)
            style_token = None
            if batch.style_images is not None:
                _, style_token = read_vit(self.vit, batch.style_images, size)
        targets: tuple[Tensor, ...] = ()
        losses = [torch.zeros(len(images), device=images.device)]
        if batch.style_images is None:
            with phase("clip"):
                sources = [self._embed(clip, images) for clip in self.clips]
                targets = tuple(
                    self._target(clip, seen, batch.requests)
                    for clip, seen in zip(self.clips, sources, strict=True)
                )
                losses = [
                    clip_loss(seen[:, None], target)
                    for seen, target in zip(sources, targets, strict=True)
                ]
        return _Edit(
            noise=noise,
            images=images,
            labels=self.denoiser.labels(domains, images.device),
            faces=faces,
            identity=self._identity(images) if faces.any() else None,
            keys=keys,
            targets=targets,
            style=batch.style_images,
            style_token=style_token,
            token=token,
            clip_loss=torch.stack(losses).mean(0),
        )

    def _embed(self, clip: nn.Module, images: Tensor) -> Tensor:
        embeddings: Tensor = clip.encode_image(resized(images, clip.input_size))  # type: ignore[operator, arg-type]
        return F.normalize(embeddings, dim=-1)

    def _target(self, clip: nn.Module, seen: Tensor, requests: tuple[StyleRequest, ...]) -> Tensor:
        known: dict[str, Tensor] = {}
        for request in requests:
            for text in (request.prompt, request.source_prompt):
                if text is None or not text.strip():
                    raise UsageError(
                        f"sample {request.sample_id} has neither a prompt nor a style image: "
                        "DiffuseIT needs one of them, and a source prompt with a prompt"
                    )
                if text not in known:
                    phrasings = [form(text) for form in self._forms()]
                    mean = clip.encode_text(phrasings).mean(0)  # type: ignore[operator]
                    known[text] = F.normalize(mean, dim=-1)
        target = torch.stack([known[str(request.prompt)] for request in requests])
        source = torch.stack([known[request.source_prompt] for request in requests])
        return clip_target(target, source, seen, _SOURCE_TEXT, _SOURCE_IMAGE)

    def _forms(self) -> list[Callable[[str], str]]:
        """Phrasings of a prompt: upstream's are OpenAI's for ImageNet but for one."""
        if not self.config.templates:
            return [str]
        import open_clip

        forms: list[Callable[[str], str]] = list(open_clip.OPENAI_IMAGENET_TEMPLATES)
        return [form for form in forms if not form("").startswith("a photo of many")]

    def _identity(self, images: Tensor) -> Tensor | None:
        if self.face is None:
            return None
        return self.face.embed(face_region(images, self.face.input_size))

    def _attempt(self, edit: _Edit, rows: Tensor, attempt: int, out: Tensor) -> Tensor:
        """Run the reverse process for some samples; returns those that have to start again."""
        config, top = self.config, self.config.t0 - 1
        shape = edit.images.shape[1:]
        part = edit.select(rows)
        x = self.process.q_sample(part.images, top, part.noise.normal(f"start/{attempt}", shape))
        shown, stopped = x, [rows[:0]]
        for step in reversed(range(config.t0)):
            repeats = config.resamples if step == top and config.sampler == "ddpm" else 1
            may_restart = (
                config.range_restart and attempt < config.max_restarts
                and step > 0 and self.process.schedule.truncated_step(step) < top
            )  # fmt: skip
            for repeat in range(repeats):
                part = edit.select(rows)
                x, shown, outside = self.guided_step(x, step, part, f"{attempt}/{step}/{repeat}")
                edit.update(rows, part)
                if repeat + 1 < repeats:
                    draw = part.noise.normal(f"undo/{attempt}/{repeat}", shape)
                    x = self._undo(x, top - 1, draw)
                if may_restart:
                    limit = torch.where(
                        part.faces, config.restart_above_faces, config.restart_above
                    )
                    again = outside > limit
                    stopped.append(rows[again])
                    rows, x, shown = rows[~again], x[~again], shown[~again]
                if not len(rows):
                    return torch.cat(stopped).sort().values
        out[rows] = shown
        return torch.cat(stopped).sort().values

    def _undo(self, x: Tensor, step: int, draw: Tensor) -> Tensor:
        """Noise a sample by the beta of ``step``; upstream's is that of the sample, not of x_t."""
        beta = float(self.process.schedule.betas[step])
        return float(np.sqrt(1 - beta)) * x + float(np.sqrt(beta)) * draw

    @torch.no_grad()
    def guided_step(
        self, x: Tensor, step: int, edit: _Edit, key: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One guided reverse step; changes ``edit.token`` and ``edit.clip_loss``.

        Args:
            x: [B, 3, H, W] at respaced step ``step``.
            key: part of the purposes of random draws.

        Returns:
            x_{t-1}, the picture that upstream shows for this step, and the weighted range loss [B].
        """

        def denoise(xt: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.denoiser(xt, t, edit.labels)
            return out

        ddim = self.config.sampler == "ddim"
        believed = self.process.schedule.truncated_step(step)
        plain = None
        with phase("denoiser"):
            if believed != step or (step == 0 and not ddim):
                plain = self.process.predict(denoise, x, step)
        if step == 0 and not ddim and plain is not None:
            # the last x0_hat is shown: its guidance is not seen
            return plain.x0_hat, plain.x0_hat, torch.zeros(len(x), device=x.device)
        xt = x.detach().requires_grad_()
        with torch.enable_grad(), phase("denoiser"):
            prediction = self.process.predict(denoise, xt, believed)
        share = float(np.sqrt(1.0 - self.process.schedule.alphas_cumprod[believed]))
        mixture = LossGradient(prediction.x0_hat.detach() * share + x * (1 - share))
        bare = LossGradient(prediction.x0_hat)
        with torch.enable_grad():
            outside = self._differentiate(mixture, bare, believed, edit, key)
        mixture.report(step)
        bare.report(step)
        with phase("denoiser"):
            (through,) = torch.autograd.grad(
                prediction.x0_hat, xt, share * mixture.total + bare.total
            )
        gradient = through + (1 - share) * mixture.total
        plain = plain or prediction
        x0_hat = plain.x0_hat.detach()
        draw = edit.noise.normal(f"reverse/{key}", x.shape[1:])
        if ddim:
            moved = self.process.conditioned_ddim_step(x, x0_hat, step, gradient, 0.0, draw)
            return *moved, outside
        width: Tensor | float = float(self.process.schedule.posterior_log_variance_clipped[step])
        if plain.log_variance is not None:
            width = plain.log_variance.detach()
        x = self.process.conditioned_ddpm_step(x, x0_hat, step, gradient, width, draw)
        return x, x0_hat, outside

    def _differentiate(
        self, mixture: LossGradient, bare: LossGradient, believed: int, edit: _Edit, key: str
    ) -> Tensor:
        """Add up the gradients at the mixture and at x0_hat; returns the weighted range loss."""
        config, weights = self.config, self._weights
        emphasis = self._emphasis(edit)
        seen = mixture if config.noise_mix else bare
        if edit.targets and config.clip:
            with phase("clip"):
                loss = self._clip_loss(mixture.image, edit, key)
                mixture.add({"clip": loss}, weights)
                edit.clip_loss = loss.detach()
        with phase("vit"):
            keys, token = read_vit(self.vit, seen.image, config.vit_size)
            losses = {
                "structure": structure_loss(keys, edit.keys),
                "contrastive": emphasis * key_contrast_loss(keys, edit.keys, _TEMPERATURE),
            }
            if believed > config.divergence_above:
                losses["divergence"] = -mean_squared(token, edit.token)
            if edit.style_token is not None:
                losses["style_class"] = mean_squared(token, edit.style_token)
            seen.add(losses, weights)
            edit.token = token.detach()
        with phase("content"):
            if edit.style is not None:
                seen.add({"style_l2": mean_squared(seen.image, edit.style)}, weights)
            if edit.identity is not None:
                found = self._identity(seen.image)
                assert found is not None
                loss = 1 - (found * edit.identity).sum(-1)
                seen.add({"identity": torch.where(edit.faces, loss, 0.0)}, weights)
            bare.add({"range": range_penalty(bare.image)}, weights)
        return bare.values["range"]

    def _emphasis(self, edit: _Edit) -> Tensor:
        """Factor of the contrastive loss, by the CLIP loss of the step before -> [B]."""
        emphasis = torch.ones_like(edit.clip_loss)
        if edit.targets and self.config.progressive_contrast:
            emphasis = torch.where(edit.clip_loss > -0.5, 0.5, emphasis)
        if edit.targets and self.config.regularize_content:
            emphasis = torch.where(edit.clip_loss < -0.5, 2.0, emphasis)
        return emphasis

    def _clip_loss(self, images: Tensor, edit: _Edit, key: str) -> Tensor:
        """Mean over the CLIPs, each with views of its own -> [B]."""
        losses = []
        for place, (clip, target) in enumerate(zip(self.clips, edit.targets, strict=True)):
            views = draw_views(
                edit.noise, f"views/{key}/{place}", self.config.n_views, images.shape[-1]
            )
            crops = cut_views(images, views, clip.input_size)  # type: ignore[arg-type]
            embeddings = clip.encode_image(crops)  # type: ignore[operator]
            losses.append(clip_loss(embeddings.view(len(images), -1, embeddings.shape[1]), target))
        return torch.stack(losses).mean(0)
