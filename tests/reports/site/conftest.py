from __future__ import annotations

from pathlib import Path

import pytest

from reports.board import Report
from reports.site import write_site
from tests.reports.site.reports import COMMAND, hostile_report, small_report


@pytest.fixture(scope="package")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return small_report(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="package")
def site(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(report, tmp_path_factory.mktemp("site") / "out", command=COMMAND).parent


@pytest.fixture(scope="package")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    found = hostile_report(folder / "runs")
    return write_site(found, folder / "site", command=COMMAND).parent
