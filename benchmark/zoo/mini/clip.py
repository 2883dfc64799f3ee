"""Training recipe of the mini CLIPs and SigLIP: photos, paintings, stylised photos."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.zoo.clip import build_clip, is_sigmoid, normalise, tokenizer_of
from benchmark.zoo.loading import load_strictly
from benchmark.zoo.word_table import TABLE

from . import corpus
from .augment import Crops, centre_crops, random_crops
from .bank import CONTENT_PROMPTS, PHOTO, STYLE_PROMPTS, Bank, Facts, matches
from .led_pictures import LedPictures
from .style_path import OnThePath, StylePath
from .style_teacher import trained_style_teacher
from .trainer import Schedule, trained_before
from .unet import to_model_range
from .worst_near import worst_near

AUXILIARY = 0.5
_DIRECTION_KEPT = 0.9999  # cosine; float16 turns a row by less
# a caption fits many images, so the sum over all pairs is far larger than those over the two banks
SIGMOID_PAIRS = 0.1
LED_WEIGHT = 1.0


@dataclass(frozen=True)
class Plan:
    """What differs between the models.

    Attributes:
        architecture: the open_clip configuration; "" for that of the model's name.
        start: the model in the same work folder whose weights training starts from (of its image
            tower alone, if the loss is another one); "" for random ones.
        radius: of the ball (L2, on pixels in [-1, 1]) in which every picture is moved to where the
            loss is highest; 0 leaves them alone.
        half_styled, recoloured: pictures of :class:`StylePath` beside those of a batch.
        led: pictures of :class:`LedPictures` beside them.
        of_start: share of the weights it started from in the mean that ships.
    """

    seed: int
    batch_size: int
    learning_rate: float
    architecture: str = ""
    start: str = ""
    radius: float = 0.0
    half_styled: int = 0
    recoloured: int = 0
    led: int = 0
    of_start: float = 0.0


# a transformer needs many steps more than it needs large batches, and so does a sigmoid
PLANS = {
    "clip-guide-base": Plan(
        seed=11, batch_size=256, learning_rate=1.5e-3, architecture="clip-guide"
    ),
    "clip-guide-moved": Plan(
        seed=59,
        batch_size=160,
        learning_rate=1e-3,
        architecture="clip-guide",
        start="clip-guide-base",
        radius=4.0,
    ),
    "clip-guide-path": Plan(
        seed=61,
        batch_size=128,
        learning_rate=5e-4,
        architecture="clip-guide",
        start="clip-guide-moved",
        radius=4.0,
        half_styled=48,
        recoloured=32,
    ),
    "clip-guide": Plan(
        seed=71,
        batch_size=96,
        learning_rate=5e-4,
        start="clip-guide-path",
        radius=4.0,
        half_styled=32,
        recoloured=24,
        led=32,
        of_start=0.5,
    ),
    "clip-score": Plan(seed=23, batch_size=128, learning_rate=1e-3),
    "sigmoid-guide": Plan(seed=47, batch_size=128, learning_rate=1e-3, start="clip-guide-base"),
}


def sigmoid_pairs(logits: Tensor, positive: Tensor) -> Tensor:
    """Loss of SigLIP (Zhai et al. 2023, eq. 1): every pair is a decision of its own.

    Args:
        logits: [N, M]. positive: [N, M] bool.

    Returns:
        Sum over the pairs, divided by N.
    """
    sign = positive.float() * 2 - 1
    return -F.logsigmoid(sign * logits.float()).sum(1).mean()


def contrastive(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy of each row against the uniform distribution over its positives."""
    target = positive.float()
    target = target / target.sum(1, keepdim=True)
    return -(target * F.log_softmax(logits.float(), 1)).sum(1).mean()


def one_hot(index: Tensor, logits: Tensor) -> Tensor:
    """[N] classes as the positives [N, M] of ``logits``."""
    return F.one_hot(index, logits.shape[1]).bool()


def load_image_tower(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy the image encoder of another model of the same shape."""
    prefix = "visual."
    tower = {
        name.removeprefix(prefix): value
        for name, value in state.items() if name.startswith(prefix)
    }  # fmt: skip
    visual: Any = model.visual
    load_strictly(visual, tower, "the image tower of the SigLIP")


def drop_untaught_words(model: nn.Module, initial: dict[str, Tensor]) -> None:
    """Set the rows of words without a gradient in all of training to zero, in place.

    Weight decay alone leaves a row's direction as it was drawn.

    Args:
        model: after training.
        initial: its state dict before it.
    """
    for name, table in model.state_dict().items():
        if name.endswith(TABLE):
            alike = torch.cosine_similarity(table.float(), initial[name].float().to(table.device))
            table[alike > _DIRECTION_KEPT] = 0.0


def text_seed(name: str) -> int:
    """The seed that the text tower of a model began with, stages before its own."""
    while PLANS[name].start and not is_sigmoid(build_clip(PLANS[name].architecture or name)):
        name = PLANS[name].start
    return PLANS[name].seed


class ClipRecipe:
    """Contrastive or sigmoid training with several positives, and two banks of prompts besides.

    Args:
        name: a key of ``PLANS``.
        folder: the corpus.
        cache: folder of the stylised copies, in the work folder.
    """

    kind = "clip"
    domains: tuple[str, ...] = corpus.DOMAINS

    def __init__(
        self, name: str, folder: Path, cache: Path, *, steps: int, copies: int = 2
    ) -> None:
        self.name = name
        plan = PLANS[name]
        self.seed, self.batch_size = plan.seed, plan.batch_size
        self.config_name = plan.architecture or name
        self.start, self.radius, self.of_start = plan.start, plan.radius, plan.of_start
        self.work_dir = cache.parent
        self.schedule = Schedule(
            steps=steps,
            learning_rate=plan.learning_rate,
            warmup=150,
            weight_decay=0.1,
            ema_decay=0.998,
            betas=(0.9, 0.98),
        )
        # what is shown needs most of the picture, the style does not
        self.plain_crops, self.styled_crops = Crops(min_area=0.08, whole=0.75), Crops(whole=0.35)
        self.bank = Bank(folder, "train", cache, copies)
        self.held_out = Bank(folder, "test", cache, 1)
        self.style_path = None
        if plan.half_styled or plan.recoloured:
            self.style_path = StylePath(
                self.bank, plan.half_styled, plan.recoloured, self.styled_crops
            )
        self.led_pictures = None
        if plan.led:
            teacher = trained_style_teacher(self.work_dir)
            self.led_pictures = LedPictures(self.bank, teacher, plan.led, self.styled_crops)
        # registers the configuration, which the tokenizer reads
        self.sigmoid = is_sigmoid(build_clip(self.config_name))
        self.tokenizer: Any = tokenizer_of(self.config_name)
        self._style_tokens = self.tokenizer(list(STYLE_PROMPTS))
        self._content_tokens = self.tokenizer(list(CONTENT_PROMPTS))

    def build(self) -> nn.Module:
        model = build_clip(self.config_name, self.seed)
        if self.start:
            trained = trained_before(self.work_dir, self.start)
            if self.sigmoid:
                # the images are learnt already: what is new are the loss and the text tower
                load_image_tower(model, trained)
            else:
                load_strictly(model, trained, f"the {self.start} that training starts from")
        return model.to(memory_format=torch.channels_last)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Facts, Facts]:
        """Images [B, 3, 64, 64], tokens [B, L], and what is known of both."""
        bank = self.bank
        # styles are learnt soon, domains late: the unstyled pictures get most of the batch
        n_paint, n_photo = self.batch_size * 3 // 20, self.batch_size * 11 // 20
        n_styled = self.batch_size - n_paint - n_photo

        def pick(count: int, size: int) -> Tensor:
            return torch.randint(size, (count,), generator=generator)

        # as many photos of each domain: else the net learns to doubt the small ones
        kinds = pick(n_photo, len(bank.photos_of)).bincount(minlength=len(bank.photos_of))
        chosen = [of[pick(int(n), len(of))] for of, n in zip(bank.photos_of, kinds, strict=True)]
        chosen.append(bank.paintings[pick(n_paint, len(bank.paintings))])
        plain = torch.cat(chosen)
        styled = pick(n_styled, len(bank.styled))
        known = Facts.join([bank.facts[plain], bank.styled_facts[styled]])
        sources = torch.cat([plain, bank.styled_source[styled]]).tolist()
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        said = [bank.say(i, s, rng) for i, s in zip(sources, known.style.tolist(), strict=True)]
        facts = torch.tensor([fact for _, fact in said])
        tokens = self.tokenizer([text for text, _ in said])
        images = torch.cat([
            random_crops(to_model_range(bank.pixels[plain]), self.plain_crops, generator),
            random_crops(to_model_range(bank.styled[styled]), self.styled_crops, generator),
        ])  # fmt: skip
        return images, tokens, known, Facts(facts[:, 0], facts[:, 1], facts[:, 2])

    def loss(
        self, model: nn.Module, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        images, tokens, known, said = self.batch(generator)
        between: OnThePath | None = None
        if self.style_path is not None:
            more, between = self.style_path.draw(generator)
            images = torch.cat([images, more])
        opinion: Tensor | None = None
        if self.led_pictures is not None:
            arrived, opinion = self.led_pictures.draw(model, self._style_tokens, generator)
            images = torch.cat([images, arrived])
        judged = partial(
            self._judged, model, tokens=tokens, known=known, said=said, between=between,
            opinion=opinion,
        )  # fmt: skip
        if self.radius:
            images = worst_near(images, self.radius, lambda moved: judged(moved)[0], generator)
        return judged(images)

    def _judged(
        self, model: nn.Module, images: Tensor, *, tokens: Tensor, known: Facts, said: Facts,
        between: OnThePath | None, opinion: Tensor | None,
    ) -> tuple[Tensor, dict[str, float]]:  # fmt: skip
        """Loss of images [B, 3, 64, 64] with their captions, and its parts.

        Args:
            between: what is known of the images after those that have captions.
            opinion: the teacher's log-probabilities of the last images.
        """
        clip: Any = model
        device = next(model.parameters()).device
        x = normalise(model, images).contiguous(memory_format=torch.channels_last).to(device)
        texts = torch.cat([tokens, self._style_tokens, self._content_tokens]).to(device)
        # the CPU's fused attention spends half of a training step in its backward pass
        with sdpa_kernel(SDPBackend.MATH):
            image = F.normalize(clip.encode_image(x).float(), dim=1)
            text = F.normalize(clip.encode_text(texts).float(), dim=1)
        n_led = 0 if opinion is None else len(opinion)
        image, on_path, arrived = torch.split(
            image, [len(tokens), len(image) - len(tokens) - n_led, n_led]
        )
        counts = [len(tokens), len(self._style_tokens), len(self._content_tokens)]
        text, style_text, content_text = torch.split(text, counts)
        scale = clip.logit_scale.exp().clamp(max=60.0)
        with torch.autocast(device.type, enabled=False):
            positive = matches(known, said).to(device)
            style, content = known.style.to(device), known.content.to(device)
            named, plain = style <= PHOTO, style >= PHOTO
            by_style = scale * image[named] @ style_text.T
            by_content = scale * image[plain] @ content_text.T
            logits = scale * image @ text.T
            if self.sigmoid:
                bias = clip.logit_bias
                pairs = SIGMOID_PAIRS * sigmoid_pairs(logits + bias, positive)
                style_loss = sigmoid_pairs(by_style + bias, one_hot(style[named], by_style))
                content_loss = sigmoid_pairs(by_content + bias, one_hot(content[plain], by_content))
            else:
                pairs = (contrastive(logits, positive) + contrastive(logits.T, positive.T)) / 2
                style_loss = F.cross_entropy(by_style, style[named])
                content_loss = F.cross_entropy(by_content, content[plain])
            hits = (image[named].detach() @ style_text.detach().T).argmax(1) == style[named]
            total = pairs + AUXILIARY * (style_loss + content_loss)
            parts = {
                "pairs": float(pairs.detach()), "style": float(style_loss.detach()),
                "content": float(content_loss.detach()), "style_top1": float(hits.float().mean()),
            }  # fmt: skip
            if between is not None:
                path_loss, path_parts = between.loss(scale * on_path @ style_text.T)
                total, parts = total + path_loss, parts | path_parts
            if opinion is not None:
                said_of_them = F.log_softmax(scale * arrived @ style_text.T, 1)
                led_loss = F.kl_div(
                    said_of_them, opinion.to(device), reduction="batchmean", log_target=True
                )
                total = total + LED_WEIGHT * led_loss
                parts["led"] = float(led_loss.detach())
        return total, parts

    def finish(self, model: nn.Module) -> nn.Module:
        """What is shipped: the whole model, but for words that no caption had.

        A mean with the start's weights knows much of both (Wortsman et al. 2022, arXiv 2109.01903).
        """
        shipped = copy.deepcopy(model)
        if self.of_start:
            start = trained_before(self.work_dir, self.start)
            shipped.load_state_dict({
                name: torch.lerp(value, start[name].to(value), self.of_start)
                if value.is_floating_point() else value
                for name, value in model.state_dict().items()
            })  # fmt: skip
        drop_untaught_words(
            shipped, build_clip(self.config_name, text_seed(self.name)).state_dict()
        )
        return shipped

    def architecture(self) -> dict[str, Any]:
        config: dict[str, Any] = open_clip.get_model_config(self.config_name)
        return config

    @torch.no_grad()
    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        """Zero-shot retrieval on the held-out split, shares of 1 (floats in [0, 1])."""
        shipped.eval()
        bank = self.held_out
        styles, contents = (
            self._texts(shipped, self._style_tokens),
            self._texts(shipped, self._content_tokens),
        )
        styled = to_model_range(bank.styled)
        plain = to_model_range(bank.pixels)

        def share(images: Tensor, prompts: Tensor, truth: Tensor) -> float:
            return float(
                (self._images(shipped, images) @ prompts.T).argmax(1).eq(truth).float().mean()
            )

        photos = bank.photos
        noise = torch.randn(styled.shape, generator=torch.Generator().manual_seed(3))
        return {
            "style_top1": share(styled, styles, bank.styled_facts.style),
            "style_top1_noise_0.2": share(styled + 0.2 * noise, styles, bank.styled_facts.style),
            "style_top1_crop_20": share(centre_crops(styled, 20), styles, bank.styled_facts.style),
            "photo_top1": share(plain[photos], styles, torch.full_like(photos, PHOTO)),
            "domain_top1": share(plain, contents, bank.facts.content),
        }

    def _texts(self, model: nn.Module, tokens: Tensor) -> Tensor:
        clip: Any = model
        features: Tensor = clip.encode_text(tokens.to(next(model.parameters()).device))
        return F.normalize(features.float(), dim=1)

    def _images(self, model: nn.Module, images: Tensor) -> Tensor:
        clip: Any = model
        device = next(model.parameters()).device
        parts = [
            F.normalize(clip.encode_image(normalise(model, part).to(device)).float(), dim=1)
            for part in torch.split(images, 128)
        ]
        return torch.cat(parts)
