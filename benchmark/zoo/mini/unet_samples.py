"""What the mini U-Net draws by itself: ``python -m benchmark.zoo.mini.unet_samples``.

Style transfer begins at half of the chain and needs none of this. The figures say whether the
network can be asked for pictures of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmark.diffusion.process import Denoise, DiffusionProcess
from benchmark.diffusion.schedule import Schedule
from benchmark.diffusion.unet import UNet
from benchmark.errors import BenchError
from benchmark.metrics.distribution import kernel_distance
from benchmark.script import script
from benchmark.zoo.clip import ClipEncoder
from benchmark.zoo.models import ModelZoo

from . import corpus
from .bank import CONTENT, CONTENT_PROMPTS
from .stylegan2_figures import neighbour_distance
from .unet import LABELS, SIDES, class_index, to_model_range

PART = 20
# timestep at which a side begins: the smallest with noise, the others with what was drawn before
BEGIN = {16: 999, 32: 350, 64: 300}
# classifier-free guidance of each side (Ho & Salimans 2022, arXiv 2207.12598): the noise is
# eps_unconditional + guidance * (eps_class - eps_unconditional). At 16 it makes the classes differ;
# at 64, where the unconditional label is of stylised pictures for the most part, photographs
GUIDANCE = {16: 4.0, 32: 3.0, 64: 3.0}
SHOWN = 12  # samples of each class on the sheet
SEED = 1  # GUIDANCE was chosen on samples of seed 0


@torch.no_grad()
def draw(unet: UNet, domain: str, count: int, respacing: int, draws: torch.Generator) -> Tensor:
    """Pictures [N, 3, 64, 64] in [-1, 1] of a domain, up the sides that the network knows.

    At the smallest side from noise. What a side draws is enlarged, noised to ``BEGIN`` and drawn
    anew at the next. The reverse process is ancestral (DDIM with eta 1, Song et al. 2021): with
    eta 0 the errors of a small network add up to grain. x0_hat is clipped to the range of pictures
    at every step, as guided diffusion does when it samples.

    Args:
        respacing: steps of the whole chain, of which the larger sides take a part.

    Raises:
        BenchError: the network was not trained at several sides.
    """
    if unet.config.num_classes != len(LABELS):
        raise BenchError(
            f"a U-Net with {unet.config.num_classes} labels cannot draw: it needs the "
            f"{len(LABELS)} of {', '.join(f'{side} x {side}' for side in SIDES)} pixels. Train it "
            "with python -m benchmark.zoo.mini.train unet"
        )
    process = DiffusionProcess(Schedule.linear(respacing))
    parts = [
        _draw_part(unet, process, domain, min(PART, count - start), draws)
        for start in range(0, count, PART)
    ]
    return torch.cat(parts)


def _draw_part(
    unet: UNet, process: DiffusionProcess, domain: str, count: int, draws: torch.Generator
) -> Tensor:
    x: Tensor | None = None
    for side in reversed(SIDES):
        first = _first_step(process, BEGIN[side])
        noise = torch.randn(count, 3, side, side, generator=draws)
        if x is None:
            x = noise
        else:
            x = F.interpolate(x, size=side, mode="bicubic").clamp(-1, 1)
            x = process.q_sample(x, first, noise)
        x = _reverse(process, _denoiser(unet, domain, side), x, first, draws)
    assert x is not None  # there are sides
    return x


@torch.no_grad()
def redraw(
    unet: UNet, pictures: Tensor, domain: str, begin: int, respacing: int, draws: torch.Generator
) -> Tensor:
    """Pictures noised to a timestep and drawn anew at their side (SDEdit, arXiv 2108.01073).

    Args:
        pictures: [N, 3, S, S] in [-1, 1], S one of ``SIDES``.
        begin: on the 0..999 scale.
        respacing: steps of the whole chain, of which those up to ``begin`` are taken.
    """
    process = DiffusionProcess(Schedule.linear(respacing))
    denoise, first = _denoiser(unet, domain, pictures.shape[-1]), _first_step(process, begin)
    drawn = []
    for part in torch.split(pictures, PART):
        noise = torch.randn(part.shape, generator=draws)
        noised = process.q_sample(part, first, noise)
        drawn.append(_reverse(process, denoise, noised, first, draws))
    return torch.cat(drawn)


def _first_step(process: DiffusionProcess, begin: int) -> int:
    """The noisiest step of the chain that lies no later than a timestep."""
    return sum(t <= begin for t in process.schedule.timestep_map) - 1


def _reverse(
    process: DiffusionProcess, denoise: Denoise, x: Tensor, first: int, draws: torch.Generator
) -> Tensor:
    for step in range(first, -1, -1):
        x0 = process.predict(denoise, x, step).x0_hat.clamp(-1, 1)
        eps, sigma = process.eps_from_x0(x, step, x0), process.ddim_sigma(step, 1.0)
        noise = torch.randn(x.shape, generator=draws)
        x = process.implicit_step(x0, eps, step, sigma, noise)
    return x.clamp(-1, 1)


def _denoiser(unet: UNet, domain: str, side: int) -> Denoise:
    label, no_label = class_index(domain, side), class_index("unconditional", side)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        labels = torch.full((len(x),), label)
        with_class: Tensor = unet(x, t, labels)
        without: Tensor = unet(x, t, torch.full_like(labels, no_label))
        return without + GUIDANCE[side] * (with_class - without)

    return denoise


@torch.no_grad()
def embeddings(judge: ClipEncoder, pictures: Tensor) -> Tensor:
    """[N, D], of length 1."""
    parts = [judge.encode_image(part) for part in torch.split(pictures, PART)]
    return F.normalize(torch.cat(parts), dim=1)


def figures(samples: dict[str, Tensor], folder: Path, judge: ClipEncoder) -> dict[str, float]:
    """Told right by the judge; kernel distance and nearest neighbours beside those of photographs.

    Args:
        samples: pictures by domain.
        folder: the corpus.
    """
    found: dict[str, float] = {}
    texts = F.normalize(judge.encode_text(CONTENT_PROMPTS), dim=1)
    together: dict[str, list[Tensor]] = {"samples": [], "train": [], "test": []}
    near: dict[str, list[float]] = {"samples": [], "held_out": []}
    right = 0
    for domain, pictures in samples.items():
        bank, unseen = (
            to_model_range(torch.from_numpy(corpus.load(folder, split, (domain,)).pixels))
            for split in ("train", "test")
        )
        seen = embeddings(judge, pictures)
        told = ((seen @ texts.T).argmax(1) == CONTENT.index(domain)).sum().item()
        found[f"told_{domain}"] = told / len(pictures)
        right += int(told)
        near["samples"].append(neighbour_distance(pictures, bank))
        near["held_out"].append(neighbour_distance(unseen, bank))
        together["samples"].append(seen)
        together["train"].append(embeddings(judge, bank[: len(pictures)]))
        together["test"].append(embeddings(judge, unseen[: len(pictures)]))
    drawn, trained_on, held_out = (torch.cat(together[k]) for k in ("samples", "train", "test"))
    return found | {
        "told_right": right / sum(map(len, samples.values())),
        "kid_samples": kernel_distance(drawn, held_out),
        "kid_training_photos": kernel_distance(trained_on, held_out),
        "neighbour_of_samples": float(np.mean(near["samples"])),
        "neighbour_of_held_out": float(np.mean(near["held_out"])),
    }


def sheet(samples: dict[str, Tensor], path: Path) -> None:
    """A row of pictures for each key, twice as large as they are."""
    rows = [torch.cat(list(pictures), dim=2) for pictures in samples.values()]
    grid = torch.cat(rows, dim=1).add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(grid)
    picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(path)


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.zoo.mini.unet_samples",
        description=(__doc__ or "").split(":")[0],
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--out", type=Path, required=True, help="folder of sheet and figures")
    parser.add_argument("--count", type=int, default=500, help="samples in all")
    parser.add_argument("--respacing", type=int, default=50, help="steps")
    given = parser.parse_args()
    zoo = ModelZoo({"denoiser": "mini-unet", "judge": "mini-clip-score"})
    draws = torch.Generator().manual_seed(SEED)
    unet = zoo.denoiser().unet
    samples = {
        domain: draw(
            unet,
            domain,
            given.count // len(CONTENT),
            given.respacing,
            draws,
        )
        for domain in CONTENT
    }
    found = figures(samples, given.corpus, zoo.clip("judge"))
    given.out.mkdir(parents=True, exist_ok=True)
    sheet({name: row[:SHOWN] for name, row in samples.items()}, given.out / "samples.png")
    (given.out / "figures.json").write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
