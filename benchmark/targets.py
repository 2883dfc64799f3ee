"""What a run aims at: prompts, style images or mixtures, as the command line chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.config import MixturePart, PromptSpec, Protocol
from benchmark.errors import UsageError
from benchmark.interface import Guidance, StyleTransferMethod
from benchmark.pictures import Pixels

DEFAULT_STYLE_COUNT = 2  # as many as the quick prompts


@dataclass(frozen=True)
class TargetOptions:
    """The options of ``bench run`` that choose the styles; at most one kind is given.

    Attributes:
        prompts: ``quick``, ``all`` or ids of the protocol's prompt set.
        prompt: a prompt of the user's own.
        style_images: a file or folder of style images.
        style_dataset: a dataset whose pictures are the style images.
        style_source: where the style dataset's pictures come from, as ``--source``.
        style_limit: how many style images, in the order of their names; default: all of
            ``style_images``, the first two of ``style_dataset``.
        mixes: ``style=weight,style=weight`` for each mixture.
    """

    prompts: str | None = None
    prompt: str | None = None
    style_images: Path | None = None
    style_dataset: str | None = None
    style_source: str = "embedded"
    style_limit: int | None = None
    mixes: Sequence[str] = ()

    def kind(self) -> Guidance:
        """What the options ask for.

        Raises:
            UsageError: options of two kinds.
        """
        given = {
            "--prompts": self.prompts, "--prompt": self.prompt,
            "--style-images": self.style_images, "--style-dataset": self.style_dataset,
            "--mix": self.mixes or None,
        }  # fmt: skip
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise UsageError(f"give either {' or '.join(named)}, not {_both_or_all(named)}")
        shown = self.style_images is not None or self.style_dataset is not None
        if self.style_limit is not None and not shown:
            raise UsageError(
                "--style-limit counts the pictures of --style-images or --style-dataset"
            )
        if self.mixes:
            return Guidance.MIXTURE
        return Guidance.IMAGE if shown else Guidance.TEXT


@dataclass(frozen=True)
class Targets:
    """The styles of a run.

    Attributes:
        prompts: one for each target style.
        styles: style images [S, S, 3] uint8 by prompt id, where they guide.
        mixtures: by prompt id, where they guide: entries with ``weight``, ``id``, ``text`` and
            ``image`` (see ``data.mixtures.MixedStyle``).
        origin: where the style images come from, for the manifest; None without any.
    """

    prompts: list[PromptSpec]
    styles: dict[str, Pixels] | None = None
    mixtures: dict[str, Any] | None = None
    origin: dict[str, Any] | None = field(default=None)

    @property
    def texts(self) -> list[str]:
        """All that text encoders will have to read."""
        words = [prompt.words for prompt in self.prompts]
        parts = [part.text for prompt in self.prompts for part in prompt.mixture or ()]
        return [text for text in (*words, *parts) if text is not None]

    def pictures(self) -> dict[str, Pixels]:
        """Every style image by its id, also those that are part of a mixture."""
        mixed = [part for parts in (self.mixtures or {}).values() for part in parts]
        return (self.styles or {}) | {
            part.image.id: part.image.pixels for part in mixed if part.image is not None
        }


def check_guidance(
    name: str, method: type[StyleTransferMethod], options: TargetOptions, protocol: Protocol
) -> None:
    """Refuse a prompt where a style image is needed, and the reverse.

    Raises:
        UsageError: with the options, prompt set and dataset that fit the method.
    """
    kind = options.kind()
    if kind in method.guidance:
        return
    fitting = {
        Guidance.TEXT: f"prompts (--prompts, ids of the set {protocol.prompt_set}, or --prompt)",
        Guidance.IMAGE: "style images (--style-images FILE or DIR, or the dataset of paintings: "
        "--style-dataset wikiart)",
        Guidance.MIXTURE: "mixtures (--mix golden=0.5,red-bricks=0.5; style images may be parts)",
    }
    wanted = " or ".join(fitting[known] for known in Guidance if known in method.guidance)
    given = {
        Guidance.TEXT: "prompts", Guidance.IMAGE: "style images", Guidance.MIXTURE: "mixtures"
    }[kind]  # fmt: skip
    raise UsageError(
        f"{name} is not guided by {given}: give it {wanted}, or take a method that is "
        f"(`bench list methods` tells what guides each)"
    )


def choose_targets(options: TargetOptions, protocol: Protocol, dataset: Any) -> Targets:
    """The target styles of a run on ``dataset`` (an entry point of ``bench.datasets``)."""
    kind = options.kind()
    if kind is Guidance.MIXTURE:
        return _mixtures(options, protocol, dataset)
    if kind is Guidance.IMAGE:
        return _style_images(options, protocol, dataset)
    prompts = dataset.prompts(
        protocol.prompt_set, options.prompts or protocol.default_prompts, options.prompt
    )
    return Targets([PromptSpec(id=prompt.id, text=prompt.text) for prompt in prompts])


def _style_images(options: TargetOptions, protocol: Protocol, dataset: Any) -> Targets:
    size: dict[str, Any] = {"size": protocol.resolution, "resize_filter": protocol.resize_filter}
    if options.style_dataset is not None:
        source = registry.load(registry.DATASETS, options.style_dataset)
        styles, origin = source.own_styles(
            options.style_limit or DEFAULT_STYLE_COUNT, options.style_source, **size
        )
    else:
        styles = dataset.styles(options.style_images, **size)[: options.style_limit]
        origin = {"folder": str(options.style_images), "stand_in": False}
    specs = [
        PromptSpec(id=style.id, text=f"style image {style.id}", style_sha256=style.sha256)
        for style in styles
    ]
    return Targets(specs, {style.id: style.pixels for style in styles}, origin=origin)


def _mixtures(options: TargetOptions, protocol: Protocol, dataset: Any) -> Targets:
    specs, mixtures = [], {}
    for spec in options.mixes:
        mixture = dataset.mixture(
            spec, protocol.prompt_set, size=protocol.resolution,
            resize_filter=protocol.resize_filter,
        )  # fmt: skip
        if mixture.id in mixtures:
            raise UsageError(f"--mix {spec!r} is given twice")
        mixtures[mixture.id] = mixture.parts
        specs.append(
            PromptSpec(
                id=mixture.id,
                text=mixture.text or " and ".join(part.text or part.id for part in mixture.parts),
                mixture=tuple(
                    MixturePart(
                        id=part.id, weight=part.weight, text=part.text,
                        style_sha256=None if part.image is None else part.image.sha256,
                    )
                    for part in mixture.parts
                ),
            )
        )  # fmt: skip
    return Targets(specs, mixtures=mixtures)


def _both_or_all(names: Sequence[str]) -> str:
    return "both" if len(names) == 2 else "all of them"
