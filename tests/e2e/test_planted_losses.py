"""A loss of 2 % planted in a real method is caught by ``bench check --method``.

The pictures are those that ``ours`` and ``clipstyler-fast`` really made (``tests/golden``); the
methods replay them, since making them takes minutes. Everything else is the command itself: images
through the loader, PNGs, the judges, the reference, the re-run with the reference's seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from benchmark import launch, registry
from benchmark.config import load_protocol
from benchmark.interface import StyleBatch
from benchmark.noise import NoiseSource
from benchmark.pictures import Pixels, decode_png
from benchmark.targets import TargetOptions
from reports.check.command import check_run, freeze_runs
from tests.e2e.conftest import Bench

GOLDEN = Path(__file__).parents[1] / "golden"
PROTOCOL = "mini-64-v1"
Plant = Callable[[Pixels, Pixels], np.ndarray]  # (output, source) -> [H, W, 3] in 0..255


def untouched(output: Pixels, source: Pixels) -> np.ndarray:
    return output


def mixed(share: float) -> Plant:
    """So much of the source in every pixel."""

    def plant(output: Pixels, source: Pixels) -> np.ndarray:
        return output + share * (source.astype(np.float64) - output)

    return plant


def warped(pixels: float) -> Plant:
    """Edges moved by up to so many pixels."""

    def plant(output: Pixels, source: Pixels) -> np.ndarray:
        grid = np.mgrid[: len(output), : len(output)].astype(np.float64)
        places = grid + pixels * np.sin(2 * np.pi * grid[::-1] / 16)
        return np.stack(
            [map_coordinates(output[..., c].astype(np.float64), places, order=1, mode="nearest")
             for c in range(3)],
            axis=-1,
        )  # fmt: skip

    return plant


def grainy(levels: float) -> Plant:
    """Grey noise of so many levels of 255 in every pixel."""

    def plant(output: Pixels, source: Pixels) -> np.ndarray:
        grain = np.random.default_rng(int(output.sum())).standard_normal((*output.shape[:2], 1))
        return output + levels * grain

    return plant


@dataclass(frozen=True)
class Replay:
    """A method that gives the stored pictures, with a loss planted."""

    outputs: dict[str, Pixels]
    plant: Plant

    def stylize(self, method: Any, batch: StyleBatch, noise: NoiseSource) -> Tensor:
        made = []
        for image, name in zip(batch.images, batch.sample_ids, strict=True):
            source = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            pixels = np.clip(np.rint(self.plant(self.outputs[name], source)), 0, 255)
            made.append(torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1)
        return torch.stack(made).float()


def options(method: str, dataset: str, out: Path) -> launch.RunOptions:
    return launch.RunOptions(
        method=method, dataset=dataset, protocol=PROTOCOL,
        target=TargetOptions(prompts="golden,red-bricks" if method == "ours" else "golden"),
        source_prompt=None, guide=None, images=None, limit=8, on_bad_image="fail", seed=0,
        config=None, assignments=(), weights_dir=None, out=out, existing="fail",
        accelerator="cpu", devices="1", strategy="auto", num_nodes=1, precision="32-true",
        batch_size=None,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "dataset", "plants"),
    [
        ("ours", "celebahq", {"style": mixed(0.12), "content": warped(0.35)}),
        ("clipstyler-fast", "afhq", {"style": mixed(0.02), "content": grainy(3)}),
    ],
)
def test_a_loss_of_two_per_cent_is_caught(
    method: str, dataset: str, plants: dict[str, Plant], tmp_path: Path, bench_env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("STYLEBENCH_CACHE", bench_env["STYLEBENCH_CACHE"])
    rows = pq.read_table(GOLDEN / "rerun-outputs.parquet").to_pylist()
    outputs = {row["sample_id"]: decode_png(row["png"]) for row in rows if row["method"] == method}
    cls = registry.load(registry.METHODS, method)

    def use(plant: Plant) -> None:
        replay = Replay(outputs, plant)
        monkeypatch.setattr(cls, "stylize", lambda *args: replay.stylize(*args))

    use(untouched)
    made = launch.run(options(method, dataset, tmp_path / "runs"))
    assert made is not None
    freeze_runs([made.directory], reference=tmp_path / "refs", force=False, as_json=False)
    capsys.readouterr()

    def check() -> tuple[int, dict[str, Any]]:
        code = check_run(None, method, dataset, PROTOCOL, reference=tmp_path / "refs", as_json=True)
        return code, json.loads(capsys.readouterr().out)

    judged = {
        "style": ("clip_score_patch", "clip_score", "clip_directional"),
        "content": ("edge_agreement", "ssim"),
    }
    for kind, plant in plants.items():
        metrics = judged[kind]
        use(plant)
        code, found = check()
        by_name = {row["metric"]: row for row in found["metrics"]}
        # what was planted is no more than 2 % of what the method has, from the scale's lower end
        balance = load_protocol(PROTOCOL).balance
        assert balance is not None
        anchor = balance.style if kind == "style" else balance.content
        row = by_name[anchor.metric]
        lost = -row["difference"] / (row["reference_mean"] - anchor.worst)
        assert 0 < lost <= 0.02, (kind, lost)
        assert code == 1 and found["verdict"] == "regressed"
        assert any(by_name[name]["verdict"] == "regressed" for name in metrics), by_name
    use(untouched)
    code, found = check()
    assert code == 0 and found["verdict"] == "equivalent"


def test_a_real_method_made_again_is_identical(bench: Bench, tmp_path: Path) -> None:
    """No replay: the command runs the method anew, with the reference's limit, prompts and seed."""
    bench("run", "--method", "procedural", "--dataset", "ffhq", "--limit", "3", "--seed", "5",
          "--prompts", "lego", "--batch-size", "2", "--out", tmp_path / "runs")  # fmt: skip
    (run,) = (tmp_path / "runs").glob("*/*/*/*")
    assert bench("freeze", run, "--reference", tmp_path / "refs").code == 0
    again = bench("check", "--method", "procedural", "--dataset", "ffhq", "--json",
                  "--reference", tmp_path / "refs", "--out", tmp_path / "again")  # fmt: skip
    assert again.code == 0, again.stderr
    found = again.json()
    assert found["seed"] == found["reference_seed"] == 5
    assert {row["note"] for row in found["metrics"]} == {"identical"}
    (made,) = (tmp_path / "again").glob("*/*/*/*")
    for old, new in zip(sorted((run / "images").iterdir()), sorted((made / "images").iterdir()),
                        strict=True):  # fmt: skip
        assert old.read_bytes() == new.read_bytes()
