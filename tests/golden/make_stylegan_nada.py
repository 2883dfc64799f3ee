"""Writes stylegan_nada.safetensors: losses, layer choice and a few steps of the official tuning.

``python -m tests.golden.make_stylegan_nada --nada DIR`` with a checkout of
github.com/rinongal/StyleGAN-nada at dc8406a. ``ZSSGAN`` and ``CLIPLoss`` are the official classes
around a generator of 16 pixels and a tiny encoder; the loop is that of ``train.py``, whose
``zero_grad`` sets gradients to zero under the pinned PyTorch 1.7.1.
"""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import transforms

from tests.golden.make_stylegan2 import filled, official_model
from tests.golden.official_format import CLIP_MEAN, CLIP_STD, TinyEncoder
from tests.golden.stylegan2_case import (
    EDIT_DIM,
    EDIT_LAYERS,
    NADA_BATCH,
    NADA_CHOICE,
    NADA_K,
    NADA_SEED,
    NADA_STEPS,
    SIZE,
    SOURCE,
    TARGET,
    TINY_SIDE,
    edit_pictures,
    edit_start,
    text_embedding,
)
from tests.golden.upstream import HERE, checkouts, contiguous, official


class Texts(list[str]):
    """Prompts in the place of tokens."""

    def to(self, device: str) -> Texts:
        return self


class StandInClip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = TinyEncoder()

    def encode_image(self, images: Tensor) -> Tensor:
        return self.encoder.encode_image(images)

    def encode_text(self, texts: Texts) -> Tensor:
        return torch.cat([text_embedding(text) for text in texts])

    def forward(self, images: Tensor, texts: Texts) -> tuple[Tensor, None]:
        seen, said = self.encode_image(images), self.encode_text(texts)
        return 100 * F.normalize(seen, dim=1) @ F.normalize(said, dim=1).T, None


def clip_loss(module: Any) -> Any:
    """The official loss; its CLIP view with the resizing of tensors of its torchvision."""
    loss = module.CLIPLoss.__new__(module.CLIPLoss)
    nn.Module.__init__(loss)
    loss.device = "cpu"
    loss.model = StandInClip()
    loss.preprocess = transforms.Compose([
        transforms.Normalize([-1.0] * 3, [2.0] * 3),
        transforms.Resize(
            TINY_SIDE, interpolation=transforms.InterpolationMode.BICUBIC, antialias=False
        ),
        transforms.CenterCrop(TINY_SIDE),
        transforms.Normalize(CLIP_MEAN, CLIP_STD),
    ])  # fmt: skip
    loss.target_direction = loss.src_text_features = None
    loss.direction_loss = module.DirectionLoss("cosine")
    loss.lambda_global = loss.lambda_patch = loss.lambda_manifold = loss.lambda_texture = 0.0
    loss.lambda_direction = 1.0
    return loss


def network(module: Any, criteria: Any, k: int, iters: int) -> Any:
    """The official pair of generators, on the CPU."""
    net = module.ZSSGAN.__new__(module.ZSSGAN)
    nn.Module.__init__(net)
    net.args = SimpleNamespace(auto_layer_batch=NADA_CHOICE, sgxl=False, sg3=False)
    net.device = "cpu"
    for name in ("generator_frozen", "generator_trainable"):
        pair = module.SG2Generator.__new__(module.SG2Generator)
        nn.Module.__init__(pair)
        pair.generator = filled(module.Generator(SIZE, EDIT_DIM, EDIT_LAYERS), "edit")
        pair.mean_latent = None
        setattr(net, name, pair)
    net.generator_frozen.freeze_layers()
    net.generator_frozen.eval()
    net.generator_trainable.freeze_layers()
    net.generator_trainable.unfreeze_layers(net.generator_trainable.get_training_layers(None))
    net.generator_trainable.train()
    net.clip_loss_models = {"tiny": clip_loss(criteria)}
    net.clip_model_weights = {"tiny": 1.0}
    net.source_class, net.target_class = SOURCE, TARGET
    net.auto_layer_k, net.auto_layer_iters = k, iters
    return net


def tuned(net: Any, mixing_noise: Any) -> dict[str, Tensor]:
    """The loop of train.py without its pictures."""
    ratio = 4 / 5
    optimiser = torch.optim.Adam(
        net.generator_trainable.parameters(),
        lr=0.002 * ratio,
        betas=(0**ratio, 0.99**ratio),
    )
    before = copy.deepcopy(net.generator_trainable.generator)
    torch.manual_seed(NADA_SEED)
    losses = []
    for _ in range(NADA_STEPS):
        net.train()
        _, loss = net(mixing_noise(NADA_BATCH, EDIT_DIM, 0.0, "cpu"))
        net.zero_grad(set_to_none=False)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    after = net.generator_trainable.generator
    changes = {
        f"moved/{name}": (p - q).abs().mean()[None].detach()
        for (name, p), q in zip(after.named_parameters(), before.parameters(), strict=True)
    }
    picture = after([edit_start(6)], input_is_latent=True, randomize_noise=False)[0]
    return {"losses": torch.stack(losses), "picture": picture, **changes}


def main() -> None:
    folder: Path = checkouts("nada")["nada"]
    sys.path.insert(0, str(folder / "ZSSGAN"))
    module: Any = types.ModuleType("clip")
    module.tokenize = Texts
    sys.modules["clip"] = module
    sys.modules["ZSSGAN.legacy"] = types.ModuleType("ZSSGAN.legacy")  # reads StyleGAN-XL only
    # upstream runs on a GPU, from which .cpu() copies; here the codes would share their memory with
    # those that they are compared with
    kind: Any = Tensor
    kind.cpu = lambda self: self.clone()
    zssgan = official_model("ZSSGAN.model.ZSSGAN")
    criteria = official("ZSSGAN.criteria.clip_loss")
    mixing_noise = official("ZSSGAN.utils.training_utils").mixing_noise
    loss = clip_loss(criteria)
    pictures = [edit_pictures(name) for name in ("a", "b")]
    out = {
        "text_direction": loss.compute_text_direction(SOURCE, TARGET),
        "direction": loss.clip_directional_loss(pictures[0], SOURCE, pictures[1], TARGET),
        "global": loss.global_clip_loss(pictures[0], TARGET),
    }
    net = network(zssgan, criteria, NADA_K, 2)
    net.generator_trainable.unfreeze_layers()
    torch.manual_seed(NADA_SEED)
    chosen = net.determine_opt_layers()
    children = list(net.generator_trainable.get_all_layers())
    layers = children[2:4] + list(children[4])
    out["chosen"] = torch.tensor([
        next(i for i, layer in enumerate(layers) if layer is c) for c in chosen
    ])  # fmt: skip
    for name, k, iters in (("adaptive", NADA_K, 1), ("all", 1, 0)):
        result = tuned(network(zssgan, criteria, k, iters), mixing_noise)
        out |= {f"{name}/{key}": value for key, value in result.items()}
    save_file(contiguous(out), HERE / "stylegan_nada.safetensors")


if __name__ == "__main__":
    main()
