"""What the mini StyleGAN2s are trained on: faces, and heads of dogs that begin as faces."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.zoo.models import ModelZoo
from benchmark.zoo.stylegan2 import StyleGan2, StyleGan2Config
from benchmark.zoo.stylegan2_encoder import EncoderConfig

from . import corpus
from .dog_heads import heads
from .stylegan2_parts import initialise
from .unet import MARGIN, random_windows, to_model_range, windows_of

BATCH = 12


class FacesRecipe:
    """Model, data and figures, in the form that :func:`..export.export` takes.

    Args:
        folder: of the corpus.
        cache: for what is found in it once.

    Raises:
        FileNotFoundError: the corpus lacks the domain's pictures.
    """

    name = "stylegan2"
    kind = "stylegan2"
    seed = 51
    steps = 5000  # of the shipped model
    batch_size = BATCH
    domains: tuple[str, ...] = ("faces",)
    encoder_channels: tuple[int, ...] = (24, 48, 96, 160, 160)

    def __init__(self, folder: Path, cache: Path) -> None:
        self._read(folder, cache)
        self.config = StyleGan2Config(
            size=64,
            style_dim=128,
            n_mlp=4,
            channels=(160, 160, 128, 64, 32),
            encoder=EncoderConfig(channels=self.encoder_channels),
        )

    def _read(self, folder: Path, cache: Path) -> None:
        """Find ``pixels`` and ``held_out``, uint8 [N, 64, 64, 3]."""
        self.pixels = torch.from_numpy(corpus.load(folder, "train", self.domains).pixels)
        self.held_out = torch.from_numpy(corpus.load(folder, "test", self.domains).pixels)

    def _chosen(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """The training pictures [B, 64, 64, 3] of these places."""
        return self.pixels[chosen]

    def build(self) -> StyleGan2:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = StyleGan2(self.config)
        assert model.encoder is not None
        initialise(model.encoder, torch.Generator().manual_seed(self.seed))
        with torch.no_grad():
            model.encoder.offsets.weight.mul_(0.1)
        return model

    def photos(self, generator: torch.Generator) -> Tensor:
        """A batch [N, 3, 64, 64] in [-1, 1], half of it mirrored."""
        chosen = torch.randint(len(self.pixels), (self.batch_size,), generator=generator)
        images = to_model_range(self._chosen(chosen, generator))
        mirrored = torch.rand(self.batch_size, generator=generator) < 0.5
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)

    def architecture(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json", exclude={"channel_multiplier"})

    def finish(self, model: nn.Module) -> nn.Module:
        """The generator with its encoder; the mean latent, which was 0, is filled in."""
        assert isinstance(model, StyleGan2) and model.encoder is not None
        shipped = copy.deepcopy(model).eval()
        assert shipped.encoder is not None
        with torch.no_grad():
            average = shipped.average_latent()
            shipped.encoder.shared.bias.sub_(average - shipped.latent_avg)
            shipped.latent_avg.copy_(average)
        return shipped

    def evaluate(self, shipped: nn.Module, model: nn.Module) -> dict[str, float]:
        from .stylegan2_figures import figures

        assert isinstance(shipped, StyleGan2)
        return figures(shipped, self.domains[0], self.pixels, self.held_out)


class DogsRecipe(FacesRecipe):
    """Close-ups of heads, as AFHQ's are; the generator begins as the shipped one of faces.

    Two thousand heads are few to learn edges, eyes and light from, and faces have them too. The
    encoder is smaller, so that the shipped models stay within 60 MB.
    """

    name = "stylegan2-dogs"
    seed = 52
    steps = 3000
    domains = ("dogs",)
    encoder_channels = (24, 48, 80, 96, 64)

    def _read(self, folder: Path, cache: Path) -> None:
        large = heads(folder, "train", corpus.SIZE + MARGIN, cache)
        self._windows = windows_of(large)
        start = MARGIN // 2
        middle = slice(start, start + corpus.SIZE)
        self.pixels = torch.from_numpy(large[:, middle, middle])
        self.held_out = torch.from_numpy(heads(folder, "test", corpus.SIZE, cache))

    def _chosen(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        return random_windows(self._windows, chosen, generator)

    def build(self) -> StyleGan2:
        model = super().build()
        trained = ModelZoo({"generator": "mini-stylegan2"}, None).generator().state_dict()
        state = model.state_dict()
        for name, value in trained.items():
            if not name.startswith("encoder.") and name != "latent_avg":
                state[name] = value
        model.load_state_dict(state)
        return model


RECIPES = {"faces": FacesRecipe, "dogs": DogsRecipe}
