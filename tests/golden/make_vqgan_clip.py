"""Writes vqgan_clip.safetensors: the official VQGAN-CLIP script's losses, cut-outs and updates.

``python -m tests.golden.make_vqgan_clip --vqgan-clip DIR --taming DIR --packages DIR --kornia DIR``
with checkouts of github.com/nerdyrodent/VQGAN-CLIP at 592d555 and CompVis/taming-transformers at
3ba01b2 and folders with einops and with kornia 0.5.4 (``pip install --no-deps --target``), which
its requirements pin. ``generate.py`` runs as it is, line by line, with a tiny VQModel and a tiny
network in CLIP's place. Its random numbers are its own; they are stored, for ours to use.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.golden.make_vqgan import official_vqgan_module
from tests.golden.official_format import (
    EDITOR_CROP_SIZE,
    TinyEncoder,
    named_normal,
    picture,
    shapes_of,
)
from tests.golden.upstream import HERE, checkouts, contiguous
from tests.golden.vqgan_case import (
    ARCHITECTURE,
    CODES,
    CUTS,
    EMBED_DIM,
    PROMPT,
    RUN,
    SIDE,
    vqgan_state,
)
from tests.golden.zecon_case import prompt_embedding

# weight and stop of the prompt, and the flag of the latents' loss
PROMPTS = ((1.0, float("-inf")), (-2.0, float("-inf")), (0.5, 1.1))
INIT_WEIGHT = 0.7
JITTER = ("brightness", "contrast", "saturation", "hue")


def source_pixels() -> Any:
    """[32, 32, 3] uint8: the script reads a file."""
    image = picture("vqgan-clip/source", SIDE)[0]
    return image.add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


class _Perceptor(nn.Module):
    """A tiny CLIP in the words of OpenAI's package, which also notes what it is shown."""

    def __init__(self, watch: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.visual = SimpleNamespace(input_resolution=EDITOR_CROP_SIZE)
        self.encoder = TinyEncoder()
        self.watch = watch

    def encode_image(self, images: Tensor) -> Tensor:
        self.watch(images)
        return self.encoder.encode_image(images)

    def encode_text(self, tokens: Any) -> Tensor:
        return torch.cat([prompt_embedding(text) for text in tokens])


class _Sentences(list[str]):
    def to(self, device: object) -> _Sentences:
        return self


def _modules(watch: Callable[[Tensor], None]) -> dict[str, Any]:
    clip: Any = types.ModuleType("CLIP")
    clip.clip = SimpleNamespace(
        load=lambda *args, **kwargs: (_Perceptor(watch), None),
        tokenize=lambda text: _Sentences([text]),
    )
    settings = SimpleNamespace(
        model=SimpleNamespace(
            target="taming.models.vqgan.VQModel",
            params={
                "ddconfig": dict(ARCHITECTURE), "lossconfig": None, "n_embed": CODES,
                "embed_dim": EMBED_DIM,
            },
        )
    )  # fmt: skip
    models: Any = types.ModuleType("taming.models")
    models.vqgan, models.cond_transformer = official_vqgan_module(), None
    return {
        "CLIP": clip,
        "omegaconf": SimpleNamespace(OmegaConf=SimpleNamespace(load=lambda path: settings)),
        "taming.models": models,
        "torch_optimizer": SimpleNamespace(DiffGrad=None, AdamP=None),
        "imageio": types.ModuleType("imageio"),
    }


def run(folder: Path, *flags: str, updates: int) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """Let the official script run; its variables at the end, and what each update saw and drew."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    record: list[dict[str, Tensor]] = []
    drawn: dict[str, Tensor] = {}
    uniform, normal = Tensor.uniform_, torch.randn_like

    def keep_uniform(tensor: Tensor, *bounds: float, **options: Any) -> Tensor:
        out = uniform(tensor, *bounds, **options)
        if tensor.shape == (CUTS, 1, 1, 1):
            drawn["level"] = out.clone().flatten()
        return out

    def keep_normal(tensor: Tensor, **options: Any) -> Tensor:
        drawn["grain"] = normal(tensor, **options)
        return drawn["grain"]

    def watch(images: Tensor) -> None:
        affine, perspective, jitter, erasing = variables["make_cutouts"].augs
        record.append(
            {"z": variables["z"].detach().clone(), "cuts": images.detach().clone()}
            | {key: value.clone() for key, value in drawn.items()}
            | _spread("affine", affine, ("angle", "sx", "translations"))
            | _spread("perspective", perspective, ("end_points",))
            | _spread("jitter", jitter, tuple(f"{name}_factor" for name in JITTER))
            | _spread("erasing", erasing, ("xs", "ys", "widths", "heights"))
            | {"order": jitter._params["order"].clone()}
        )

    text = (folder / "generate.py").read_text()
    with tempfile.TemporaryDirectory() as work:
        Image.fromarray(source_pixels()).save(Path(work) / "source.png")
        model = official_vqgan_module().VQModel(
            dict(ARCHITECTURE), None, n_embed=CODES, embed_dim=EMBED_DIM
        )
        torch.save({"state_dict": vqgan_state(shapes_of(model))}, Path(work) / "model.ckpt")
        words = [
            "generate.py", "-p", PROMPT, "-ii", "source.png", "-i", str(updates), "-s", str(SIDE),
            str(SIDE), "-cuts", str(CUTS), "-sd", "11", "-cd", "cpu", "-ckpt", "model.ckpt", *flags,
        ]  # fmt: skip
        with (
            patch.dict(sys.modules, _modules(watch)),
            patch.object(sys, "argv", words),
            patch.object(Tensor, "uniform_", keep_uniform),
            patch.object(torch, "randn_like", keep_normal),
            # kornia 0.5.4 calls what PyTorch has renamed since
            patch.object(torch, "solve", lambda b, a: (torch.linalg.solve(a, b), a), create=True),
            contextlib.chdir(work),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            exec(compile(text, "generate.py", "exec"), variables)
    if len(record) != updates + 1:
        raise RuntimeError(f"{len(record)} updates instead of {updates + 1}")
    return variables, record


def _spread(name: str, augment: Any, keys: tuple[str, ...]) -> dict[str, Tensor]:
    """Parameters of the cut-outs that an augmentation changed, with zeros for the others."""
    hit = augment._params["batch_prob"]
    found = {f"{name}/applied": hit.clone()}
    for key in keys:
        values = augment._params[key]
        spread = torch.zeros(CUTS, *values.shape[1:])
        spread[hit] = values
        found[f"{name}/{key}"] = spread
    return found


def _gradient(value: Tensor, of: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value.sum(), of)
    return gradient


def main() -> None:
    folder = checkouts("vqgan-clip", "taming", "packages", "kornia")["vqgan_clip"].resolve()
    variables, record = run(folder, updates=RUN)
    if not any(bool(step["erasing/applied"].any()) for step in record):
        raise RuntimeError("nothing was erased: take another seed")
    out = {f"{step}/{key}": value for step, row in enumerate(record) for key, value in row.items()}
    out["gradient"] = variables["z"].grad  # of the last update, which is not shown

    variables, once = run(
        folder, "-iw", str(INIT_WEIGHT), "-opt", "AdamW", "-lr", "0.25", updates=1
    )
    out |= {
        f"adamw/{step}/{key}": value
        for step, row in enumerate(once) for key, value in row.items() if key != "cuts"
    }  # fmt: skip

    embeddings = named_normal("vqgan-clip/embeddings", (CUTS, 24)).requires_grad_()
    for index, (weight, stop) in enumerate(PROMPTS):
        prompt = variables["Prompt"](prompt_embedding(PROMPT), weight, stop)
        loss = prompt(embeddings)
        out[f"prompt/{index}"] = loss
        out[f"prompt/{index}/gradient"] = _gradient(loss, embeddings)
    values = named_normal("vqgan-clip/clamp", (64,)).requires_grad_()
    pull = named_normal("vqgan-clip/pull", (64,))
    clamped = variables["clamp_with_grad"](values, 0, 1)
    out |= {"clamp": clamped, "clamp/gradient": _gradient(clamped * pull, values)}
    save_file(contiguous(out), HERE / "vqgan_clip.safetensors")


if __name__ == "__main__":
    main()
