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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under ``pytest -n`` a file stays in one process, as do all users of the README's run."""
    for item in items:
        shared = "readme_run" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("readme_run" if shared else item.path.name))
