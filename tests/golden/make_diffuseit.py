"""Writes diffuseit.safetensors: losses and editing jobs of the official DiffuseIT editor.

``python -m tests.golden.make_diffuseit --diffuseit DIR --kornia DIR --color_matcher DIR`` with
checkouts of github.com/cyclomon/DiffuseIT at 8386b9a, kornia 0.6.4 and color-matcher 0.6.0 (see
:mod:`tests.golden.upstream`). Tiny networks take the place of the checkpoints; what is random gets
named numbers, which the test hands to ours by purpose. Everything else is the official code. It
pins torchvision 0.10, which resized without antialiasing, so that is asked for.
"""

from __future__ import annotations

import sys
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from baselines.official_zecon import official_process, official_unet
from tests.golden.official_format import (
    CLIP_MEAN,
    CLIP_STD,
    EDITOR_CROP_SIZE,
    EDITOR_UNET,
    TinyEncoder,
    calm,
    filled_state,
    named_normal,
    picture,
    shapes_of,
)
from tests.golden.upstream import (
    HERE,
    checkouts,
    contiguous,
    official,
)

SIZE = 32
VIT_SIZE = 24  # not the images' size, so that resizing is compared as well
VIT_WIDTH = 128
RESPACING, T0 = 10, 4
N_VIEWS = 3
ROLES = ("guide", "second")
FACE_SIZE = 16
WEIGHTS = {
    "clip": 2000.0, "structure": 1000.0, "contrastive": 200.0, "divergence": 100.0,
    "range": 200.0, "style_class": 2000.0, "style_l2": 3000.0,
}  # fmt: skip
FLAGS = {
    "clip": "clip_guidance_lambda", "structure": "lambda_ssim", "contrastive": "lambda_contra_ssim",
    "divergence": "lambda_dir_cls", "range": "range_lambda", "style_class": "lambda_trg",
    "style_l2": "l2_trg_lambda", "divergence_above": "diff_iter", "noise_mix": "use_noise_aug_all",
    "regularize_content": "regularize_content", "progressive_contrast": "use_prog_contrast",
    "range_restart": "use_range_restart",
}  # fmt: skip
DAMPING = 2e-3  # tiny models answer to a gradient far more violently than trained ones do


@dataclass(frozen=True)
class Case:
    """One editing job.

    Attributes:
        prompt: ``near`` is embedded near the source image (CLIP loss below -0.5), ``far`` is not.
        values: of the config, beside the weights.
        calls: denoising calls that are watched; the official editor is stopped after them.
        kept: calls whose samples are stored.
    """

    name: str
    prompt: str | None
    values: dict[str, Any]
    weights: dict[str, float]
    calls: int
    kept: tuple[int, ...]
    sampler: str = "ddpm"

    def gaussian(self, purpose: str) -> Tensor:
        return named_normal(f"{self.name}/{purpose}", (1, 3, SIZE, SIZE))

    def view(self, purpose: str, number: int) -> tuple[float, int, int, int, int, bool]:
        """Angle, top, left, height, width and flip of a view."""
        draw = named_normal(f"{self.name}/view/{purpose}/{number}", (6,)).double()
        angle = float(draw[0].tanh()) * 10
        height, width = (27 + int(abs(v) * 1000) % 6 for v in draw[1:3].tolist())
        top, left = int(abs(draw[3]) * 1000), int(abs(draw[4]) * 1000)
        return angle, top % (33 - height), left % (33 - width), height, width, bool(draw[5] > 0)


def _damped(**changes: float) -> dict[str, float]:
    return {name: DAMPING * weight for name, weight in WEIGHTS.items()} | changes


_TEXT = {
    "divergence_above": 2, "noise_mix": True, "regularize_content": True,
    "progressive_contrast": False, "range_restart": False,
}  # fmt: skip
CASES = (
    Case("full-weights", "near", _TEXT, WEIGHTS, 1, (0,)),
    Case("text", "near", _TEXT, _damped(), 13, (0, 1, 9)),
    Case(
        "ddim", "far",
        {**_TEXT, "noise_mix": False, "regularize_content": False, "progressive_contrast": True},
        _damped(), 4, (0, 3), sampler="ddim",
    ),
    # the range loss of the first attempt is above the official threshold, that of the second
    # below: the first is stopped at its 11th call, the second is not
    Case(
        "restart", "far", {**_TEXT, "range_restart": True}, _damped(range=1.57e-4), 24, (10, 20)
    ),
    Case("image", None, _TEXT, _damped(), 13, (0, 9)),
)  # fmt: skip


def pixels(name: str) -> np.ndarray:
    """[32, 32, 3] uint8 picture ``source`` or ``style``: the editor reads files."""
    image = picture(f"diffuseit/{name}", SIZE)[0]
    return image.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def as_image(array: np.ndarray) -> Tensor:
    """[1, 3, H, W] in [-1, 1] of uint8 pixels."""
    return torch.from_numpy(array).permute(2, 0, 1)[None].float().div(255).mul(2).sub(1)


class TinyGuide(nn.Module):
    """A CLIP of the ensemble: normalised images [N, 3, 16, 16] and texts -> [N, 24]."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role
        self.encoder = TinyEncoder()

    def encode_image(self, images: Tensor) -> Tensor:
        seen = self.encoder.encode_image(images)
        return seen if self.role == ROLES[0] else seen.flip(-1)

    def encode_text(self, texts: Any) -> Tensor:
        rows = [named_normal(f"diffuseit/{self.role}/{text}", (24,)) for text in texts]
        if any("near" in text for text in texts):
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
            small = F.interpolate(
                as_image(pixels("source")) / 2 + 0.5, EDITOR_CROP_SIZE, mode="bilinear"
            )
            rows = [row + 5 * self.encode_image((small - mean) / std)[0] for row in rows]
        return torch.stack(rows)


def vit_weights(vit: nn.Module) -> dict[str, Tensor]:
    """Weights of the tiny ViT: 12 blocks, because the official code reads number 11."""
    return filled_state(shapes_of(vit), "diffuseit-vit")


class TinyFace(nn.Module):
    """In the place of ArcFace: unit vectors [N, 12] of [N, 3, 16, 16]."""

    input_size = FACE_SIZE

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 4, stride=4), nn.GELU(), nn.Flatten(), nn.Linear(6 * 16, 12)
        )
        self.load_state_dict(filled_state(shapes_of(self), "diffuseit-face"))
        self.eval().requires_grad_(False)

    def embed(self, crops: Tensor) -> Tensor:
        return F.normalize(self.layers(crops), dim=-1)

    def forward(self, crops: Tensor) -> Tensor:
        return self.embed(crops)


@dataclass
class Script:
    """Hands named numbers to the official code in the order in which it asks."""

    case: Case
    attempt: int = -1
    repeat: int = -1
    step: int = T0
    views: int = 0
    undoing: bool = False
    current: tuple[float, int, int, int, int, bool] = field(default=(0.0, 0, 0, 0, 0, False))

    def start(self, *shape: int, **_: Any) -> Tensor:
        self.attempt += 1
        self.repeat = -1
        return self.case.gaussian(f"start/{self.attempt}")

    def call(self, step: int) -> None:
        self.repeat = self.repeat + 1 if step == T0 - 1 else 0
        self.step, self.views = step, 0

    def like(self, x: Tensor) -> Tensor:
        if self.undoing:
            return self.case.gaussian(f"undo/{self.attempt}/{self.repeat}")
        return self.case.gaussian(f"reverse/{self.attempt}/{self.step}/{self.repeat}")

    def angle(self, *_: Any) -> float:
        place, number = divmod(self.views, N_VIEWS)
        purpose = f"views/{self.attempt}/{self.step}/{self.repeat}/{place}"
        self.current = self.case.view(purpose, number)
        self.views += 1
        return self.current[0]

    def rectangle(self, *_: Any) -> tuple[int, int, int, int]:
        return self.current[1:5]

    def flip(self, *_: Any) -> Tensor:
        return torch.tensor([0.0 if self.current[5] else 1.0])


class Tokens(list[str]):
    def to(self, device: Any) -> Tokens:
        return self


def _stand_ins() -> dict[str, Any]:
    """Modules for what the editor imports and does not have here; where pictures go to."""
    saved: dict[str, Any] = {}
    clip: Any = types.ModuleType("clip")
    clip.tokenize = Tokens
    clip.load = lambda name, **_: (
        TinyGuide(name), SimpleNamespace(transforms=[SimpleNamespace(size=EDITOR_CROP_SIZE)])
    )  # fmt: skip
    package: Any = types.ModuleType("CLIP")
    package.clip = clip
    files: Any = types.ModuleType("color_matcher.io_handler")
    files.load_img_file = files.FILE_EXTS = None
    files.save_img_file = lambda image, path: saved.update(matched=image)
    video: Any = types.ModuleType("utils_visualize.video")
    video.save_video = None
    show: Any = types.ModuleType("utils_visualize.visualization")
    show.show_tensor_image = show.show_editied_masked_image = None
    for module in (clip, package, files, video, show):
        sys.modules[module.__name__] = module
    import torchvision.transforms as transforms

    for name in ("Resize", "RandomResizedCrop"):
        setattr(transforms, name, partial(getattr(transforms, name), antialias=False))
    return saved


def official_vit_loss(weights: dict[str, float]) -> Any:
    """The official losses around a tiny ViT of timm's, which has DINO's layout."""
    import timm.models.vision_transformer as timm_vit

    module = official("model_vit.loss_vit")
    with torch.random.fork_rng(devices=[]):
        vit = timm_vit.VisionTransformer(
            img_size=VIT_SIZE, patch_size=8, embed_dim=VIT_WIDTH, depth=12, num_heads=2,
            num_classes=0,
        ).eval()  # fmt: skip
    vit.load_state_dict(vit_weights(vit))
    load, torch.hub.load = torch.hub.load, lambda *_: vit
    try:
        loss = module.Loss_vit(
            {"dino_model_name": "dino_vitb8", "dino_global_patch_size": VIT_SIZE},
            lambda_ssim=weights["structure"], lambda_contra_ssim=weights["contrastive"],
            lambda_dir_cls=weights["divergence"], lambda_trg=weights["style_class"],
        )  # fmt: skip
    finally:
        torch.hub.load = load
    loss.extractor.get_head_num = lambda: VIT_WIDTH // 64
    loss.extractor.get_embedding_dim = lambda: VIT_WIDTH
    return loss


def editor_for(case: Case, folder: Path) -> Any:
    """The official editor around tiny networks."""
    module = official("optimization.image_editor")
    editor = module.ImageEditor.__new__(module.ImageEditor)
    for name in ("source", "style"):
        Image.fromarray(pixels(name)).save(folder / f"{name}.png")
    editor.args = SimpleNamespace(
        prompt=case.prompt, source="source", init_image=str(folder / "source.png"),
        target_image=None if case.prompt else str(folder / "style.png"), batch_size=1,
        skip_timesteps=RESPACING - T0, ddim=case.sampler == "ddim", aug_num=N_VIEWS, vit_lambda=1,
        resample_num=10, iterations_num=1, model_output_size=256, output_path=str(folder),
        output_file="out.png", use_ffhq=False, use_colormatch=True,
        **{FLAGS[name]: value for name, value in (case.values | case.weights).items()},
    )  # fmt: skip
    editor.device = torch.device("cpu")
    editor.ranked_results_path = folder
    editor.model_config = {"image_size": SIZE}
    editor.model = official_unet(EDITOR_UNET)
    editor.model.load_state_dict(calm(filled_state(shapes_of(editor.model), "editor")))
    for name, parameter in editor.model.named_parameters():  # as the editor does
        parameter.requires_grad_(any(part in name for part in ("qkv", "norm", "proj")))
    editor.diffusion = official_process(str(RESPACING))
    editor.VIT_LOSS = official_vit_loss(case.weights)
    editor.clip_net = module.CLIPS(names=list(ROLES), device="cpu", erasing=False)
    editor.cm = module.ColorMatcher()
    editor.metrics_accumulator = official(
        "utils_visualize.metrics_accumulator"
    ).MetricsAccumulator()
    return editor


def run(case: Case, saved: dict[str, Any]) -> dict[str, Tensor]:
    """Let the official editor do the job; returns what the chosen calls gave."""
    import torchvision.transforms.transforms as transforms

    script = Script(case)
    seen: list[dict[str, Tensor]] = []
    with tempfile.TemporaryDirectory() as name:
        editor = editor_for(case, Path(name))
        process = editor.diffusion
        sample_name = "p_sample" if case.sampler == "ddpm" else "ddim_sample"
        sample, undo = getattr(process, sample_name), process._undo
        loop_name = sample_name + "_loop_progressive"
        loop = getattr(process, loop_name)

        def called(model: Any, x: Tensor, t: Tensor, **kwargs: Any) -> Any:
            script.call(int(t[0]))
            return sample(model, x, t, **kwargs)

        def undone(*args: Any) -> Tensor:
            script.undoing = True
            out: Tensor = undo(*args)
            script.undoing = False
            return out

        def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
            for out in loop(*args, **kwargs):
                seen.append(out)
                yield out
                if len(seen) == case.calls:
                    return

        setattr(process, sample_name, called)
        process._undo = undone
        setattr(process, loop_name, watched)
        replaced = [
            (torch, "randn", script.start), (torch, "randn_like", script.like),
            (torch, "rand", script.flip),
            (transforms.RandomRotation, "get_params", staticmethod(script.angle)),
            (transforms.RandomResizedCrop, "get_params", staticmethod(script.rectangle)),
        ]  # fmt: skip
        originals = [vars(target)[attribute] for target, attribute, _ in replaced]
        for target, attribute, value in replaced:
            setattr(target, attribute, value)
        try:
            editor.edit_image_by_prompt()
        finally:
            for (target, attribute, _), value in zip(replaced, originals, strict=True):
                setattr(target, attribute, value)
    if len(seen) != case.calls:
        raise RuntimeError(f"{case.name}: {len(seen)} calls, not {case.calls}")
    out = {f"{case.name}/sample/{call}": seen[call]["sample"] for call in case.kept}
    out[f"{case.name}/shown"] = seen[-1]["pred_xstart"]
    out[f"{case.name}/attempts"] = torch.tensor(script.attempt + 1)
    if case.prompt is None:
        out[f"{case.name}/matched"] = torch.from_numpy(saved["matched"])
    return out


def losses() -> dict[str, Tensor]:
    """Single losses of the official code on given pictures."""
    vit = official_vit_loss(dict.fromkeys(WEIGHTS, 1.0))
    pair = [picture(f"diffuseit/pair/{i}", SIZE) for i in range(2)]
    halves = [0.5 * image + 0.5 for image in pair]
    out = {
        "structure": vit.calculate_global_ssim_loss(*halves),
        "contrastive": vit.calculate_contra_ssim_loss(*halves),
        "divergence": vit.calculate_dir_cls_loss(*halves),
        "style_class": vit.calculate_target_loss(*halves),
        "range": official("optimization.losses").range_loss(1.5 * pair[0]),
    }
    identity = official("id_loss").IDLoss.__new__(official("id_loss").IDLoss)
    nn.Module.__init__(identity)
    identity.facenet = TinyFace()
    identity.face_pool = nn.AdaptiveAvgPool2d((FACE_SIZE, FACE_SIZE))
    out["identity"] = identity(*(picture(f"diffuseit/face/{i}", 256) for i in range(2)))
    normalizer = official("color_matcher.normalizer").Normalizer
    source, style = (normalizer(pixels(name)).type_norm() for name in ("source", "style"))
    matched = official("color_matcher").ColorMatcher().transfer(source, style, method="mkl")
    out["colours"] = torch.from_numpy(normalizer(matched).norm_fun())
    return out


def main() -> None:
    checkouts("diffuseit", "kornia", "color_matcher")
    saved = _stand_ins()
    out = {f"losses/{name}": value for name, value in losses().items()}
    for case in CASES:
        out.update(run(case, saved))
    save_file(contiguous(out), HERE / "diffuseit.safetensors")


if __name__ == "__main__":
    main()
