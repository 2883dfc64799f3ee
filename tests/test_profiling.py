"""Phase timing, and where a profile is stored."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmark.errors import RunDirectoryError
from benchmark.profile_method import Profile, store
from benchmark.profiling import PhaseTimer, phase

PROFILE = Profile(
    schema_version=1, method="ours", protocol="mini-64-v1", dataset="afhq", precision="32-true",
    compiled=False, device="cpu", samples=2, images=1, seconds_per_image=1.5,
    first_batch_seconds=4.0, load_seconds=1.0, start_up_seconds=6.0, phases={"clip": 2.0},
    flops_per_image=3e9, gflops_per_second=2.0, peak_memory_mib=500.0, config={"t0": 6},
    hardware={"processor": "a test"},
)  # fmt: skip


def test_seconds_add_up_by_name() -> None:
    timer = PhaseTimer()
    with timer.active():
        for _ in range(2):
            with phase("clip"):
                time.sleep(0.02)
        with phase("encoder"):
            pass
    assert set(timer.seconds) == {"clip", "encoder"}
    assert 0.04 <= timer.seconds["clip"] < 0.5
    assert timer.seconds["encoder"] < timer.seconds["clip"]


def test_nothing_is_kept_outside_of_a_timer() -> None:
    timer = PhaseTimer()
    with timer.active():
        pass
    with phase("clip"):
        pass
    assert not timer.seconds


def test_a_failing_phase_is_counted_and_the_timer_released() -> None:
    timer = PhaseTimer()
    with pytest.raises(RuntimeError, match="boom"), timer.active(), phase("clip"):
        raise RuntimeError("boom")
    assert "clip" in timer.seconds
    with phase("late"):
        pass
    assert "late" not in timer.seconds


def test_a_profile_lies_beside_the_runs_of_its_method(tmp_path: Path) -> None:
    path = store(PROFILE, tmp_path)
    assert path == tmp_path / "mini-64-v1" / "afhq" / "ours" / "profile.json"
    assert json.loads(path.read_text()) == asdict(PROFILE)
    assert [file.name for file in path.parent.iterdir()] == ["profile.json"]  # no partial file
    store(PROFILE, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "mini-64-v1").write_text("in the way")
    with pytest.raises(RunDirectoryError, match=r"cannot write .*mini-64-v1"):
        store(PROFILE, tmp_path)
