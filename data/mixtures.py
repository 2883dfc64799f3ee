"""Mixtures of styles, as ``bench run --mix`` names them: prompts and style images, weighted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UsageError, unknown_name
from data.cards import Prompt
from data.decode import Filter
from data.styles import StyleImage, load_styles

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class MixedStyle:
    """One style of a mixture.

    Attributes:
        weight: in (0, 1]; the weights of a mixture sum to one.
        id: of the prompt or the style image.
        text: the prompt, or None for a style image.
        image: the style image, or None for a prompt.
    """

    weight: float
    id: str
    text: str | None
    image: StyleImage | None


@dataclass(frozen=True)
class Mixture:
    """Styles that one output fuses.

    Attributes:
        id: file-name safe, e.g. ``golden-0.7-red-bricks-0.3``.
        parts: at least two.
    """

    id: str
    parts: tuple[MixedStyle, ...]

    @property
    def text(self) -> str | None:
        """What a judge reads: the prompts joined by "and"; None if a style image is among them."""
        texts = [part.text for part in self.parts if part.text is not None]
        return " and ".join(texts) if len(texts) == len(self.parts) else None


def parse_mixture(
    spec: str, prompts: Sequence[Prompt], *, size: int, resize_filter: Filter
) -> Mixture:
    """A mixture from ``golden=0.7,red-bricks=0.3`` or ``golden=0.5,pictures/wave.png=0.5``.

    Args:
        spec: prompt ids or files of style images with their weights, separated by commas.
        prompts: those that fit the dataset.
        size: side of the style images in pixels.

    Raises:
        UsageError: fewer than two styles, one twice, an unknown one, a weight that is no number
            above 0, or weights that do not sum to one.
        BadImageError: a style image that cannot be decoded.
    """
    parts = [_part(text, spec, prompts, size, resize_filter) for text in spec.split(",")]
    if len(parts) < 2:
        raise UsageError(
            f"--mix {spec!r} names one style: name at least two, e.g. golden=0.5,red-bricks=0.5"
        )
    ids = [part.id for part in parts]
    if len(set(ids)) < len(ids):
        raise UsageError(f"--mix {spec!r} names a style twice: add its weights up")
    total = math.fsum(part.weight for part in parts)
    if abs(total - 1) > SUM_TOLERANCE:
        raise UsageError(f"the weights of --mix {spec!r} sum to {total:g}, not to 1: change them")
    named = [f"{re.sub(r'[^a-z0-9-]+', '-', part.id.lower())}-{part.weight:g}" for part in parts]
    return Mixture("-".join(named), tuple(parts))


def _part(
    text: str, spec: str, prompts: Sequence[Prompt], size: int, resize_filter: Filter
) -> MixedStyle:
    name, found, number = (piece.strip() for piece in text.rpartition("="))
    if not found or not name:
        raise UsageError(f"--mix {spec!r}: {text.strip()!r} is not of the form style=weight")
    try:
        weight = float(number)
    except ValueError as error:
        raise UsageError(f"--mix {spec!r}: the weight {number!r} is not a number") from error
    if not 0 < weight <= 1:
        raise UsageError(f"--mix {spec!r}: the weight of {name!r} is {number}, not in (0, 1]")
    by_id = {prompt.id: prompt for prompt in prompts}
    if name in by_id:
        return MixedStyle(weight, name, by_id[name].text, None)
    if Path(name).is_file():
        (style,) = load_styles(Path(name), size, resize_filter)
        return MixedStyle(weight, style.id, None, style)
    advice = unknown_name("prompt", name, by_id)
    raise UsageError(f"--mix {spec!r}: {advice} (nor is there a file of this name)")
