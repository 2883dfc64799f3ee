"""The vision transformer of DINO (Caron et al. 2021), in the official checkpoints' layout."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.loading import load_strictly

from .vgg import IMAGENET_MEAN, IMAGENET_STD

HEAD_WIDTH = 64  # in all official models, and in the mini one


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values: [N, heads, L, HEAD_WIDTH] each."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        return query, key, value

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.split(x)
        out = F.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


class DinoViT(nn.Module):
    """Vision transformer without a head.

    Args:
        patch: side of a patch in pixels.
        width: channels of a token, a multiple of 64.
        depth: number of blocks.
        tokens: patches of the training size ((size / patch) squared); other sizes interpolate.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, patch: int = 8, width: int = 128, depth: int = 5, tokens: int = 64) -> None:
        super().__init__()
        if width % HEAD_WIDTH:
            raise ValueError(f"the width {width} is not a multiple of {HEAD_WIDTH}")
        self.patch = patch
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, tokens + 1, width))
        self.patch_embed = PatchEmbed(patch, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> DinoViT:
        """Frozen model with given weights; the architecture is read from the weights.

        Args:
            state: as ``dino_vitbase8_pretrain.pth``; half precision is widened.

        Raises:
            WeightsError: if it is no DINO vision transformer.
        """
        for key in ("patch_embed.proj.weight", "pos_embed", "cls_token"):
            if key not in state:
                raise WeightsError(
                    f"the checkpoint has no {key}, so it is no vision transformer in DINO's layout"
                )
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        if width % HEAD_WIDTH:
            raise WeightsError(f"a DINO of width {width} is unknown: heads are {HEAD_WIDTH} wide")
        blocks = {int(key.split(".")[1]) for key in state if key.startswith("blocks.")}
        with torch.random.fork_rng(devices=[]):
            model = cls(patch, width, len(blocks), state["pos_embed"].shape[1] - 1)
        load_strictly(model, state, f"a DINO vision transformer of {len(blocks)} blocks")
        return model.eval().requires_grad_(False)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding [1, 1 + rows * columns, D], bicubically interpolated if need be.

        The scale carries the 0.1 that the official code adds against rounding
        (``vision_transformer.py`` of facebookresearch/dino): it shifts the sampling positions, so
        results differ slightly without it.
        """
        side = math.isqrt(self.pos_embed.shape[1] - 1)
        if (rows, columns) == (side, side):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        scale = ((rows + 0.1) / side, (columns + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def tokens(self, images: Tensor) -> Tensor:
        """Input of the first block, [N, 1 + L, D], from images [N, 3, H, W] in [-1, 1]."""
        if images.ndim != 4 or images.shape[2] % self.patch or images.shape[3] % self.patch:
            raise ValueError(
                f"images of shape {list(images.shape)} cannot be cut into patches of {self.patch} "
                "pixels: resize them to a multiple"
            )
        patches = self.patch_embed(((images + 1) / 2 - self.mean) / self.std)
        rows, columns = patches.shape[2:]
        x = patches.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        return x + self.positions(rows, columns)

    def forward(self, images: Tensor) -> Tensor:
        """All tokens after the last norm, [N, 1 + L, D]."""
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def cls(self, images: Tensor) -> Tensor:
        """Class token [N, D] float32 of images [N, 3, H, W] in [-1, 1]."""
        tokens: Tensor = self(images)
        return tokens[:, 0].float()

    def keys_and_token(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of the last block and its class token, in one pass, as Splicing ViT's extractor.

        Other than in :meth:`keys` the class token's key is among them, and other than :meth:`cls`
        the token is read before the last norm.

        Args:
            images: [N, 3, H, W] in [-1, 1].

        Returns:
            [N, 1 + L, D] and [N, D], in the precision they were computed in.
        """
        x = self.tokens(images)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        assert isinstance(last, Block)
        _, keys, _ = last.attn.split(last.norm1(x))
        return keys.transpose(1, 2).flatten(2), last(x)[:, 0]

    def keys(self, images: Tensor, layer: int = -1) -> Tensor:
        """Keys of one block's attention, heads side by side (Tumanyan et al. 2022, section 3).

        Args:
            images: [N, 3, H, W] float in [-1, 1].
            layer: index of the block; -1 is the last one.

        Returns:
            [N, L, D] float32, without the class token, in row-major order of patches.

        Raises:
            UsageError: if there is no such block.
        """
        depth = len(self.blocks)
        if not -depth <= layer < depth:
            raise UsageError(f"DINO has no block {layer}: choose from {-depth} to {depth - 1}")
        chosen = layer % depth
        x = self.tokens(images)
        for block in list(self.blocks)[:chosen]:
            x = block(x)
        block = self.blocks[chosen]
        assert isinstance(block, Block)
        _, key, _ = block.attn.split(block.norm1(x))
        return key.transpose(1, 2).flatten(2)[:, 1:].float()
