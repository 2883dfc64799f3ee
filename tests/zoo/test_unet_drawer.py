"""The U-Net that is tuned to draw the stand-ins, and how it draws."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.diffusion.process import DiffusionProcess
from benchmark.diffusion.schedule import Schedule
from benchmark.diffusion.unet import UNet
from benchmark.errors import DataError
from benchmark.zoo.mini import unet_drawer
from benchmark.zoo.mini.few_step_drawing import CHAIN, Place, arriving, draw, redraw, step
from benchmark.zoo.mini.projected_critic import ProjectedCritic
from benchmark.zoo.mini.unet import CLASSES, CONFIG, class_index, first_label
from benchmark.zoo.mini.unet_drawer import DRAWN, PICTURES, Photos, Training
from tests.golden.official_format import picture


def test_a_step_gives_the_process_own_x0_hat(untrained_unet: UNet) -> None:
    process = DiffusionProcess(Schedule.linear())
    xt, classes = picture("xt", 32, batch=2), torch.tensor([1, 4])

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = untrained_unet(x, t, classes + first_label(32))
        return out

    wanted = process.predict(denoise, xt, 400).x0_hat
    found = step(untrained_unet, xt, torch.tensor([400, 400]), classes)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_arriving_pictures_are_enlarged_and_noised_as_the_process_does() -> None:
    process = DiffusionProcess(Schedule.linear())
    pictures, noise = torch.full((1, 3, 16, 16), 1.5), picture("noise", 32)
    found = arriving(pictures, Place(32, 200), noise)
    wanted = process.q_sample(torch.ones(1, 3, 32, 32), 200, noise)  # clipped to 1
    torch.testing.assert_close(found, wanted)


def test_drawing_goes_along_the_chain_under_the_labels_of_each_side(untrained_unet: UNet) -> None:
    asked: list[tuple[int, int, int]] = []

    def note(_module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        x, t, labels = given
        asked.append((x.shape[2], int(t[0]), int(labels[0])))

    handle = untrained_unet.register_forward_pre_hook(note)
    draws = torch.Generator().manual_seed(0)
    dogs = draw(untrained_unet, "dogs", 2, draws)
    handle.remove()
    assert asked == [(side, t, class_index("dogs", side)) for side, t in CHAIN]
    assert dogs.shape == (2, 3, 64, 64) and dogs.abs().max() <= 1
    torch.testing.assert_close(
        dogs, draw(untrained_unet, "dogs", 2, torch.Generator().manual_seed(0))
    )
    assert not torch.equal(dogs, draw(untrained_unet, "dogs", 2, draws))


def test_redrawing_is_one_step_of_the_chain(untrained_unet: UNet) -> None:
    pictures, noise = picture("pictures", 16, batch=2).clamp(-1, 1), torch.Generator()
    found = redraw(untrained_unet, pictures, "dogs", Place(32, 300), noise.manual_seed(3))
    drawn = torch.randn(2, 3, 32, 32, generator=noise.manual_seed(3))
    xt = arriving(pictures, Place(32, 300), drawn)
    dogs = torch.full((2,), CLASSES.index("dogs"))
    wanted = step(untrained_unet, xt, torch.tensor([300, 300]), dogs).clamp(-1, 1)
    torch.testing.assert_close(found, wanted)


def test_sides_follow_each_other_and_classes_are_the_labels_first() -> None:
    assert [place.side for place in CHAIN] == sorted(place.side for place in CHAIN)
    assert CLASSES[: len(DRAWN)] == DRAWN  # a place in one is a place in the other


def test_a_critic_that_knows_classes_judges_each_by_a_layer_of_its_own() -> None:
    critic = ProjectedCritic(3, width=8, classes=2, side=64)
    maps = [
        picture(f"maps{c}", side, batch=2)[:, :1].expand(2, c, side, side)
        for c, side in ((24, 16), (40, 8), (112, 4), (320, 2))
    ]
    both = critic.eval()(maps, torch.tensor([0, 1]))
    swapped = critic(maps, torch.tensor([1, 0]))
    assert both.shape == (2, 16 + 16 + 16 + 4)
    assert not torch.allclose(both, swapped)
    torch.testing.assert_close(both[:1], critic([m[:1] for m in maps], torch.tensor([0])))


def small(monkeypatch: pytest.MonkeyPatch, untrained_unet: UNet) -> None:
    """A quarter of the width, and the classes evenly."""
    config = untrained_unet.config

    def tunable() -> UNet:
        model = UNet(config)
        model.load_state_dict(untrained_unet.state_dict())
        return model

    monkeypatch.setattr(unet_drawer, "tunable_unet", tunable)
    monkeypatch.setattr(unet_drawer, "CONFIG", config)


@pytest.fixture
def bank(tiny_corpus: Path, tmp_path: Path) -> Photos:
    """The tiny corpus's, with heads of dogs that are grey."""
    np.save(tmp_path / "dog-heads-train-68.npy", np.full((5, 68, 68, 3), 100, np.uint8))
    return Photos(tiny_corpus, tmp_path)


def test_photos_are_of_the_classes_that_are_asked_for(bank: Photos) -> None:
    classes = torch.tensor([1, 0, 1, 2])
    found = bank.of(classes, 16, torch.Generator().manual_seed(0))
    assert found.shape == (4, 3, 16, 16)
    grey = 100 / 127.5 - 1
    assert (found[[0, 2]] - grey).abs().max() < 1e-6  # heads, not the corpus's whole dogs
    assert (found[[1, 3]] - grey).abs().amax((1, 2, 3)).min() > 0.1


def test_training_learns_resumes_exactly_and_draws(
    bank: Photos, untrained_unet: UNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, untrained_unet)
    monkeypatch.setattr(unet_drawer, "SHOWN", 1)
    cpu = torch.device("cpu")
    whole = Training(bank, 10, cpu)
    for _ in range(2):
        whole.advance()
    (tmp_path / "work" / "unet-drawer").mkdir(parents=True)
    checkpoint = tmp_path / "work" / "unet-drawer" / "unet-drawer.ckpt"
    whole.save(checkpoint)
    resumed = Training(bank, 10, cpu)
    resumed.restore(checkpoint)
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}
    arrived = whole.underway[1]
    again, once = resumed.advance(), whole.advance()
    assert again == once and all(math.isfinite(value) for value in once.values())
    assert set(once) == {f"{name}_{side}" for name in ("real", "fake") for side in PICTURES}
    for part in ("model", "ema", "critics"):
        states = getattr(whole, part).state_dict(), getattr(resumed, part).state_dict()
        for name, value in states[0].items():
            assert torch.equal(value, states[1][name]), (part, name)
    after = whole.model.state_dict()
    moved = {name for name, value in before.items() if (value != after[name]).any()}
    assert {"input_blocks.0.0.weight", "out.2.weight", "label_emb.weight"} <= moved
    # what a place had drawn has gone to the next, with its classes
    assert torch.equal(whole.underway[2][1], arrived[1][: PICTURES[CHAIN[2].side]])
    whole.sheet(tmp_path / "sheet.png")
    drawer = unet_drawer.trained_drawer(tmp_path / "work")
    assert draw(drawer, "faces", 1, torch.Generator().manual_seed(0)).isfinite().all()


def test_the_shipped_unet_is_where_tuning_begins() -> None:
    model = unet_drawer.tunable_unet()
    assert model.config == CONFIG
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.label_emb.weight.abs().sum() > 0


def test_the_command_refuses_what_it_cannot_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--corpus", str(tmp_path), "--work-dir", str(tmp_path)]
    assert unet_drawer.main([*common, "--steps", "0"]) == 2
    assert unet_drawer.main(common) == 1
    assert "faces-train.parquet" in caplog.text
    with pytest.raises(SystemExit):  # its weights do not ship
        unet_drawer.main([*common, "--export"])
    assert "--export" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"no .*unet-drawer\.ckpt.*unet_drawer"):
        unet_drawer.trained_drawer(tmp_path)
