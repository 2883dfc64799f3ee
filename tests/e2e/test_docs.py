"""What the README and the docstrings show is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no block after <!-- {marker} -->"
    return found[1].strip()


def test_start_commands_are_complete() -> None:
    """CI runs the test command itself; the run command's last part is run below."""
    assert _block("test-command").startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert _block("run-command").endswith("bench run --method ours --dataset afhq")


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
