"""Runs the real command, in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.preloaded import run_command

BENCH = [str(Path(sys.executable).with_name("bench"))]
# a shorter chain with fewer crops: the same code at a fraction of the time
SHORT = ("--set", "respacing=6", "--set", "t0=3", "--set", "n_patches=4")


@dataclass(frozen=True)
class Outcome:
    """Exit code and streams of a finished command."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


Bench = Callable[..., Outcome]


def heed_ctrl_c() -> None:
    """For ``Popen(preexec_fn=...)``: shells start what they put in the background deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def bench_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One cache for the session; no hub."""
    env = dict(os.environ)
    env["STYLEBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    env["HF_HUB_OFFLINE"] = "1"
    env["COLUMNS"] = "200"
    return env


class _Starter:
    """Starts commands as forks of one process that has imported the heavy packages already.

    Every command still is a process of its own, with its own arguments, environment and streams;
    only the seconds that importing torch takes are not spent again each time. A command whose
    environment differs starts afresh, since libraries read theirs when they are imported.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.e2e.preloaded"])

    def __call__(
        self, *args: str | Path, env: dict[str, str] | None = None, timeout: float = 300,
        cwd: Path | None = None, site: Path | None = None,
    ) -> Outcome:  # fmt: skip
        words = [str(arg) for arg in args]
        full = {**self._env, **(env or {})}
        if env:
            assert cwd is None and site is None
            done = subprocess.run(
                [*BENCH, *words], env=full, capture_output=True, text=True, timeout=timeout,
                check=False,
            )  # fmt: skip
            return Outcome(done.returncode, done.stdout, done.stderr)
        if site is not None:
            full["PYTHONPATH"] = os.pathsep.join(
                filter(None, [str(site), self._env.get("PYTHONPATH")])
            )
        return self.forked(words, full, cwd or Path.cwd(), timeout)

    def forked(self, words: list[str], env: dict[str, str], cwd: Path, timeout: float) -> Outcome:
        """A command by its words and the whole of its environment."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "stdout", Path(folder) / "stderr"
            process = self._context.Process(
                target=run_command, args=([*BENCH, *words], env, str(out), str(err), str(cwd))
            )
            process.start()
            process.join(timeout)
            if process.exitcode is None:
                process.kill()
                process.join()
                raise TimeoutError(f"bench {' '.join(words)} ran longer than {timeout} s")
            return Outcome(process.exitcode, out.read_text(), err.read_text())


@pytest.fixture(scope="session")
def starter(bench_env: dict[str, str]) -> _Starter:
    return _Starter(bench_env)


@pytest.fixture(scope="session")
def bench(starter: _Starter) -> Bench:
    return starter


STAND_IN = """#!{python} -SE
# hands the command on to the process that has imported the heavy packages
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    with line.makefile("rw") as file:
        file.write(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]) + "\\n")
        file.flush()
        code, out, err = json.loads(file.readline())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@pytest.fixture
def bench_program(starter: _Starter, tmp_path: Path) -> Iterator[Path]:
    """An executable for shell scripts that does what ``bench`` does, without the imports."""

    class Hand(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words, env, cwd = json.loads(self.rfile.readline())
            done = starter.forked(words, env, Path(cwd), 300)
            self.wfile.write(json.dumps([done.code, done.stdout, done.stderr]).encode() + b"\n")

    # the address of a socket has at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="bench") as short:
        address = f"{short}/line"
        program = tmp_path / "bench-stand-in"
        program.write_text(STAND_IN.format(python=sys.executable, address=address))
        program.chmod(0o755)
        with socketserver.ThreadingUnixStreamServer(address, Hand) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield program
            server.shutdown()
            thread.join()


def readme_block(marker: str) -> str:
    """The shell block of the README after a marker."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found, f"README.md has no block after <!-- {marker} -->"
    return found[1].strip()


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
