"""What the README and the docstrings show is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import shlex
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, readme_block
from tests.runs import write_run


def test_start_commands_are_complete() -> None:
    """CI runs the test command itself, :mod:`tests.e2e.test_readme_run` the other's last part."""
    assert readme_block("test-command").startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert readme_block("run-command").endswith("bench run --method ours --dataset afhq")


def _examples() -> list[str]:
    return [
        line.strip() for line in readme_block("examples").splitlines() if line.startswith("bench ")
    ]


@pytest.mark.parametrize("example", _examples())
def test_examples_parse_and_the_quick_ones_run(bench: Bench, example: str, tmp_path: Path) -> None:
    arguments = shlex.split(example, comments=True)[1:]
    if arguments[0] == "run":
        arguments += ["--limit", "1", "--out", str(tmp_path), "--set", "respacing=10",
                      "--set", "t0=2", "--set", "n_patches=2"]  # fmt: skip
        if "--images" in arguments:
            from skimage.data import chelsea
            from skimage.io import imsave

            folder = tmp_path / "photos"
            folder.mkdir()
            imsave(folder / "cat.png", chelsea())
            arguments[arguments.index("--images") + 1] = str(folder)
    if arguments[0] == "profile":
        arguments += ["--samples", "1", "--repeats", "1", "--set", "respacing=10", "--set", "t0=2"]
    if arguments[0] == "report":
        write_run(tmp_path / "runs")
        arguments = ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]
    outcome = bench(*arguments)
    assert outcome.code == 0, outcome.stderr


def _modules() -> list[str]:
    names = []
    for package in ("benchmark", "baselines", "data", "reports"):
        loaded = importlib.import_module(package)
        for item in pkgutil.walk_packages(loaded.__path__, f"{package}."):
            names.append(item.name)
    return names


@pytest.mark.parametrize("name", _modules())
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
