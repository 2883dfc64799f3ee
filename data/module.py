"""The DataModule: fixed chunks of samples in a fixed order, whole chunks to each rank."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmark.config import PromptSpec
from benchmark.interface import StyleBatch, StylePart, StyleRequest
from data.cards import Prompt
from data.decode import Pixels
from data.freeze import FrozenSet
from data.mixtures import MixedStyle

Chunk = tuple[int, StyleBatch]


def to_model_range(pixels: Pixels) -> Tensor:
    """[H, W, 3] uint8 to [3, H, W] float32 in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().div(127.5).sub(1.0)


class ChunkSampler(Sampler[int]):
    """Rank r takes the chunks r, r + world, r + 2 world, ... that are not done yet.

    The share of a rank does not depend on what is done, so ranks that start at different moments
    of a resumed run never take the same chunk. A rank may own none. The sampler has no length on
    purpose: Lightning refuses or skips a loader whose length is 0, and a rank that skips its loop
    misses the barriers of the others.

    Args:
        count: chunks of the whole run.
        rank, world_size: of this process.
        done: indices of finished chunks.
    """

    def __init__(self, count: int, rank: int, world_size: int, done: Collection[int]) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not below the world size {world_size}")
        finished = set(done)
        self.chunks = [k for k in range(rank, count, world_size) if k not in finished]

    def __iter__(self) -> Iterator[int]:
        return iter(self.chunks)


class _Chunks(Dataset[Chunk]):
    def __init__(self, module: StyleTransferDataModule) -> None:
        self._module = module

    def __len__(self) -> int:
        return self._module.chunk_count

    def __getitem__(self, index: int) -> Chunk:
        size = self._module.batch_size
        requests = self._module.samples[index * size : (index + 1) * size]
        images = torch.stack(
            [to_model_range(self._module.source_pixels(r.image_id)) for r in requests]
        )
        styles, mixtures = self._module.styles, self._module.mixtures
        if mixtures is not None:
            mixed = tuple(tuple(map(_part, mixtures[r.prompt_id])) for r in requests)
            return index, StyleBatch(images, tuple(requests), mixtures=mixed)
        if styles is None:
            return index, StyleBatch(images, tuple(requests))
        shown = torch.stack([to_model_range(styles[r.prompt_id]) for r in requests])
        return index, StyleBatch(images, tuple(requests), shown)


def _part(style: MixedStyle) -> StylePart:
    image = None if style.image is None else to_model_range(style.image.pixels)
    return StylePart(style.weight, style.text, image)


def _first(chunks: Sequence[Chunk]) -> Chunk:
    """Collate: a loader's batch is one chunk, which is a batch already."""
    return chunks[0]


class StyleTransferDataModule(pl.LightningDataModule):
    """Samples of one run: every prompt for every image, prompts of an image side by side.

    Args:
        frozen: the content images.
        prompts: target styles.
        domain: class of the images for class-conditional denoisers.
        source_prompt: the sources' style in words.
        batch_size: samples of a chunk.
        styles: style images [S, S, 3] uint8 by prompt id, where they guide; the prompts then only
            name them, and no method sees their text.
        mixtures: the styles to fuse by prompt id, where they guide. A sample's prompt is then the
            mixture's text, or None if a style image is among its styles.
    """

    def __init__(
        self, frozen: FrozenSet, prompts: Sequence[Prompt | PromptSpec], *, domain: str,
        source_prompt: str, batch_size: int, styles: Mapping[str, Pixels] | None = None,
        mixtures: Mapping[str, Sequence[MixedStyle]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.frozen = frozen
        self.batch_size = batch_size
        self.styles = styles
        self.mixtures = mixtures
        self._pixels = frozen.pixels
        self.samples = [
            StyleRequest(
                sample_id=f"{image.image_id}__{prompt.id}",
                image_id=image.image_id,
                domain=domain,
                prompt_id=prompt.id,
                prompt=self._words(prompt),
                source_prompt=source_prompt,
            )
            for image in frozen.images
            for prompt in prompts
        ]
        self.done: Collection[int] = ()

    def _words(self, prompt: Prompt | PromptSpec) -> str | None:
        parts = () if self.mixtures is None else self.mixtures[prompt.id]
        shown = self.styles is not None or any(part.image is not None for part in parts)
        return None if shown else prompt.text

    @property
    def chunk_count(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def source_pixels(self, image_id: str) -> Pixels:
        """The content image, [S, S, 3] uint8."""
        return self._pixels[image_id]

    def chunk(self, index: int) -> StyleBatch:
        """One chunk, without a loader."""
        return _Chunks(self)[index][1]

    def predict_dataloader(self) -> DataLoader[Chunk]:
        """Chunks of this rank that are not in ``done``, as (index, batch)."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return DataLoader(
            _Chunks(self),
            sampler=ChunkSampler(self.chunk_count, rank, world, self.done),
            batch_size=1,
            collate_fn=_first,
        )
