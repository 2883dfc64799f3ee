"""What the mini U-Net draws by itself, and how its pictures are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmark.diffusion.schedule import Schedule
from benchmark.diffusion.unet import UNet
from benchmark.errors import BenchError
from benchmark.zoo.mini import corpus
from benchmark.zoo.mini.unet import CONFIG, class_index, to_model_range
from benchmark.zoo.mini.unet_samples import BEGIN, draw, figures, main, redraw
from benchmark.zoo.models import ModelZoo

ZOO = ModelZoo({"judge": "mini-clip-score"})


def test_samples_are_seeded_and_of_the_class_that_is_asked_for(untrained_unet: UNet) -> None:
    def drawn(name: str) -> torch.Tensor:
        return draw(untrained_unet, name, 2, 3, torch.Generator().manual_seed(4))

    faces = drawn("faces")
    assert faces.shape == (2, 3, 64, 64) and faces.abs().max() <= 1
    torch.testing.assert_close(faces, drawn("faces"))
    assert (faces - drawn("bedrooms")).abs().max() > 0.05


def test_every_side_is_asked_under_its_own_labels(untrained_unet: UNet) -> None:
    """16 from noise with all steps, then 32 and 64 from what came before with a part of them.

    Every pass with the label is followed by one without, for the guidance.
    """
    asked: list[tuple[int, int, int]] = []

    def note(_module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        x, t, labels = given
        asked.append((x.shape[2], int(t[0]), int(labels[0])))

    handle = untrained_unet.register_forward_pre_hook(note)
    draw(untrained_unet, "dogs", 1, 10, torch.Generator().manual_seed(0))
    handle.remove()
    assert asked == [
        (side, t, class_index(name, side))
        for side in (16, 32, 64)
        for t in reversed(Schedule.linear(10).timestep_map)
        if t <= BEGIN[side]
        for name in ("dogs", "unconditional")
    ]  # fmt: skip


def test_redrawing_takes_the_steps_up_to_its_beginning_and_keeps_what_little_noise_leaves(
    untrained_unet: UNet,
) -> None:
    asked: list[tuple[int, int, int]] = []

    def note(_module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        x, t, labels = given
        asked.append((x.shape[2], int(t[0]), int(labels[0])))

    draft = torch.linspace(-0.5, 0.5, 32)[:, None].expand(1, 3, 32, 32)
    handle = untrained_unet.register_forward_pre_hook(note)
    redraw(untrained_unet, draft, "faces", 250, 10, torch.Generator().manual_seed(0))
    handle.remove()
    assert asked == [
        (32, t, class_index(name, 32))
        for t in reversed(Schedule.linear(10).timestep_map)
        if t <= 250
        for name in ("faces", "unconditional")
    ]
    unet = ModelZoo({"denoiser": "mini-unet"}).denoiser().unet

    def away(begin: int) -> float:
        """Root mean square difference after blurring, which takes new detail away."""
        drawn = redraw(unet, draft, "faces", begin, 10, torch.Generator().manual_seed(0))
        return float(torch.nn.functional.avg_pool2d(drawn - draft, 8).square().mean().sqrt())

    assert away(100) < 0.1 and away(100) < away(700)


def test_a_network_of_one_side_cannot_draw() -> None:
    unet = UNet(CONFIG.model_copy(update={"num_classes": 6}))
    with pytest.raises(BenchError, match=r"6 labels cannot draw.*train unet"):
        draw(unet, "dogs", 1, 2, torch.Generator())


def test_copies_of_training_photographs_are_told_by_their_distance(tiny_corpus: Path) -> None:
    """Photographs as samples: the judge knows them, and they are no nearer than a copy is."""
    bank = to_model_range(torch.from_numpy(corpus.load(tiny_corpus, "train", ("faces",)).pixels))
    noise = torch.rand(bank.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    copies = figures({"faces": bank}, tiny_corpus, ZOO.clip("judge"))
    noisy = figures({"faces": noise}, tiny_corpus, ZOO.clip("judge"))
    assert copies["told_right"] == copies["told_faces"] == 1.0
    assert noisy["told_right"] == 0.0
    assert copies["neighbour_of_samples"] < 1e-3 < noisy["neighbour_of_samples"]
    assert copies["kid_samples"] == pytest.approx(copies["kid_training_photos"])
    assert noisy["kid_samples"] > copies["kid_samples"]


@pytest.mark.usefixtures("zoo_that_draws")
def test_the_command_writes_sheet_and_figures(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "samples"
    words = ["--corpus", str(tiny_corpus), "--out", str(out), "--count", "10", "--respacing", "2"]
    monkeypatch.setattr("sys.argv", ["unet_samples", *words])
    assert main() == 0
    assert 0 <= json.loads((out / "figures.json").read_text())["told_right"] <= 1
    with Image.open(out / "samples.png") as picture:
        assert picture.size == (2 * 2 * 64, 2 * 5 * 64)
    monkeypatch.setattr("sys.argv", ["unet_samples", "--corpus", str(tmp_path), *words[2:]])
    assert main() == 1
    assert "has no faces-train.parquet" in capsys.readouterr().err
