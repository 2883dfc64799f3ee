"""Commands that look: list, show, doctor, profile, help, score."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, short_run

KINDS = {
    "methods": {"ours", "zecon"},
    "datasets": {"celebahq", "ffhq", "lsun-bedroom", "afhq", "imagenet", "wikiart"},
    "metrics": {"clip_score_patch", "clip_directional", "face_id_distance", "lpips_vgg"},
    "protocols": {"mini-64-v1"},
    "models": {"mini-unet", "mini-clip-guide", "mini-clip-score", "mini-vgg", "mini-dino"},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_list_names_everything_and_show_knows_each(bench: Bench, kind: str) -> None:
    outcome = bench("list", kind, "--json")
    assert outcome.code == 0, outcome.stderr
    names = [row["name"] for row in outcome.json()]
    assert KINDS[kind] <= set(names)
    assert names == sorted(names)
    name = sorted(KINDS[kind])[0]
    shown = bench("show", name, "--json").json()
    assert shown["name"] == name
    assert shown["kind"] == kind.removesuffix("s")
    assert name in bench("list", kind).stdout


def test_show_method_documents_every_config_key(bench: Bench) -> None:
    config = bench("show", "ours", "--json").json()["config"]
    assert {"respacing", "t0", "gradient", "attention"} <= {item["key"] for item in config}
    assert all(item["description"] for item in config)


def test_doctor_finds_the_shipped_models_verified(bench: Bench) -> None:
    outcome = bench("doctor", "--json")
    assert outcome.code == 0, outcome.stdout
    report = outcome.json()
    assert report["healthy"] is True
    shipped = {model["name"]: model["status"] for model in report["models"] if model["ships"]}
    assert set(shipped.values()) == {"verified"}
    assert len(shipped) == 11
    assert Path(report["cache"]).name.startswith("cache")  # as the fixture sets it
    assert report["versions"]["torch"]


def test_help_is_grouped_and_loads_no_heavy_package(bench: Bench) -> None:
    outcome = bench("run", "--help")
    assert outcome.code == 0
    for words in ("What to run", "Method config", "Output", "Hardware", "--existing", "--devices"):
        assert words in outcome.stdout
    code = (
        "import sys, benchmark.cli; "
        "heavy = {'torch', 'pytorch_lightning', 'open_clip', 'datasets', 'matplotlib', 'scipy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_shell_completion_is_offered(bench: Bench) -> None:
    assert "--install-completion" in bench("--help").stdout


@pytest.mark.slow
def test_profile_accounts_for_the_time(bench: Bench) -> None:
    outcome = bench(
        "profile", "ours", "--samples", "2", "--repeats", "1", "--set", "respacing=10",
        "--set", "t0=3", "--set", "n_patches=4", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    report = outcome.json()
    phases = report["phases"]
    assert {"inversion", "denoiser", "encoder", "clip", "content", "i/o", "other"} <= set(phases)
    total = sum(seconds for name, seconds in phases.items() if name != "i/o")
    assert total == pytest.approx(report["seconds_per_image"] * report["samples"], rel=0.25)
    assert report["flops_per_image"] > 1e9
    assert report["peak_memory_mib"] > 100
    assert report["start_up_seconds"] > report["load_seconds"] > 0


@pytest.mark.slow
def test_profile_of_random_weights_costs_what_the_real_ones_cost(
    bench: Bench, tmp_path: Path
) -> None:
    few = (
        "profile", "zecon", "--samples", "1", "--repeats", "1", "--set", "respacing=10", "--set",
        "t0=2", "--set", "n_patches=4", "--json",
    )  # fmt: skip
    reports = [bench(*few, *more).json() for more in ((), ("--smoke",))]
    flops = [report["flops_per_image"] for report in reports]
    assert flops[0] == flops[1] > 1e9
    outcome = bench(*few, "--smoke", "--out", tmp_path)
    assert outcome.code == 2
    assert "--out" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_score_again_changes_no_number_and_no_image(bench: Bench, tmp_path: Path) -> None:
    run = Path(bench(*short_run(tmp_path, limit=1)).json()["run_directory"])
    scores = (run / "scores.parquet").read_bytes()
    images = {path: path.stat().st_mtime_ns for path in (run / "images").iterdir()}
    time.sleep(0.01)
    outcome = bench("score", run, "--json")
    assert outcome.code == 0, outcome.stderr
    assert (run / "scores.parquet").read_bytes() == scores
    assert images == {path: path.stat().st_mtime_ns for path in (run / "images").iterdir()}
    outcome = bench("score", run, "--metrics", "psnr,nonsense")
    assert outcome.code == 2
    assert "nonsense" in outcome.stderr


def test_similarity_of_a_run_names_prompts_and_images(bench: Bench, tmp_path: Path) -> None:
    run = Path(bench(*short_run(tmp_path / "runs", limit=1)).json()["run_directory"])
    outcome = bench(
        "similarity", run, "--prompt", "Golden", "--prompt", "Red bricks",
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    found = outcome.json()
    assert found["encoder"] == "mini-clip-score"
    assert found["images"] == sorted(path.name for path in (run / "images").iterdir())
    assert [len(row) for row in found["cosines"]] == [2, 2]
    assert Path(found["csv"]).is_file() and Path(found["heat_map"]).is_file()
    shown = bench("similarity", run, "--out", tmp_path / "out").stdout
    assert "Stained Glass" in shown and "heat map" in shown


def test_similarity_refuses_what_is_no_clip_and_no_image(bench: Bench, tmp_path: Path) -> None:
    outcome = bench("similarity", tmp_path / "none.png", "--prompt", "Golden")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "none.png does not exist" in outcome.stderr
    outcome = bench("similarity", tmp_path, "--encoder", "mini-vgg")
    assert outcome.code == 2
    assert "kind 'clip'" in outcome.stderr
