"""The pictures that stand in for the datasets: ``python -m data.draw_stand_ins``.

Of faces and dogs a StyleGAN2 draws what is where: its pictures vary, and eyes, nose and mouth are
in their places. The U-Net draws them anew from a fourth of the noise (SDEdit, arXiv 2108.01073),
after which they are no easier to invert for methods that edit latents than photographs are; the
last detail is of the U-Net that was tuned to draw (:mod:`benchmark.zoo.mini.unet_drawer`).
Bedrooms are that one's from the start; objects and paintings are the U-Net's own. Of each
dataset's candidates

1. those are left out that lie nearer to a photograph it was trained on than nineteen of twenty
   held-out photographs do, so that nothing of the corpus is given away;
2. an eighth stays: those of which the guide before its last stage (``clip-guide-path``) says most
   clearly that they are photographs (or paintings) of the domain; of dogs those to which
   EfficientNet-Lite0 gives a breed. The judge of the benchmark has no say;
3. the clearest comes first, and then always the one that is least like any chosen before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import registry
from benchmark.errors import BenchError
from benchmark.pictures import encode_png
from benchmark.script import script
from benchmark.zoo.clip import ClipEncoder
from benchmark.zoo.mini import corpus, few_step_drawing, unet_samples
from benchmark.zoo.mini.bank import CONTENT, CONTENT_PROMPTS, STYLE_PROMPTS
from benchmark.zoo.mini.imagenet_teacher import ImageNetTeacher
from benchmark.zoo.mini.stylegan2_figures import nearest, samples
from benchmark.zoo.mini.trainer import trained_before
from benchmark.zoo.mini.unet import to_model_range
from benchmark.zoo.mini.unet_drawer import trained_drawer
from benchmark.zoo.mini.unet_samples import embeddings, figures, sheet
from benchmark.zoo.models import ModelZoo
from data.cards import load_card

CANDIDATES = 256
KEPT = 16
CHOOSER = "clip-guide-path"
CLEAREST = 8  # one of so many candidates
RESPACING = 50  # steps of the U-Net's own chain
DRAFTS = {"faces": "mini-stylegan2", "dogs": "mini-stylegan2-dogs"}
PSI = 0.9  # truncation of the drafts
REDRAWN_FROM = 250  # timestep to which drafts are noised
LAST_DETAIL = few_step_drawing.CHAIN[-1]
TEACHER_SIDE = 224  # pixels at which the dogs' judge looks
TOO_NEAR = 0.05  # quantile of the held-out photographs' distances
NAMES = {
    "faces": "face", "dogs": "dog", "bedrooms": "bedroom", "objects": "object",
    "paintings": "painting",
}  # fmt: skip


class Draughtsmen:
    """Who draws the candidates of which domain.

    Raises:
        DataError: the drawer has not been trained.
    """

    def __init__(self, work_dir: Path, respacing: int) -> None:
        self._drawer = trained_drawer(work_dir)
        self._unet = ModelZoo({"denoiser": "mini-unet"}).denoiser().unet
        self._respacing = respacing

    def draw(self, domain: str, count: int, draws: torch.Generator) -> Tensor:
        """Pictures [N, 3, 64, 64] in [-1, 1]."""
        if domain in DRAFTS:
            generator = ModelZoo({"generator": DRAFTS[domain]}).generator()
            drafts = samples(generator, count, draws, PSI)
            redrawn = unet_samples.redraw(
                self._unet, drafts, domain, REDRAWN_FROM, self._respacing, draws
            )
            return few_step_drawing.redraw(self._drawer, redrawn, domain, LAST_DETAIL, draws)
        if domain == "bedrooms":
            return few_step_drawing.draw(self._drawer, domain, count, draws)
        return unet_samples.draw(self._unet, domain, count, self._respacing, draws)


def chooser(work_dir: Path) -> ClipEncoder:
    """The guide before its last stage, as it was trained in the work folder.

    Raises:
        DataError: it was not.
    """
    return ClipEncoder.from_state_dict(trained_before(work_dir, CHOOSER), "clip-guide")


def clearness(guide: ClipEncoder, seen: Tensor, domain: str) -> Tensor:
    """How clearly each picture is of its domain and in no style of the zoo: [N].

    The cosine with the domain's prompt beyond that with the nearest other domain's, plus, but for
    paintings, the same of "Photo" among the styles.

    Args:
        seen: embeddings [N, D] of length 1.
    """
    found = _margin(guide, seen, CONTENT_PROMPTS, CONTENT.index(domain))
    if domain != "paintings":
        found += _margin(guide, seen, STYLE_PROMPTS, STYLE_PROMPTS.index("Photo"))
    return found


def breed_probability(pictures: Tensor) -> Tensor:
    """That of any of ImageNet's breeds of dogs: [N].

    Args:
        pictures: [N, 3, H, W] in [-1, 1].

    Raises:
        DataError: the teacher's packages are not installed.
    """
    teacher = ImageNetTeacher()
    pixels = pictures.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1)
    return teacher.dog_maps(teacher.maps(pixels, TEACHER_SIDE))[1]


def _margin(guide: ClipEncoder, seen: Tensor, prompts: tuple[str, ...], wanted: int) -> Tensor:
    cosines = seen @ F.normalize(guide.encode_text(prompts), dim=1).T
    others = cosines.clone()
    others[:, wanted] = -torch.inf
    margin: Tensor = cosines[:, wanted] - others.max(1).values
    return margin


def varied(seen: Tensor, clear: Tensor, count: int) -> list[int]:
    """Places of ``count`` pictures: the clearest, then always the least like those before."""
    chosen = [int(clear.argmax())]
    while len(chosen) < count:
        likeness = (seen @ seen[chosen].T).max(1).values
        likeness[chosen] = torch.inf
        chosen.append(int(likeness.argmin()))
    return chosen


@torch.no_grad()
def select(
    pictures: Tensor, domain: str, trained_on: Tensor, held_out: Tensor, guide: ClipEncoder,
    count: int,
) -> Tensor:  # fmt: skip
    """The chosen ones of the candidates [N, 3, 64, 64] in [-1, 1], by the rule above.

    Raises:
        BenchError: too few are left.
    """
    limit = nearest(held_out, trained_on).quantile(TOO_NEAR)
    pictures = pictures[nearest(pictures, trained_on) >= limit]
    clearest = len(pictures) // CLEAREST
    if clearest < count:
        raise BenchError(
            f"only {len(pictures)} candidates for {domain} are no near-copies of training "
            f"photographs; {CLEAREST * count} are needed: draw more of them with --candidates"
        )
    seen = embeddings(guide, pictures)
    clear = breed_probability(pictures) if domain == "dogs" else clearness(guide, seen, domain)
    best = clear.topk(clearest).indices.sort().values
    return pictures[best[varied(seen[best], clear[best], count)]]


def write(pictures: Tensor, dataset: str, domain: str, out: Path) -> str:
    """PNG files into a folder of the dataset; the lines that its card needs."""
    folder = out / dataset
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["embedded:"]
    for number, picture in enumerate(pictures, 1):
        pixels = picture.add(1).mul(127.5).round().byte().permute(1, 2, 0).numpy()
        data, name = encode_png(pixels), f"{NAMES[domain]}-{number:02}"
        (folder / f"{name}.png").write_bytes(data)
        lines.append(f'- {{id: {name}, sha256: "{hashlib.sha256(data).hexdigest()}"}}')
    return "\n".join(lines) + "\n"


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.draw_stand_ins",
        description="Draw the pictures that stand in for the datasets.",
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument(
        "--out", type=Path, required=True,
        help="a folder of pictures for each dataset, the lines of its card, a sheet, and figures "
        "of the candidates",
    )  # fmt: skip
    parser.add_argument(
        "--work-dir", type=Path, required=True,
        help="where unet_drawer and clip-guide-path of benchmark.zoo.mini were trained",
    )  # fmt: skip
    parser.add_argument("--candidates", type=int, default=CANDIDATES, help="of each dataset")
    parser.add_argument(
        "--respacing", type=int, default=RESPACING, help="steps of the U-Net's own chain"
    )
    given = parser.parse_args()
    draughtsmen = Draughtsmen(given.work_dir, given.respacing)
    chosen: dict[str, Tensor] = {}
    drawn: dict[str, Tensor] = {}
    guide = chooser(given.work_dir)
    for seed, dataset in enumerate(registry.names(registry.DATASETS)):
        domain = load_card(dataset).domain
        trained_on, held_out = (
            to_model_range(torch.from_numpy(corpus.load(given.corpus, split, (domain,)).pixels))
            for split in ("train", "test")
        )
        draws = torch.Generator().manual_seed(seed)
        candidates = draughtsmen.draw(domain, given.candidates, draws)
        drawn[domain] = candidates
        chosen[dataset] = select(candidates, domain, trained_on, held_out, guide, KEPT)
        lines = write(chosen[dataset], dataset, domain, given.out)
        (given.out / f"{dataset}.yaml").write_text(lines, encoding="utf-8")
    found = figures(drawn, given.corpus, ModelZoo({"judge": "mini-clip-score"}).clip("judge"))
    sheet(chosen, given.out / "sheet.png")
    (given.out / "figures.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
