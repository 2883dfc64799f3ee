"""Runs the real command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BENCH = [sys.executable, "-m", "benchmark.cli"]
# a shorter chain with fewer crops: the same code at a fraction of the time
SHORT = ("--set", "respacing=12", "--set", "t0=6", "--set", "n_patches=4")


@dataclass(frozen=True)
class Outcome:
    """Exit code and streams of a finished command."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


Bench = Callable[..., Outcome]


@pytest.fixture(scope="session")
def bench_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One cache for the session; no hub."""
    env = dict(os.environ)
    env["STYLEBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    env["HF_HUB_OFFLINE"] = "1"
    env["COLUMNS"] = "200"
    return env


@pytest.fixture(scope="session")
def bench(bench_env: dict[str, str]) -> Bench:
    def call(*args: str | Path, env: dict[str, str] | None = None, timeout: float = 300) -> Outcome:
        done = subprocess.run(
            [*BENCH, *map(str, args)], env={**bench_env, **(env or {})},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


def images_of(run: Path) -> dict[str, bytes]:
    """PNG bytes by file name."""
    return {path.name: path.read_bytes() for path in sorted((run / "images").iterdir())}


def short_run(
    out: Path, *, method: str = "ours", dataset: str = "afhq", limit: int = 3, batch_size: int = 2,
    extra: Sequence[str | Path] = (),
) -> list[str | Path]:  # fmt: skip
    """Arguments of a run that takes seconds."""
    return [
        "run", "--method", method, "--dataset", dataset, "--limit", str(limit),
        "--batch-size", str(batch_size), "--out", out, "--json", *SHORT, *extra,
    ]  # fmt: skip
