"""The rule by which drawn pictures are chosen to stand in for a dataset's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor

from benchmark import registry
from benchmark.diffusion.unet import UNet
from benchmark.errors import BenchError
from benchmark.zoo.clip import build_clip
from benchmark.zoo.mini import corpus, few_step_drawing, unet_drawer
from benchmark.zoo.mini.stylegan2_figures import samples
from benchmark.zoo.mini.unet import to_model_range
from benchmark.zoo.mini.unet_samples import embeddings
from benchmark.zoo.models import ModelZoo
from data import draw_stand_ins

ZOO = ModelZoo({"guide": "mini-clip-guide"})


def bank(folder: Path, domain: str, split: str) -> Tensor:
    return to_model_range(torch.from_numpy(corpus.load(folder, split, (domain,)).pixels))


def test_the_clearest_comes_first_and_then_the_least_like() -> None:
    angles = torch.deg2rad(torch.tensor([0.0, 5.0, 60.0, 95.0, 180.0]))
    seen = torch.stack([angles.cos(), angles.sin()], dim=1)
    clear = torch.tensor([0.5, 0.9, 0.1, 0.2, 0.3])
    assert draw_stand_ins.varied(seen, clear, 3) == [1, 4, 3]


def test_a_photograph_of_the_domain_is_clearer_than_one_of_another(tiny_corpus: Path) -> None:
    guide = ZOO.clip("guide")
    faces, rockets = (
        embeddings(guide, bank(tiny_corpus, name, "train")) for name in ("faces", "objects")
    )
    as_faces = draw_stand_ins.clearness(guide, torch.cat([faces, rockets]), "faces")
    assert as_faces[: len(faces)].median() > as_faces[len(faces) :].max()


def test_a_breed_is_seen_in_the_dogs_that_ship_and_not_in_the_faces() -> None:
    def stand_ins(dataset: str) -> Tensor:
        files = sorted((Path(draw_stand_ins.__file__).parent / "stand_ins" / dataset).glob("*.png"))
        pixels = [torch.from_numpy(np.array(Image.open(file))) for file in files]
        return torch.stack(pixels).permute(0, 3, 1, 2) / 127.5 - 1

    dogs, faces = (draw_stand_ins.breed_probability(stand_ins(d)) for d in ("afhq", "celebahq"))
    assert dogs.mean() > 0.8 and faces.max() < 0.2


def test_candidates_of_faces_keep_the_shape_of_their_drafts(
    untrained_unet: UNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet_drawer, "CONFIG", untrained_unet.config)
    checkpoint = tmp_path / "unet-drawer" / "unet-drawer.ckpt"
    checkpoint.parent.mkdir()
    torch.save({"ema": untrained_unet.state_dict()}, checkpoint)
    draughtsmen = draw_stand_ins.Draughtsmen(tmp_path, 10)
    monkeypatch.setattr(
        few_step_drawing, "redraw", lambda unet, pictures, domain, place, draws: pictures
    )  # an untrained one leaves nothing
    found = draughtsmen.draw("faces", 3, torch.Generator().manual_seed(5))
    draws = torch.Generator().manual_seed(5)
    generator = ModelZoo({"generator": "mini-stylegan2"}).generator()
    drafts = samples(generator, 3, draws, draw_stand_ins.PSI)
    coarse = [F.avg_pool2d(pictures, 8).flatten(1) for pictures in (found, drafts)]
    assert torch.cdist(*coarse).argmin(1).tolist() == [0, 1, 2]
    assert (found - drafts).abs().mean() > 0.02  # and are drawn anew


def test_copies_of_training_photographs_are_left_out(tiny_corpus: Path) -> None:
    trained_on, held_out = (bank(tiny_corpus, "faces", split) for split in ("train", "test"))
    others = bank(tiny_corpus, "bedrooms", "train")
    candidates = torch.cat([trained_on[:6], trained_on[:2].flip(3), others[:8], others[:8]])
    chosen = draw_stand_ins.select(candidates, "faces", trained_on, held_out, ZOO.clip("guide"), 2)
    for picture in chosen:
        assert any(torch.equal(picture, other) for other in others)
    with pytest.raises(BenchError, match=r"only 16 candidates for faces.*--candidates"):
        draw_stand_ins.select(candidates, "faces", trained_on, held_out, ZOO.clip("guide"), 3)


@pytest.mark.usefixtures("zoo_that_draws")
def test_the_command_writes_pictures_and_the_lines_of_the_cards(
    untrained_unet: UNet, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(draw_stand_ins, "KEPT", 2)
    monkeypatch.setattr(unet_drawer, "CONFIG", untrained_unet.config)
    words = [
        "--corpus", str(tiny_corpus), "--out", str(tmp_path), "--work-dir", str(tmp_path / "work"),
        "--candidates", "16", "--respacing", "2",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["draw_stand_ins", *words])
    assert draw_stand_ins.main() == 1
    assert "benchmark.zoo.mini.unet_drawer" in capsys.readouterr().err
    checkpoint = tmp_path / "work" / "unet-drawer" / "unet-drawer.ckpt"
    checkpoint.parent.mkdir(parents=True)
    torch.save({"ema": untrained_unet.state_dict()}, checkpoint)
    assert draw_stand_ins.main() == 1
    assert "benchmark.zoo.mini.train clip-guide-path" in capsys.readouterr().err
    chooser = tmp_path / "work" / "clip-guide-path" / "clip-guide-path.ckpt"
    chooser.parent.mkdir()
    torch.save({"ema": build_clip("clip-guide", 61).state_dict()}, chooser)
    assert draw_stand_ins.main() == 0
    for dataset in registry.names(registry.DATASETS):
        listed = yaml.safe_load((tmp_path / f"{dataset}.yaml").read_text())["embedded"]
        assert len(listed) == 2
        for picture in listed:
            file = tmp_path / dataset / f"{picture['id']}.png"
            assert hashlib.sha256(file.read_bytes()).hexdigest() == picture["sha256"]
            with Image.open(file) as image:
                assert image.size == (64, 64)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (2 * 2 * 64, 2 * 6 * 64)
    assert 0 <= json.loads((tmp_path / "figures.json").read_text())["told_right"] <= 1
    monkeypatch.setattr("sys.argv", ["draw_stand_ins", *words, "--corpus", str(tmp_path)])
    assert draw_stand_ins.main() == 1
    assert "has no dogs-train.parquet" in capsys.readouterr().err
