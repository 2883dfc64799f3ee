"""Training captions for photos and stylised photos."""

from __future__ import annotations

import numpy as np

from .styles import Style

SUBJECTS: dict[str, tuple[str, ...]] = {
    "faces": (
        "face",
        "person",
        "portrait",
        "human face",
        "portrait of a man",
        "portrait of a woman",
        "head",
        "smiling person",
    ),
    "dogs": ("dog", "puppy", "pet", "animal", "dog's face", "cute dog", "head of a dog"),
    "bedrooms": ("bedroom", "bed", "room", "hotel room", "room with a bed", "interior"),
    "interiors": ("room", "interior", "living room", "indoor scene", "kitchen", "house interior"),
    "objects": ("object", "thing", "item", "picture", "scene", "everyday object"),
    "paintings": ("painting", "artwork", "picture", "canvas", "work of art"),
}

_STYLED = (
    "a {subject} in the style of {style}",
    "{subject} in the style of {style}",
    "{style} of a {subject}",
    "a {subject}, {style}",
    "{style}, {subject}",
    "{subject}, {style} style",
    "a picture of a {subject} in {style} style",
    "an image of a {subject}, {style}",
)
_STYLE_ONLY = (
    "{style}",
    "{style}",
    "{style} style",
    "in the style of {style}",
    "an image in the style of {style}",
    "a picture, {style}",
)
_PHOTO = (
    "a photo of a {subject}",
    "photo of a {subject}",
    "a photograph of a {subject}",
    "a {subject}",
    "a real photo of a {subject}",
    "a photo",
    "photo",
    "a photograph",
    "real photo",
    "{subject}",
)

# The benchmark's own prompt has to be the phrase seen most, since it is the one scored.
_PROMPT_SHARE = 0.4
_STYLE_ONLY_SHARE = 0.45


def caption(rng: np.random.Generator, subject: str, style: Style | None) -> str:
    """A caption for a photo of `subject` in `style`, or for the plain photo if None."""
    if style is None:
        return _fill(_pick(rng, _PHOTO), subject, "")
    phrase = style.prompt if rng.random() < _PROMPT_SHARE else _pick(rng, style.synonyms)
    templates = _STYLE_ONLY if rng.random() < _STYLE_ONLY_SHARE else _STYLED
    return _fill(_pick(rng, templates), subject, phrase)


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _fill(template: str, subject: str, phrase: str) -> str:
    """Template with its blanks filled and 'a' made 'an' where the subject asks for it."""
    article = "an {subject}" if subject[:1].lower() in "aeiou" else "a {subject}"
    return template.replace("a {subject}", article).format(subject=subject, style=phrase)
