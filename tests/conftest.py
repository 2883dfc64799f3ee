"""Settings of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from benchmark.environment import share_the_processor

# files of about five minutes and less, the longest first
LONGEST = (
    "test_scale.py", "test_run.py", "test_readme_run.py", "test_workflows.py", "test_rerun.py",
    "test_sweep.py", "test_bad_input.py", "test_add_a_method.py",
)  # fmt: skip

# before anything imports torch: threads that wait sleep, so that tests may share a machine
share_the_processor()

# a busy machine is no defect; under CI the examples stay the same from run to run
settings.register_profile("suite", settings(), deadline=None)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Files are handed out in the order below, and not those with the most tests first."""
    if hasattr(config.option, "loadscopereorder"):  # of pytest-xdist
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first, so that no process is left with it at the end.

    Under ``pytest -n 3 --dist loadfile`` a file stays in one process and makes its fixtures once.
    """
    items.sort(key=lambda item: _place(item.path))


def _place(file: Path) -> int:
    if file.name in LONGEST:
        return LONGEST.index(file.name)
    return len(LONGEST) + ("e2e" not in file.parts)
