"""CLIP and SigLIP encoders through open_clip: the shipped mini models and any other one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmark.errors import UsageError
from benchmark.zoo.loading import load_strictly
from benchmark.zoo.word_table import with_unused_words

SIGLIP_MEAN_AND_STD = (0.5, 0.5, 0.5)
CONFIGS = Path(__file__).parent / "mini" / "configs"


def build_clip(architecture: str, seed: int = 0) -> nn.Module:
    """An untrained open_clip model.

    Args:
        architecture: a configuration of the mini zoo (``clip-guide``, ``clip-score``,
            ``sigmoid-guide``) or any name that open_clip knows.
        seed: of the initial weights; the global random state is left as it was.
    """
    if architecture not in open_clip.list_models():
        open_clip.add_model_config(CONFIGS)
    with torch.random.fork_rng(devices=[]), _expecting_no_weights():
        torch.manual_seed(seed)
        model: nn.Module = open_clip.create_model(architecture, precision="fp32", device="cpu")
    if is_sigmoid(model):
        # open_clip sets this only together with its own download
        visual: Any = model.visual
        visual.image_mean = visual.image_std = SIGLIP_MEAN_AND_STD
    return model


def is_sigmoid(model: nn.Module) -> bool:
    """Whether a model was made for the sigmoid loss of SigLIP (arXiv 2303.15343)."""
    return getattr(model, "logit_bias", None) is not None


def tokenizer_of(architecture: str) -> Any:
    """The tokenizer that goes with an architecture.

    Raises:
        UsageError: it comes from the Hugging Face hub and is not to be had.
    """
    try:
        return open_clip.get_tokenizer(architecture)
    except (ImportError, OSError) as error:
        config: dict[str, Any] = open_clip.get_model_config(architecture)
        name = config["text_cfg"].get("hf_tokenizer_name", architecture)
        raise UsageError(
            f"the tokenizer {name!r} of {architecture} cannot be loaded "
            f"({str(error).strip().splitlines()[0]}). It needs the package transformers "
            f"(pip install 'stylebench[siglip]') and, once, the Hugging Face hub: fetch it on a "
            f"machine with a network (hf download {name}) and copy its cache."
        ) from error


@contextmanager
def _expecting_no_weights() -> Iterator[None]:
    """Drop open_clip's warning that a model starts from random weights: ours are loaded later."""

    def keep(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("No pretrained weights")

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)


def normalise(model: nn.Module, images: Tensor) -> Tensor:
    """[-1, 1] images in the model's own mean and standard deviation."""
    visual: Any = model.visual
    mean = images.new_tensor(visual.image_mean).view(3, 1, 1)
    std = images.new_tensor(visual.image_std).view(3, 1, 1)
    return ((images + 1) / 2 - mean) / std


def tokenise(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """Token ids [N, context] of prompts.

    Raises:
        UsageError: if there is no prompt, or one is empty or longer than the context.
    """
    if not prompts:
        raise UsageError("no prompt was given: name at least one style in words")
    of_its_own = hasattr(tokenizer, "encode")
    # open_clip's adds a start and an end token to what it counts; SentencePiece's counts its end
    room = tokenizer.context_length - (2 if of_its_own else 0)
    for prompt in prompts:
        if not prompt.strip():
            raise UsageError(f"the prompt {prompt!r} is empty: describe the style in words")
        length = _token_count(tokenizer, prompt)
        if length > room:
            raise UsageError(
                f"the prompt {prompt!r} has {length} tokens, but the text encoder reads at most "
                f"{room}: shorten it"
            )
    tokens: Tensor = tokenizer(list(prompts))
    return tokens


def _token_count(tokenizer: Any, prompt: str) -> int:
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(prompt))
    return len(tokenizer.tokenizer(tokenizer.clean_fn(prompt))["input_ids"])


@torch.no_grad()
def fold_batch_norms(model: nn.Module) -> None:
    """Put the frozen batch norms of CLIP's ResNets into the convolutions before them.

    In evaluation a batch norm is an affine map of each channel. A guided step passes through all of
    them, forward and back, which on a CPU costs as much as a third of the convolutions.
    """
    for block in list(model.modules()):
        for index in ("1", "2", "3"):
            _fold(block, f"conv{index}", f"bn{index}")
        _fold(block, "0", "1")  # the shortcut of a stage, after its pooling


def _fold(block: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(block, conv_name, None), getattr(block, norm_name, None)
    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        setattr(block, conv_name, fuse_conv_bn_eval(conv, norm))
        setattr(block, norm_name, nn.Identity())


class ClipEncoder(nn.Module):
    """Frozen image and text encoder with one calling convention for every CLIP.

    Args:
        model: an open_clip model (``encode_image``, ``encode_text``, ``visual``).
        tokenizer: its open_clip tokenizer.
        name: how reports call it.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, name: str) -> None:
        super().__init__()
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        clip: Any = model
        size: int | tuple[int, int] = clip.visual.image_size
        self.input_size = size if isinstance(size, int) else size[0]
        self.context_length: int = tokenizer.context_length

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], architecture: str, name: str | None = None
    ) -> ClipEncoder:
        """Encoder with given weights.

        Args:
            state: open_clip state dict, with all words or those of :mod:`.word_table`; half
                precision is widened to float32.
            architecture: one of the mini zoo's, or a name that open_clip knows.
            name: what reports call it; the architecture's name if None.

        Raises:
            WeightsError: if names or shapes are not those of the architecture.
        """
        model = build_clip(architecture)
        state = with_unused_words(state, model.state_dict())
        load_strictly(model, state, f"the CLIP architecture {architecture}")
        fold_batch_norms(model.eval())
        return cls(model, tokenizer_of(architecture), name or architecture)

    def compile_passes(self, backend: str) -> None:
        """Have the image tower compiled at its first call; texts are embedded once a prompt."""
        clip: Any = self.model
        clip.visual.compile(backend=backend)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images; differentiable with respect to them.

        Args:
            images: [N, 3, input_size, input_size] float in [-1, 1].

        Returns:
            [N, D] float32, not of unit length.

        Raises:
            ValueError: if the images have another size (:meth:`resize` them).
        """
        expected = (3, self.input_size, self.input_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"{self.name} reads images of shape [N, {', '.join(map(str, expected))}], "
                f"got {list(images.shape)}: resize them first"
            )
        clip: Any = self.model
        # convolutions are a quarter faster on this layout, the patches of a ViT no slower
        x = normalise(self.model, images).contiguous(memory_format=torch.channels_last)
        features: Tensor = clip.encode_image(x)
        return features.float()

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts.

        Returns:
            [N, D] float32, not of unit length.

        Raises:
            UsageError: if there is no prompt, or one is empty or longer than the context.
        """
        tokens = tokenise(self._tokenizer, prompts)
        device = next(self.model.parameters()).device
        clip: Any = self.model
        features: Tensor = clip.encode_text(tokens.to(device))
        return features.float()

    def resize(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] at ``input_size`` (bicubic, antialiased; unchanged if they fit)."""
        size = (self.input_size, self.input_size)
        if tuple(images.shape[2:]) == size:
            return images
        return F.interpolate(images, size=size, mode="bicubic", align_corners=False, antialias=True)
