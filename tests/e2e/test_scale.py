"""Several processes: the bytes of one, ranks that die, and memory that does not grow."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import psutil
import pytest

from benchmark.errors import UsageError
from benchmark.ranks import (
    PATIENCE_SECONDS,
    PATIENCE_VARIABLE,
    RankLostError,
    SignOfLife,
    patience,
    ranges,
    wait_for_ranks,
)
from benchmark.run import RunDirectory
from tests.data import flat_memory
from tests.e2e.conftest import BENCH, Bench, images_of, short_run
from tests.runs import write_run

PROGRAMS = {"bench": BENCH[0], "torchrun": str(Path(sys.executable).with_name("torchrun"))}
DOCS = Path(__file__).parents[2] / "docs" / "scale.md"
CPU = ["--accelerator", "cpu"]


def documented(marker: str, **variables: str) -> str:
    """A shell block of docs/scale.md with its variables filled in."""
    found = re.search(rf"<!-- scale: {marker} -->\n```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found, f"docs/scale.md has no block after <!-- scale: {marker} -->"
    return Template(found[1].strip()).safe_substitute(variables)


def short(marker: str, out: Path, **variables: str) -> list[str]:
    """The command of a block, made short, on the CPU, into a folder."""
    words = [PROGRAMS.get(word, word) for word in shlex.split(documented(marker, **variables))]
    extra = [str(word) for word in short_run(out)]
    return [*words, *extra[extra.index("--limit") :], *CPU]


@pytest.fixture(scope="module")
def one_process(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three chunks of two samples, made by one process."""
    outcome = bench(*short_run(tmp_path_factory.mktemp("one")))
    assert outcome.code == 0, outcome.stderr
    return Path(outcome.json()["run_directory"])


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def started(
    command: list[str], env: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
    """A process in a session of its own; whatever is left of it is ended afterwards."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        for left in _of_session(process.pid):
            left.kill()
        process.wait(30)


def _of_session(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def _run_of(out: Path) -> Path:
    (manifest,) = out.glob("*/*/*/*/manifest.json")
    return manifest.parent


def _ranks(run: Path) -> set[int]:
    return {json.loads(path.read_text())["rank"] for path in (run / "chunks").iterdir()}


@pytest.mark.slow
def test_torchrun_with_two_processes_gives_the_bytes_of_one(
    bench_env: dict[str, str], one_process: Path, tmp_path: Path, port: int
) -> None:
    first, *rest = short("torchrun", tmp_path / "out")
    for _ in range(2):  # the second time everything is there, and no rank waits for another
        done = subprocess.run(
            [first, f"--master-port={port}", *rest], env=bench_env, capture_output=True, text=True,
            timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        run = _run_of(tmp_path / "out")
        assert images_of(run) == images_of(one_process)
        assert (run / "scores.parquet").read_bytes() == (
            one_process / "scores.parquet"
        ).read_bytes()
    assert _ranks(run) == {0, 1}
    assert not (run / ".ranks").exists()


@pytest.mark.slow
def test_two_nodes_give_the_bytes_of_one(
    bench_env: dict[str, str], one_process: Path, tmp_path: Path, port: int
) -> None:
    logs = [tmp_path / f"node{rank}.log" for rank in (0, 1)]
    commands = [
        short(
            "nodes", tmp_path / "out", NODE_RANK=str(rank), GPUS="1", HEAD="127.0.0.1",
            PORT=str(port),
        )
        for rank in (0, 1)
    ]  # fmt: skip
    with started(commands[1], bench_env, logs[1]) as second:
        with started(commands[0], bench_env, logs[0]) as first:
            assert first.wait(400) == 0, logs[0].read_text()
        assert second.wait(100) == 0, logs[1].read_text()
    run = _run_of(tmp_path / "out")
    assert images_of(run) == images_of(one_process)
    assert _ranks(run) == {0, 1}


@pytest.mark.slow
def test_torchrun_ends_the_other_rank_which_says_what_is_missing(
    bench: Bench, bench_env: dict[str, str], one_process: Path, tmp_path: Path, port: int
) -> None:
    first, *rest = short("torchrun", tmp_path / "out")
    log = tmp_path / "log"
    with started([first, f"--master-port={port}", *rest], bench_env, log) as process:
        pids = _wait_until("two ranks at work", lambda: _living(tmp_path / "out"))
        os.kill(pids[1], signal.SIGKILL)
        assert process.wait(300) != 0
        _wait_until("the end of all processes", lambda: not _of_session(process.pid))
    said = " ".join(log.read_text().split())
    assert re.search(r"stopped\. \d of 3 chunks are finished in .*; missing: [\d, -]+\. Run", said)
    outcome = bench(*rest[rest.index("run") :], "--devices", "1", "--strategy", "auto")
    assert outcome.code == 0, outcome.stderr
    assert images_of(_run_of(tmp_path / "out")) == images_of(one_process)


SRUN = """#!/bin/bash
# what srun does with two tasks on one node, as far as the tasks can tell
while [[ $1 == --* ]]; do shift; done
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NODEID=0 SLURM_NTASKS=2 SLURM_JOB_NAME=stylebench \\
    SLURM_JOB_ID=12345 SLURM_NODELIST=127.0.0.1 MASTER_ADDR=127.0.0.1 "$@" &
done
wait -n || exit; wait -n
"""


@pytest.mark.slow
def test_the_slurm_script_gives_the_bytes_of_one(
    bench_env: dict[str, str], one_process: Path, tmp_path: Path, port: int
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text(SRUN)
    (folder / "srun").chmod(0o755)
    (folder / "bench").symlink_to(PROGRAMS["bench"])
    extra = [str(word) for word in short_run(tmp_path / "out")]
    words = shlex.join([*extra[extra.index("--limit") :], *CPU])
    env = {
        **bench_env, "PATH": f"{folder}:{bench_env['PATH']}", "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NTASKS_PER_NODE": "2", "MASTER_PORT": str(port),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", f"{documented('slurm')} {words}"], env=env, capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = _run_of(tmp_path / "out")
    assert images_of(run) == images_of(one_process)
    assert _ranks(run) == {0, 1}


def _wait_until(what: str, condition: Any, seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


def _living(run_root: Path) -> dict[int, int]:
    """Process ids by rank, once both ranks predict."""
    signs = [json.loads(path.read_text()) for path in run_root.glob("*/*/*/*/.ranks/[0-9]*.json")]
    return {sign["rank"]: sign["pid"] for sign in signs} if len(signs) == 2 else {}


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_rank_leaves_a_run_that_continues(
    bench: Bench, bench_env: dict[str, str], one_process: Path, tmp_path: Path, victim: int
) -> None:
    """Rank 0 waits for a bounded time and names what is missing; other ranks wait for nobody."""
    words = short("devices", tmp_path / "out")[1:]
    log = tmp_path / "log"
    impatient = bench_env | {PATIENCE_VARIABLE: "12"}
    with started([*BENCH, *words], impatient, log) as process:
        pids = _wait_until("two ranks at work", lambda: _living(tmp_path / "out"))
        os.kill(pids[victim], signal.SIGKILL)
        assert process.wait(300) != 0
        _wait_until("the end of all processes", lambda: not _of_session(process.pid))
    run = _run_of(tmp_path / "out")
    # rank 0 owns the chunks 0 and 2, rank 1 the chunk 1
    kept = {int(path.stem) for path in (run / "chunks").glob("[0-9]*.json")}
    assert kept == ({0, 2} if victim == 1 else {1})
    said = " ".join(log.read_text().split())
    assert "Traceback" not in said
    if victim == 1:
        assert f"process {pids[1]} on" in said and "no sign of life for 12 s" in said
        assert re.search(r"2 of 3 chunks are finished in .*; missing: 1\. ", said)
        assert "Run the same command again to continue: bench run --method ours" in said
        assert json.loads((run / "manifest.json").read_text())["status"] == "partial"
    outcome = bench(*words)
    assert outcome.code == 0, outcome.stderr
    assert images_of(run) == images_of(one_process)


@pytest.mark.slow
def test_a_terminated_run_says_how_to_go_on(
    bench: Bench, bench_env: dict[str, str], one_process: Path, tmp_path: Path
) -> None:
    """SIGTERM is what SLURM and torchrun end a rank with."""
    words = [str(word) for word in short_run(tmp_path / "out")]
    log = tmp_path / "log"
    with started([*BENCH, *words], bench_env, log) as process:
        _wait_until("a chunk", lambda: list(tmp_path.glob("out/*/*/*/*/chunks/[0-9]*.json")))
        process.terminate()
        assert process.wait(60) == 130
    said = " ".join(log.read_text().split())
    assert "Traceback" not in said
    assert "missing:" in said and "Run the same command again to continue: bench run" in said
    outcome = bench(*words)
    assert outcome.code == 0, outcome.stderr
    assert images_of(_run_of(tmp_path / "out")) == images_of(one_process)


@pytest.fixture
def unfinished(tmp_path: Path) -> RunDirectory:
    """A run whose chunks 1 and 3 of five are missing."""
    directory = RunDirectory(write_run(tmp_path, n_images=20))
    for chunk in (1, 3):
        (directory.chunks_path / f"{chunk:06d}.json").unlink()
    directory.ranks_path.mkdir()
    return directory


def _say(directory: RunDirectory, sign: SignOfLife) -> None:
    path = directory.ranks_path / f"{sign.rank:05d}.json"
    path.write_text(json.dumps(sign.__dict__))


def test_a_failed_rank_is_named_with_its_reason(unfinished: RunDirectory) -> None:
    _say(unfinished, SignOfLife(1, "node7", 123, "failed", 4, "CUDA out of memory"))
    with pytest.raises(RankLostError) as raised:
        wait_for_ranks(unfinished, 2, 5, patience=30)
    said = str(raised.value)
    assert "rank 1 (process 123 on node7) failed: CUDA out of memory" in said
    assert "3 of 5 chunks are finished" in said and "missing: 1, 3." in said


def test_a_silent_rank_is_given_up_and_one_that_never_spoke_as_well(
    unfinished: RunDirectory,
) -> None:
    _say(unfinished, SignOfLife(1, "node7", 123, "running", 4))
    begun = time.monotonic()
    with pytest.raises(RankLostError) as raised:
        wait_for_ranks(unfinished, 3, 5, patience=1.0)
    assert time.monotonic() - begun < 10
    assert "rank 1 (process 123 on node7) has given no sign of life for 1 s" in str(raised.value)
    assert "rank 2 has given no sign of life" in str(raised.value)


@pytest.mark.parametrize("given", ["soon", "5", "-1", "nan", ""])
def test_a_patience_shorter_than_a_beat_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.delenv(PATIENCE_VARIABLE, raising=False)
    assert patience() == PATIENCE_SECONDS
    monkeypatch.setenv(PATIENCE_VARIABLE, "7.5")
    assert patience() == 7.5
    monkeypatch.setenv(PATIENCE_VARIABLE, given)
    with pytest.raises(UsageError, match=f"{PATIENCE_VARIABLE}={given}: give it seconds"):
        patience()


def test_a_rank_that_beats_is_waited_for(unfinished: RunDirectory) -> None:
    """Longer than the patience, as long as it lives; its chunks end the wait."""
    import threading

    record = (unfinished.chunks_path / "000000.json").read_text()

    def live() -> None:
        for beat in range(12):
            _say(unfinished, SignOfLife(1, "node7", 123, "running", beat))
            time.sleep(0.25)
        for chunk in (1, 3):
            (unfinished.chunks_path / f"{chunk:06d}.json").write_text(record)

    rank = threading.Thread(target=live)
    rank.start()
    wait_for_ranks(unfinished, 2, 5, patience=1.5)
    rank.join()
    assert not unfinished.missing_chunks(5)


def test_numbers_are_named_in_few_words() -> None:
    assert ranges([]) == ""
    assert ranges([4]) == "4"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert ranges(range(0, 100, 2)).endswith("36, 38 and 30 more")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_samples() -> None:
    """Freezing, predicting and scoring: all that Python holds at the peak.

    What is kept of a sample is its id, its hashes and its scores, less than half of the smallest
    picture (64x64); ``docs/scale.md`` has the figures of larger runs.
    """
    # the first imports what is used, and all have more pictures than a row group
    _, few, many = flat_memory.measured(70, 200, 400, trace=True)
    for phase in ("freeze", "run"):
        grown = (many[phase]["bytes"] - few[phase]["bytes"]) / (400 - 200)
        assert grown < flat_memory.PICTURE / 2, f"{phase}: {grown:.0f} bytes for each sample"
