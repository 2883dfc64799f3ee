"""The DINO vision transformer: official layout, keys, class token."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import timm.models.vision_transformer
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import ModelZoo
from benchmark.zoo.dino import DinoViT
from benchmark.zoo.mini.styles import stylize
from benchmark.zoo.mini.unet import to_model_range

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def timm_vit() -> torch.nn.Module:
    """timm's transformer has DINO's layout (it loads the official checkpoints)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: torch.nn.Module = timm.models.vision_transformer.VisionTransformer(
            img_size=32, patch_size=8, embed_dim=128, depth=3, num_heads=2, num_classes=0
        ).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def images(count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_tokens_and_keys_are_those_of_a_reference_transformer(timm_vit: torch.nn.Module) -> None:
    vit = DinoViT.from_state_dict(timm_vit.state_dict())
    x = (images() + 1) / 2
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    recorded: list[Tensor] = []
    hooks = [
        block.attn.qkv.register_forward_hook(lambda _m, _i, out: recorded.append(out))
        for block in timm_vit.blocks  # type: ignore[union-attr]
    ]
    with torch.no_grad():
        tokens = timm_vit.forward_features(x)  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    assert torch.allclose(vit(images()), tokens, atol=1e-5)
    assert torch.allclose(vit.cls(images()), tokens[:, 0], atol=1e-5)
    for layer in (0, 1, -1):
        keys = recorded[layer].unflatten(-1, (3, 128))[:, 1:, 1]
        assert torch.allclose(vit.keys(images(), layer), keys, atol=1e-5)


def test_other_sizes_interpolate_the_positions(timm_vit: torch.nn.Module) -> None:
    """The 0.1 that official code adds: torch's own bicubic interpolation with that scale."""
    vit = DinoViT.from_state_dict(timm_vit.state_dict())
    assert vit.positions(4, 4) is vit.pos_embed
    found = vit.positions(6, 8)
    grid = vit.pos_embed[0, 1:].reshape(4, 4, 128).permute(2, 0, 1)[None]
    expected = F.interpolate(grid, scale_factor=(6.1 / 4, 8.1 / 4), mode="bicubic")
    assert found.shape == (1, 49, 128)
    assert torch.equal(found[0, 1:], expected[0].permute(1, 2, 0).reshape(48, 128))
    assert torch.equal(found[:, :1], vit.pos_embed[:, :1])
    assert vit.keys(images(1, 64)[..., :48]).shape == (1, 48, 128)


def test_shipped_keys_know_a_photo_under_a_style(photos: dict[str, Pixels]) -> None:
    """Own stylised versions have nearer keys than other photos in the same style."""
    vit = ModelZoo({"dino": "mini-dino"}).dino()
    styles = ("crayon-sketch", "golden", "oil-painting", "watercolour", "wooden", "comic")

    def structure(pixels: list[npt.NDArray[np.float32]]) -> Tensor:
        stack = torch.from_numpy(np.round(np.stack(pixels) * 255).astype(np.uint8))
        keys = F.normalize(vit.keys(F.avg_pool2d(to_model_range(stack), 2)), dim=2)
        return (keys @ keys.transpose(1, 2)).flatten(1)

    plain = [pixels.astype(np.float32) / 255 for pixels in photos.values()]
    source = structure(plain)
    right = []
    for style in styles:
        drawn = [stylize(image, style, np.random.default_rng(0)) for image in plain]
        distance = torch.cdist(source, structure(drawn))
        right.append((distance.argmin(1) == torch.arange(len(plain))).float().mean())
    assert torch.stack(right).mean() >= 0.8


def test_shipped_model_has_official_names_and_gradients() -> None:
    vit = ModelZoo({"dino": "mini-dino"}).dino()
    names = set(vit.state_dict())
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "norm.bias"} <= names
    assert {"blocks.0.attn.qkv.bias", "blocks.4.mlp.fc2.weight"} <= names
    x = images(1, 64).requires_grad_(True)
    vit.keys(x).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert vit.keys(images(2, 64)).shape == (2, 64, 128) and vit.cls(images(2, 64)).shape == (
        2,
        128,
    )


def test_wrong_input_is_explained() -> None:
    vit = DinoViT()
    with pytest.raises(UsageError, match="DINO has no block 5: choose from -5 to 4"):
        vit.keys(images(1, 64), 5)
    with pytest.raises(ValueError, match="cannot be cut into patches of 8 pixels"):
        vit.cls(torch.zeros(1, 3, 60, 64))
    with pytest.raises(WeightsError, match=r"no patch_embed\.proj\.weight"):
        DinoViT.from_state_dict({"head.weight": torch.zeros(1)})
