"""Settings of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from benchmark.environment import share_the_processor

# before anything imports torch: threads that wait sleep, so that tests may share a machine
share_the_processor()

# a busy machine is no defect; under CI the examples stay the same from run to run
settings.register_profile("suite", settings(), deadline=None)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Files are handed out in the order below, and not those with the most tests first."""
    if hasattr(config.option, "loadscopereorder"):  # of pytest-xdist
        config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in this hook too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under ``pytest -n`` a file stays in one process, as do all users of the README's run.

    What takes minutes comes first, so that no process is left with it at the end.
    """
    for item in items:
        shared = "readme_run" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("readme_run" if shared else item.path.name))
    items.sort(key=lambda item: "e2e" not in item.path.parts)
