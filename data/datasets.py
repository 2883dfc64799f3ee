"""The six datasets as entry points: a card, and how to open it.

Torch, Lightning and pyarrow are imported when images are opened, so that listing cards stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cache import cache_root
from benchmark.errors import UsageError, unknown_name
from data.cards import DatasetCard, Prompt, custom_prompt, load_card, load_prompts

if TYPE_CHECKING:
    from benchmark.config import PromptSpec
    from data.decode import Filter, Pixels
    from data.freeze import FrozenSet, OnBadImage
    from data.mixtures import MixedStyle, Mixture
    from data.module import StyleTransferDataModule
    from data.sources import Source
    from data.styles import StyleImage


@dataclass(frozen=True)
class BenchDataset:
    """What an entry point of the group ``bench.datasets`` is."""

    card: DatasetCard

    def source(
        self, images: Path | None, kind: str = "embedded", samples: str = "paper",
        within: str | None = None,
    ) -> Source:  # fmt: skip
        """Where the images come from.

        Args:
            images: the user's folder or archive, which goes before ``kind``.
            kind: ``embedded``; ``hub``; or ``hub:owner/name``, a mirror of the card.
            samples: which of the card's sample lists is taken of the hub.
            within: what is taken of ``images``. See :func:`data.archives.opening.open_local`.

        Raises:
            UsageError: unknown kind, mirror or sample list, or two sources at once.
            DataError: ``images`` is nothing that can be read.
        """
        from data.archives.opening import open_local
        from data.sources import EmbeddedSource

        if images is not None:
            if kind != "embedded":
                raise UsageError(f"give either --images or --source {kind}, not both")
            return open_local(images, within)
        if within is not None:
            raise UsageError(f"--images-within {within} selects of --images, which is not given")
        if kind == "embedded":
            if samples != "paper":
                raise UsageError(f"--samples {samples} chooses rows of the hub: add --source hub")
            return EmbeddedSource(self.card.name, self.card.embedded)
        name, _, mirror = kind.partition(":")
        if name != "hub":
            raise unknown_name("source", kind, ["embedded", "hub", "hub:OWNER/NAME"])
        return self._hub(mirror, samples)

    def _hub(self, mirror: str, samples: str) -> Source:
        from data.hub import HubSource

        facts = self.card.hub
        if samples not in facts.samples:
            raise unknown_name("sample list", samples, facts.samples)
        places = {place.id: place for place in (facts.location(), *facts.mirrors)}
        chosen = mirror or facts.id
        if chosen not in places:
            raise unknown_name(f"hub copy of {self.card.name}", chosen, places)
        others = [f"--source hub:{place}" for place in places if place != chosen]
        return HubSource(places[chosen], facts.samples[samples], others)

    def freeze(
        self, source: Source, *, size: int, resize_filter: Filter, limit: int | None,
        on_bad_image: OnBadImage,
    ) -> FrozenSet:  # fmt: skip
        """Frozen sample set in the cache folder. See :func:`data.freeze.freeze`."""
        from data.freeze import freeze

        return freeze(
            source, size=size, resize_filter=resize_filter, limit=limit,
            on_bad_image=on_bad_image, cache_dir=cache_root(),
        )  # fmt: skip

    def prompts(self, prompt_set: str, selection: str, custom: str | None) -> list[Prompt]:
        """The chosen prompts, or the user's own alone."""
        if custom is not None:
            return [custom_prompt(custom)]
        return load_prompts(prompt_set).select(selection, self.card.domain)

    def all_prompts(self, prompt_set: str) -> list[Prompt]:
        """Every prompt that fits the dataset, for retrieval among them."""
        return load_prompts(prompt_set).select("all", self.card.domain)

    def styles(self, path: Path, *, size: int, resize_filter: Filter) -> list[StyleImage]:
        """Style images for image-guided methods. See :func:`data.styles.load_styles`."""
        from data.styles import load_styles

        return load_styles(path, size, resize_filter)

    def own_styles(
        self, count: int, kind: str, *, size: int, resize_filter: Filter
    ) -> tuple[list[StyleImage], dict[str, Any]]:
        """The dataset's own first pictures as style images, and where they come from.

        Args:
            kind: ``embedded``, ``hub`` or a mirror, as in :meth:`source`.
        """
        from data.styles import StyleImage

        source = self.source(None, kind)
        frozen = self.freeze(
            source, size=size, resize_filter=resize_filter, limit=count, on_bad_image="fail"
        )
        styles = [StyleImage(image.image_id, image.pixels) for image in frozen.images]
        note = self.card.stand_in_note if source.stand_in else None
        return styles, {
            "dataset": self.card.name, "fingerprint": frozen.fingerprint,
            "stand_in": source.stand_in, "note": note,
            "source": source.describe() | frozen.origin,
        }  # fmt: skip

    def mixture(self, spec: str, prompt_set: str, *, size: int, resize_filter: Filter) -> Mixture:
        """Several styles to fuse. See :func:`data.mixtures.parse_mixture`."""
        from data.mixtures import parse_mixture

        prompts = self.all_prompts(prompt_set)
        return parse_mixture(spec, prompts, size=size, resize_filter=resize_filter)

    def data_module(
        self, frozen: FrozenSet, prompts: Sequence[Prompt | PromptSpec], *, source_prompt: str,
        batch_size: int, styles: Mapping[str, Pixels] | None = None,
        mixtures: Mapping[str, Sequence[MixedStyle]] | None = None,
    ) -> StyleTransferDataModule:  # fmt: skip
        """Chunks of a run; ``styles`` and ``mixtures`` are by prompt id, where they guide."""
        from data.module import StyleTransferDataModule

        return StyleTransferDataModule(
            frozen, prompts, domain=self.card.domain, source_prompt=source_prompt,
            batch_size=batch_size, styles=styles, mixtures=mixtures,
        )  # fmt: skip


celebahq = BenchDataset(load_card("celebahq"))
ffhq = BenchDataset(load_card("ffhq"))
lsun_bedroom = BenchDataset(load_card("lsun-bedroom"))
afhq = BenchDataset(load_card("afhq"))
imagenet = BenchDataset(load_card("imagenet"))
wikiart = BenchDataset(load_card("wikiart"))
