"""The official ZeCon editor from a checkout, behind the common interface, to be timed beside ours.

``YSerin/ZeCon`` at commit 51e679e; no line of it is part of this project. The editor's class runs
with its own U-Net, process, crops and losses, on the weights of the zoo's models. In their places
stand: the zoo's CLIP for OpenAI's package (the same network), the zoo's VGG for torchvision's, and
nothing for the pictures of intermediate steps, which are not drawn. What it hard-codes for CLIPs of
224 pixels is given a smaller CLIP's size.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import types
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn
from torchvision import transforms

from baselines.zecon import ZeConConfig
from benchmark.diffusion.unet import NoiseOfVelocity
from benchmark.errors import UsageError
from benchmark.interface import (
    Guidance,
    MethodCard,
    MethodConfig,
    StyleBatch,
    StyleRequest,
    StyleTransferMethod,
)
from benchmark.noise import NoiseSource
from benchmark.pictures import encode_png
from benchmark.predict import to_pixels
from benchmark.profiling import phase
from benchmark.zoo.vgg import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from benchmark.zoo import ModelZoo
    from benchmark.zoo.denoiser import Denoiser

EDITOR = Path("optimization") / "image_editor_zecon.py"
_CROP_SIZED_FOR = 224  # the CLIP input that the editor's crops of 128 pixels are made for
# what the editor trains of its U-Net, and so keeps graphs of
_TRAINED = ("qkv", "norm", "proj")


def stand_in_for_tkinter() -> None:
    """The official gaussian_diffusion.py imports a name of tkinter that it never uses."""
    stand_in: Any = types.ModuleType("tkinter")
    stand_in.X = None
    sys.modules.setdefault("tkinter", stand_in)


def use_checkout(folder: Path) -> None:
    """Put a checkout on the import path of this process.

    Raises:
        UsageError: it is no checkout of ZeCon, or what it imports is not installed.
    """
    if not (folder / EDITOR).is_file():
        raise UsageError(
            f"{folder} is not a checkout of github.com/YSerin/ZeCon: it has no {EDITOR}. Get one: "
            "git clone https://github.com/YSerin/ZeCon && git -C ZeCon checkout 51e679e"
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    stand_in_for_tkinter()
    try:
        import_module("optimization.image_editor_zecon")
    except ImportError as error:
        raise UsageError(
            f"the official code in {folder} cannot be imported: {error}. It was written for "
            "kornia 0.6.4: pip install --no-deps kornia==0.6.4"
        ) from error


def official_unet(config: Mapping[str, Any]) -> nn.Module:
    """The official U-Net for an architecture in the words of ``UNetConfig``."""
    unet = import_module("guided_diffusion.guided_diffusion.unet")
    size = config["image_size"]
    head_channels = config["num_head_channels"]
    model: nn.Module = unet.UNetModel(
        image_size=size,
        in_channels=3,
        model_channels=config["model_channels"],
        out_channels=6 if config.get("learn_sigma", True) else 3,
        num_res_blocks=config["num_res_blocks"],
        # the official class counts in down-sampling rates
        attention_resolutions=tuple(size // side for side in config["attention_resolutions"]),
        channel_mult=config["channel_mult"],
        num_classes=config.get("num_classes"),
        num_heads=config.get("num_heads", 4),
        num_head_channels=-1 if head_channels is None else head_channels,
        use_scale_shift_norm=config.get("use_scale_shift_norm", True),
        resblock_updown=config.get("resblock_updown", True),
        use_new_attention_order=config.get("use_new_attention_order", False),
    )
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):  # always 32 groups in the official code
            module.num_groups = config.get("norm_groups", module.num_groups)
    return model.eval().requires_grad_(False)


def official_process(respacing: str) -> Any:
    """The official respaced process, as ZeCon builds it."""
    script_util = import_module("guided_diffusion.guided_diffusion.script_util")
    return script_util.create_gaussian_diffusion(
        steps=1000, learn_sigma=True, noise_schedule="linear", rescale_timesteps=True,
        timestep_respacing=respacing,
    )  # fmt: skip


class Labelled(nn.Module):
    """The official U-Net with the class label that the official editors have no argument for.

    Args:
        noise_of: for a network whose last layer computes a velocity, which the official code does
            not know.
    """

    def __init__(self, unet: nn.Module, noise_of: NoiseOfVelocity | None = None) -> None:
        super().__init__()
        self.unet: Any = unet
        self.noise_of = noise_of
        self.label: Tensor | None = None

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.unet(x, timesteps, y=self.label)
        return out if self.noise_of is None else self.noise_of(out, x, timesteps)

    def forward_enc(self, x: Tensor, timesteps: Tensor, blocks: Any) -> list[Tensor]:
        features: list[Tensor] = self.unet.forward_enc(x, timesteps, blocks, y=self.label)
        return features


def labelled_unet(denoiser: Denoiser) -> Labelled:
    """The official U-Net with a denoiser's weights, trained as far as the editors train it."""
    unet = official_unet(denoiser.unet.config.model_dump())
    unet.load_state_dict(denoiser.unet.state_dict())
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(any(part in name for part in _TRAINED))
    return Labelled(unet.to(next(denoiser.parameters()).device), denoiser.unet.noise_of)


def _as_official_code_loads_it(network: nn.Module) -> Any:
    """A copy in PyTorch's default memory layout."""
    return deepcopy(network).to(memory_format=torch.contiguous_format)


class OfficialZeCon(StyleTransferMethod):
    """One image after the other through the official editor.

    Args:
        checkout: a folder with ``github.com/YSerin/ZeCon``.
        config: numbers of steps and crops, and the weights.
    """

    Config: ClassVar[type[MethodConfig]] = ZeConConfig
    card: ClassVar[MethodCard] = MethodCard(
        title="ZeCon, official code",
        paper="arXiv 2303.08622",
        upstream="github.com/YSerin/ZeCon@51e679e",
        roles=("denoiser", "guide", "vgg"),
    )
    guidance: ClassVar[frozenset[Guidance]] = frozenset({Guidance.TEXT})
    config: ZeConConfig

    def __init__(self, checkout: Path, config: ZeConConfig) -> None:
        super().__init__(config)
        self.config = config
        use_checkout(checkout)

    def prepare(self, zoo: ModelZoo) -> None:
        """See the base class."""
        denoiser = zoo.denoiser()
        self._labels = denoiser.labels
        self.unet = labelled_unet(denoiser)
        self.clip = _as_official_code_loads_it(zoo.clip("guide"))
        self.vgg = _as_official_code_loads_it(zoo.vgg().features)

    def stylize(self, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        """See the base class. The random numbers are the editor's own, from a seed of ``noise``."""
        seeds = (noise.normal("official", (1,)) * 1e6).long().abs()[:, 0].tolist()
        devices = [batch.images.device] if batch.images.is_cuda else []
        shown = []
        for image, request, seed in zip(batch.images, batch.requests, seeds, strict=True):
            with torch.random.fork_rng(devices), phase("official"):
                torch.manual_seed(seed)
                shown.append(self.edit(image, request))
        return torch.stack(shown)

    def edit(self, image: Tensor, request: StyleRequest) -> Tensor:
        """The editor's last x0_hat [3, H, W] of an image [3, H, W] in [-1, 1]."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "source.png"
            path.write_bytes(encode_png(to_pixels(image[None].cpu())[0]))
            editor, last = self._editor(path, request, image.device)
            # it prints averages and progress
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
                torch.enable_grad(),
            ):
                editor.edit_image_by_prompt()
        (x0_hat,) = last
        return x0_hat.detach().float()

    def _editor(
        self, image: Path, request: StyleRequest, device: torch.device
    ) -> tuple[Any, list[Tensor]]:
        """The editor, and the list that it leaves its last x0_hat in."""
        config, size = self.config, self.unet.unet.image_size
        official = import_module("optimization.image_editor_zecon").ImageEditor
        editor = official.__new__(official)  # its own __init__ reads checkpoints
        editor.args = SimpleNamespace(
            prompt_tgt=request.prompt, prompt_src=request.source_prompt, init_image=str(image),
            batch_size=1, eta=config.eta, output_path=str(image.parent), output_file="out.png",
            iterations_num=1, n_patch=config.n_patches,
            skip_timesteps=config.respacing - config.t0,
            diffusion_type=f"{config.forward_process}_{config.reverse_process}",
            export_assets=False, save_video=False,
            l_clip_global=config.clip_global, l_clip_dir=config.clip_dir,
            l_clip_global_patch=config.clip_global_patch, l_clip_dir_patch=config.clip_dir_patch,
            l_zecon=config.contrastive, l_mse=config.mse, l_vgg=config.vgg,
            range_lambda=config.range,
        )  # fmt: skip
        editor.device = device
        editor.model_config = {"image_size": size}
        self.unet.label = self._labels([request.domain], device)
        editor.model = self.unet
        editor.diffusion = official_process(str(config.respacing))
        embeddings = [
            self.clip.encode_text([text]) for text in (request.prompt, request.source_prompt)
        ]
        editor.clip_model = SimpleNamespace(
            encode_image=self.clip.model.encode_image,
            encode_text=lambda tokens: embeddings.pop(0),
        )
        editor.clip_normalize = transforms.Normalize(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
        for name, patch in (("image_augmentations", False), ("patch_augmentations", True)):
            setattr(editor, name, self._augmentations(patch))
        editor.vgg = self.vgg
        editor.vgg_normalize = transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)
        editor.metrics_accumulator = import_module("utils.metrics_accumulator").MetricsAccumulator()
        last: list[Tensor] = []
        for name in ("p_sample_loop_progressive", "ddim_sample_loop_progressive"):
            setattr(editor.diffusion, name, _watched(getattr(editor.diffusion, name), last))
        return editor, last

    def _augmentations(self, patch: bool) -> Any:
        config, side = self.config, self.clip.input_size
        made = import_module("optimization.augmentations").ImageAugmentations(
            side, float(config.augment), config.patch_min, config.patch_max, patch=patch
        )
        if side != _CROP_SIZED_FOR:
            made.random_patch = import_module("kornia.augmentation").RandomResizedCrop(
                size=(side, side), scale=(config.patch_min, config.patch_max)
            )
        return made


def _watched(loop: Any, last: list[Tensor]) -> Any:
    """A sampling loop that keeps its last x0_hat and yields nothing that would be drawn."""

    def run(*args: Any, **kwargs: Any) -> list[Any]:
        for sample in loop(*args, **{**kwargs, "progress": False}):
            last[:] = [sample["pred_xstart"][0]]
        return []

    return run


def beside(checkout: Path, config: MethodConfig) -> OfficialZeCon:
    """The official editor with the steps and crops of a method's config.

    ``zecon`` lends it all its values; of ``ours``, whose losses are others, it takes the numbers
    that decide the cost, and the README's weights.
    """
    if isinstance(config, ZeConConfig):
        return OfficialZeCon(checkout, config)
    shared = ("respacing", "t0", "n_patches", "patch_min", "patch_max")
    return OfficialZeCon(checkout, ZeConConfig(**{name: getattr(config, name) for name in shared}))
