"""Sweeps through the command line, with real small runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.errors import RunDirectoryError
from benchmark.run import RunDirectory
from tests.e2e.conftest import BENCH, Bench, heed_ctrl_c, images_of

SWEEP: dict[str, Any] = {
    "methods": ["ours"],
    "datasets": ["afhq"],
    "prompts": ["golden"],
    "limit": 1,
    "config": {"t0": 3, "n_patches": 2},
    "grid": {"respacing": [6, 8], "clip_dir_patch": [100, 20000]},
}


def _write(folder: Path, **changes: Any) -> Path:
    path = folder / "small.yaml"
    content = {key: value for key, value in {**SWEEP, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _states(folder: Path) -> list[str]:
    return [run["state"] for run in json.loads((folder / "sweep.json").read_text())["runs"]]


def _pictures(folder: Path) -> dict[str, dict[str, bytes]]:
    """PNG bytes by run directory."""
    return {path.parent.name: images_of(path.parent) for path in folder.glob("*/*/*/*/images")}


@pytest.fixture(scope="module")
def finished(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The sweep, undisturbed in one process, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    outcome = bench("sweep", _write(folder), "--out", folder / "out", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "run 4 of 4: ours / afhq / seed 0 (respacing=8, clip_dir_patch=20000)" in outcome.stderr
    return folder / "out", outcome.json()


def test_inversions_are_computed_once_for_what_the_key_does_not_change(
    finished: tuple[Path, Any],
) -> None:
    out, printed = finished
    assert printed["cache"] == {
        "features": {"computed": 1, "found": 3},
        "inversion": {"computed": 2, "found": 2},  # once for each T'
        "selection": {"computed": 1, "found": 3},
    }
    assert len(printed["complete"]) == 4
    assert _states(out) == ["complete"] * 4
    for path in printed["complete"]:
        assert json.loads((Path(path) / "manifest.json").read_text())["status"] == "complete"


def test_its_pictures_are_those_of_plain_runs(
    bench: Bench, finished: tuple[Path, Any], tmp_path: Path
) -> None:
    """The last run found everything in memory, and must not show it."""
    outcome = bench(
        "run", "--method", "ours", "--dataset", "afhq", "--prompts", "golden", "--limit", "1",
        "--set", "t0=3", "--set", "n_patches=2", "--set", "respacing=8",
        "--set", "clip_dir_patch=20000", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    alone = Path(outcome.json()["run_directory"])
    swept = finished[0] / alone.relative_to(tmp_path)
    assert images_of(alone) == images_of(swept)
    assert (alone / "scores.parquet").read_bytes() == (swept / "scores.parquet").read_bytes()


def test_finished_runs_are_left_alone_and_the_dry_run_knows_them(
    bench: Bench, finished: tuple[Path, Any], tmp_path: Path
) -> None:
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    again = bench("sweep", _write(tmp_path), "--out", out, "--json")
    assert again.code == 0, again.stderr
    assert again.json()["already_complete"] == 4
    assert again.json()["cache"] == {}
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    # a new folder of the sweep over the same folder of runs, with one more point
    grid = {"respacing": [6, 8], "clip_dir_patch": [100, 20000, 5]}
    longer = _write(tmp_path, grid=grid, runs=str(out))
    dry = bench("sweep", longer, "--out", tmp_path / "other", "--dry-run", "--json")
    assert dry.code == 0, dry.stderr
    plan = dry.json()
    assert (plan["samples"], plan["finished_samples"], plan["complete_runs"]) == (6, 4, 4)
    bases = [run["basis"] for run in plan["runs"]]
    assert bases == ["own chunks", "own chunks", "nearest run"] * 2
    assert plan["seconds_left"] == pytest.approx(
        sum(run["seconds_left"] for run in plan["runs"] if not run["complete"])
    )
    assert plan["seconds_left"] > 0
    assert not (tmp_path / "other").exists()


def test_another_sweep_is_refused_in_its_folder(
    bench: Bench, finished: tuple[Path, Any], tmp_path: Path
) -> None:
    out, _ = finished
    other = _write(tmp_path, grid={"respacing": [6, 9]})
    for more in ([], ["--dry-run"]):
        outcome = bench("sweep", other, "--out", out, *more)
        assert outcome.code == 1
        assert f"{out} holds another sweep (small, 4 runs)" in outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert _states(out) == ["complete"] * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"respacing": [6], "t00": [1]}, "config": None}, "unknown config key 't00'"),
        ({"grid": {}}, "the grid is empty"),
        ({"grid": {"respacing": [6, 2]}}, "cannot exceed respacing (2)"),
    ],
)
def test_a_bad_sweep_makes_nothing(
    bench: Bench, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = _write(tmp_path, **changes)
    outcome = bench("sweep", path, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert str(path) in outcome.stderr
    assert message in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_a_failed_run_stops_the_sweep_unless_it_keeps_going(bench: Bench, tmp_path: Path) -> None:
    sweep = _write(tmp_path, grid={"respacing": [6, 7]}, config={"t0": 1, "n_patches": 1})
    plan = bench("sweep", sweep, "--out", tmp_path / "out", "--dry-run", "--json").json()
    broken = Path(plan["runs"][0]["path"])
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    stopped = bench("sweep", sweep, "--out", tmp_path / "out")
    assert stopped.code == 1
    assert "1 runs were not tried" in stopped.stdout
    assert "Traceback" not in stopped.stderr
    assert _states(tmp_path / "out") == ["failed", "planned"]
    going = bench("sweep", sweep, "--out", tmp_path / "out", "--keep-going", "--json")
    assert going.code == 1
    assert [failure["path"] for failure in going.json()["failed"]] == [str(broken)]
    assert "schema version" in going.json()["failed"][0]["reason"]
    assert _states(tmp_path / "out") == ["failed", "complete"]


def _start(env: dict[str, str], *args: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BENCH, *map(str, args)], env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_ctrl_c,
    )  # fmt: skip


def _wait(process: subprocess.Popen[str], until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if until():
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"it did not come that far: {process.communicate()}")


def _in_the_second_run(out: Path) -> bool:
    return (out / "sweep.json").is_file() and _states(out)[:2] == ["complete", "running"]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_sweep_continues_with_the_same_command(
    bench: Bench, bench_env: dict[str, str], finished: tuple[Path, Any], tmp_path: Path,
    stop: signal.Signals,
) -> None:  # fmt: skip
    sweep, out = _write(tmp_path), tmp_path / "out"
    process = _start(bench_env, "sweep", sweep, "--out", out)
    _wait(process, lambda: _in_the_second_run(out))
    os.kill(process.pid, stop)
    _, stderr = process.communicate(timeout=60)
    if stop is signal.SIGINT:
        assert process.returncode == 130
        assert "Run the same command again to continue" in stderr
        assert _states(out)[:2] == ["complete", "interrupted"]
    else:
        assert _states(out)[:2] == ["complete", "running"]
    first = next(run for run in json.loads((out / "sweep.json").read_text())["runs"])
    scores = out / first["path"] / "scores.parquet"
    before = scores.stat().st_mtime_ns
    outcome = bench("sweep", sweep, "--out", out, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.json()["already_complete"] >= 1
    assert scores.stat().st_mtime_ns == before
    assert _pictures(out) == _pictures(finished[0])


@pytest.mark.slow
def test_shards_and_worker_processes_make_the_same_runs(
    bench: Bench, bench_env: dict[str, str], finished: tuple[Path, Any], tmp_path: Path
) -> None:
    sweep, out = _write(tmp_path), tmp_path / "out"
    one = bench("sweep", sweep, "--out", out, "--shard", "1/2", "--json")
    assert one.code == 0, one.stderr
    assert len(one.json()["complete"]) == 2
    two = bench(
        "sweep", sweep, "--out", out, "--shard", "2/2", "--json",
        "--accelerator", "cpu", "--jobs", "2",
    )  # fmt: skip
    assert two.code == 0, two.stderr
    assert not set(one.json()["complete"]) & set(two.json()["complete"])
    assert _states(out) == ["complete"] * 4
    assert _pictures(out) == _pictures(finished[0])
    assert len(list((out / "logs").iterdir())) == 2
    manifest = json.loads((Path(two.json()["complete"][0]) / "manifest.json").read_text())
    assert manifest["command"][:2] == ["bench", "sweep"]


@pytest.mark.slow
def test_workers_end_with_the_sweep_that_started_them(
    bench_env: dict[str, str], tmp_path: Path
) -> None:
    """Even when it is killed and cannot tell them."""
    sweep = _write(tmp_path, limit=8, config={"t0": 40}, grid={"respacing": [41, 42, 43]})
    out = tmp_path / "out"
    process = _start(bench_env, "sweep", sweep, "--out", out, "--accelerator", "cpu", "--jobs", "2")

    def begun() -> list[Path]:
        return [path.parent for path in out.glob("*/*/*/*/sources.parquet")]

    _wait(process, lambda: len(begun()) == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 120
    for path in begun():
        while True:
            try:
                with RunDirectory(path).lock():
                    break
            except RunDirectoryError:
                assert time.monotonic() < deadline, "a worker goes on without its sweep"
                time.sleep(0.1)
        assert json.loads((path / "manifest.json").read_text())["status"] in {"partial", "running"}
    assert len(begun()) == 2
