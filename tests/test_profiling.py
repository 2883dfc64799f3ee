"""Phase timing."""

from __future__ import annotations

import time

import pytest

from benchmark.profiling import PhaseTimer, phase


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
