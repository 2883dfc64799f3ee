"""Sweeps around the defaults, and the curves that are drawn of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import reports.sensitivity
from benchmark.config import load_protocol, method_config
from benchmark.errors import UsageError
from benchmark.ours import QSAttnStyleTransfer
from benchmark.sweep.file import read_sweep
from reports.collect import read_run
from reports.sensitivity.curves import CENTRE, main, points_of
from reports.sensitivity.strengths import strengths_on
from tests.runs import write_sweep

FOLDER = Path(reports.sensitivity.__file__).parent
FILES = sorted(FOLDER.glob("*.yaml"))


def sweep(folder: Path, *configs: dict[str, Any], missing: int = 0) -> Path:
    """A finished sweep; its first run scores best."""
    points = [("afhq", config, 0.3 - 0.1 * place) for place, config in enumerate(configs)]
    return write_sweep(folder, points, missing=missing)


def test_points_are_factors_of_the_centre_on_the_protocols_scale(tmp_path: Path) -> None:
    folder = sweep(
        tmp_path / "weighted", {"mse": 400, "vgg": 10.0}, {"mse": 100, "vgg": 10.0},
        {"mse": 400, "vgg": 20.0},
    )  # fmt: skip
    centre, low, double = points_of(folder)
    assert (centre.key, centre.factor) == (CENTRE, 1.0)
    assert (low.key, low.value, low.factor) == ("mse", 100.0, 0.25)
    assert (double.key, double.value, double.factor) == ("vgg", 20.0, 2.0)
    scale = load_protocol("mini-64-v1").balance
    assert scale is not None
    run = next(path for path in folder.rglob("manifest.json") if '"mse": 100' in path.read_text())
    style = read_run(run.parent).scores[scale.style.metric].values.mean()
    assert low.style == pytest.approx(scale.style.normalised(float(style)))
    expected = 2 * low.content * low.style / (low.content + low.style)
    assert low.harmonic_mean == pytest.approx(expected)
    assert centre.harmonic_mean > low.harmonic_mean > double.harmonic_mean


def test_table_and_picture_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = sweep(tmp_path / "weighted", {"mse": 400}, {"mse": 100})
    second = sweep(tmp_path / "unit", {"mse": 0.5}, {"mse": 1.0})
    out = tmp_path / "page"
    arguments = ["curves", str(first), str(second), "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 0
    with (out / "sensitivity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["sweep"], row["key"], row["factor"]) for row in rows] == [
        ("weighted", CENTRE, "1"), ("weighted", "mse", "0.25"), ("unit", CENTRE, "1"),
        ("unit", "mse", "2"),
    ]  # fmt: skip
    with Image.open(out / "sensitivity.png") as picture:
        assert picture.size[0] > 200
    monkeypatch.setattr("sys.argv", ["curves", str(tmp_path / "nowhere"), "--out", str(out)])
    assert main() == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("configs", "told"),
    [
        (({"mse": 400, "vgg": 1}, {"mse": 100, "vgg": 2}), "mse, vgg: each point"),
        (({"attention": "local"}, {"attention": "global"}), "change one number"),
        (({"mse": 0}, {"mse": 1}), "not 0 there"),
    ],
)
def test_points_that_are_no_factor_are_refused(
    tmp_path: Path, configs: tuple[dict[str, Any], ...], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        points_of(sweep(tmp_path / "sweep", *configs))


def test_an_unfinished_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="finish the sweep first"):
        points_of(sweep(tmp_path / "sweep", {"mse": 400}, {"mse": 100}, missing=2))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_shipped_sweeps_change_one_number_of_their_first_point(file: Path) -> None:
    found = read_sweep(file)
    protocol = load_protocol(found.protocol)
    configs = []
    for _, point in found.points():
        words = tuple(f"{key}={json.dumps(value)}" for key, value in (found.config | point).items())
        config = method_config("ours", QSAttnStyleTransfer, protocol, None, words)
        configs.append(config.model_dump())
    centre, *others = configs
    for config in others:
        (changed,) = [key for key in config if config[key] != centre[key]]
        assert centre[changed] > 0


def test_the_strength_of_a_loss_is_that_of_its_own_weighted_gradient(tmp_path: Path) -> None:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "slope.png")
    # of a single step, so that both begin at the same x0_hat
    one_step = ("t0=1", "respacing=4", "inversion=upstream", "n_patches=2")
    usual = strengths_on(tmp_path, "afhq", "golden", (*one_step, "mse=400"))
    double = strengths_on(tmp_path, "afhq", "golden", (*one_step, "mse=800"))
    assert usual.keys() == {
        "clip_global", "clip_global_patch", "clip_dir_patch", "contrastive", "mse", "vgg", "range",
    }  # fmt: skip
    assert usual["mse"] > 0
    for name, strength in usual.items():
        assert double[name] == pytest.approx(strength * (2 if name == "mse" else 1), rel=1e-5)
    with pytest.raises(UsageError, match="msee"):
        strengths_on(tmp_path, "afhq", "golden", ("msee=1",))
