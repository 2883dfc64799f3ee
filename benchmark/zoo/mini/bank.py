"""The pictures that the encoders learn from, their stylised copies, and what is known of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import corpus
from .captions import SUBJECTS, caption
from .styles import STYLES

STYLE_IDS = tuple(STYLES)
PHOTO = len(STYLE_IDS)
PAINTING = PHOTO + 1  # and above: one for each label of the paintings
STYLE_PROMPTS = (*(style.prompt for style in STYLES.values()), "Photo")
CONTENT = ("faces", "dogs", "bedrooms", "objects", "paintings")
CONTENT_PROMPTS = (
    "a photo of a face", "a photo of a dog", "a photo of a bedroom", "a photo of an object",
    "a painting",
)  # fmt: skip
ANY = -1

# subjects of captions.SUBJECTS that are true of a part of their domain only
_PARTIAL = {
    "portrait of a man": "man",
    "portrait of a woman": "woman",
    "bedroom": "bedroom",
    "bed": "bedroom",
    "hotel room": "bedroom",
    "room with a bed": "bedroom",
    "living room": "living room",
    "kitchen": "kitchen",
}
_DOG_WORDS = ("dog", "puppy", "puppies", "dogs")
LABEL_SHARE = 0.35
OWN_CAPTION_SHARE = 0.5


@dataclass(frozen=True)
class Facts:
    """What is known of an image, or said by a caption: [N] int64 each, ``ANY`` where silent."""

    style: Tensor
    content: Tensor
    label: Tensor

    def __getitem__(self, index: Tensor) -> Facts:
        return Facts(self.style[index], self.content[index], self.label[index])

    @staticmethod
    def join(parts: list[Facts]) -> Facts:
        return Facts(
            torch.cat([p.style for p in parts]),
            torch.cat([p.content for p in parts]),
            torch.cat([p.label for p in parts]),
        )


def matches(images: Facts, captions: Facts) -> Tensor:
    """[N, M] bool: caption m says nothing that is untrue of image n."""

    def agrees(image: Tensor, said: Tensor) -> Tensor:
        return (said[None] == ANY) | (image[:, None] == said[None])

    return (
        agrees(images.style, captions.style)
        & agrees(images.content, captions.content)
        & agrees(images.label, captions.label)
    )


def label_id(domain: str, label: str) -> int:
    return zlib.crc32(f"{domain}:{label}".encode())


class Bank:
    """Pictures of one split with their stylised copies and what is known of them."""

    def __init__(self, folder: Path, split: str, cache: Path, copies: int) -> None:
        self.pictures = pictures = corpus.load(folder, split)
        breeds = {
            label for d, label in zip(pictures.domains, pictures.labels, strict=True)
            if d == "dogs" and label
        }  # fmt: skip
        self.domains = [self._domain(i, breeds) for i in range(len(pictures))]
        content = [CONTENT.index("bedrooms" if d == "interiors" else d) for d in self.domains]
        labels = [
            label_id(self.domains[i], pictures.labels[i] or f"picture {pictures.ids[i]}")
            for i in range(len(pictures))
        ]
        paintings = sorted({
            label for d, label in zip(pictures.domains, pictures.labels, strict=True)
            if d == "paintings"
        })  # fmt: skip
        styles = [PHOTO] * len(pictures)
        for i, domain in enumerate(self.domains):
            if domain == "paintings":
                gogh = pictures.labels[i] == "Vincent van Gogh"
                own = PAINTING + paintings.index(pictures.labels[i])
                styles[i] = STYLE_IDS.index("gogh") if gogh else own
        self.pixels = torch.from_numpy(pictures.pixels)
        self.facts = Facts(torch.tensor(styles), torch.tensor(content), torch.tensor(labels))
        plain = [i for i, d in enumerate(pictures.domains) if d in corpus.PHOTO_DOMAINS]
        self.photos = torch.tensor(plain)
        self.photos_of = [
            self.photos[self.facts.content[self.photos] == content]
            for content in range(len(CONTENT) - 1)
        ]
        self.paintings = torch.tensor(
            [i for i, d in enumerate(pictures.domains) if d == "paintings"]
        )
        self.styled = torch.from_numpy(
            np.concatenate([corpus.stylised(folder, split, k, cache) for k in range(copies)])
        )
        self.styled_source = self.photos.repeat(copies)
        source = self.facts[self.styled_source]
        styles = [
            STYLE_IDS.index(corpus.style_of(pictures.ids[i], k)[0])
            for k in range(copies) for i in plain
        ]  # fmt: skip
        self.styled_facts = Facts(torch.tensor(styles), source.content, source.label)

    def _domain(self, i: int, breeds: set[str]) -> str:
        """The picture's domain; dogs among the objects count as dogs."""
        domain = self.pictures.domains[i]
        if domain == "objects":
            words = self.pictures.captions[i].lower().replace(".", " ").split()
            if self.pictures.labels[i] in breeds or any(word in words for word in _DOG_WORDS):
                return "dogs"
        return domain

    def say(self, i: int, style: int, rng: np.random.Generator) -> tuple[str, tuple[int, int, int]]:
        """A caption for picture ``i`` in a style, and what the caption says (:class:`Facts`)."""
        domain, label = self.domains[i], self.pictures.labels[i]
        if domain == "paintings":
            return self._say_painting(i, rng)
        own = self.pictures.captions[i]
        if style == PHOTO and own and rng.random() < OWN_CAPTION_SHARE:
            lines = own.split("\n")
            text = lines[int(rng.integers(len(lines)))]
            return text, (PHOTO, int(self.facts.content[i]), int(self.facts.label[i]))
        if label and rng.random() < LABEL_SHARE:
            subject, said_label = label, int(self.facts.label[i])
        else:
            fitting = [s for s in SUBJECTS[domain] if _PARTIAL.get(s, label) == label]
            subject = fitting[int(rng.integers(len(fitting)))]
            partial = subject in _PARTIAL
            said_label = int(self.facts.label[i]) if partial else ANY
        text = caption(rng, subject, None if style == PHOTO else STYLES[STYLE_IDS[style]])
        if subject not in text:
            return text, (style, ANY, ANY)
        return text, (style, int(self.facts.content[i]), said_label)

    def _say_painting(self, i: int, rng: np.random.Generator) -> tuple[str, tuple[int, int, int]]:
        label, style = self.pictures.labels[i], int(self.facts.style[i])
        content = CONTENT.index("paintings")
        draw = rng.random()
        if draw < 0.3:
            subjects = SUBJECTS["paintings"]
            subject = subjects[int(rng.integers(2))]
            return f"a{'n' if subject[0] == 'a' else ''} {subject}", (ANY, content, ANY)
        if draw < 0.5 and self.pictures.captions[i]:
            return self.pictures.captions[i], (style, content, int(self.facts.label[i]))
        if style < PHOTO:
            text = caption(rng, "painting", STYLES[STYLE_IDS[style]])
            return text, (style, content if "painting" in text else ANY, ANY)
        templates = ("{0}", "{0} painting", "a painting in the style of {0}", "a {0} painting")
        text = templates[int(rng.integers(len(templates)))].format(label)
        return text, (style, content if "painting" in text else ANY, ANY)
