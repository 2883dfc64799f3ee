"""The page docs/add-a-method.md, executed: its files are written and its commands run in order."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.e2e.conftest import Bench, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"
BLOCK = re.compile(
    r"<!-- (?P<kind>file: (?P<path>\S+)|run|install) -->\n```\w+\n(?P<text>.*?)```", re.S
)


def install(package: Path, site: Path) -> None:
    """What pip does with a package of one module: the module, and a dist-info with entry points."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    (site / f"{name}.py").write_text((package / f"{name}.py").read_text())
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_every_block_of_code_is_marked() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) == len(re.findall(r"^```\w+$", text, re.M)) == 7


@pytest.mark.slow
def test_from_an_empty_file_to_a_row(tmp_path: Path, bench: Bench) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    site.mkdir()
    work.mkdir()
    outcomes: dict[str, Outcome] = {}
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["path"]:
            file = work / block["path"]
            file.parent.mkdir(exist_ok=True)
            file.write_text(block["text"])
        elif block["kind"] == "install":
            folder = block["text"].split()[-1]
            install(work / folder, site)
        else:
            for line in block["text"].splitlines():
                words = shlex.split(line)
                assert words[0] == "bench"
                outcomes[line] = done = bench(*words[1:], cwd=work, site=site)
                assert done.code == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    validated = [out.stdout for line, out in outcomes.items() if line.startswith("bench validate")]
    assert len(validated) == 3
    assert all("failed" not in stdout and "warning" not in stdout for stdout in validated)
    assert "posterize" in outcomes["bench list methods"].stdout
    row = [line for line in (work / "report" / "report.md").read_text().splitlines()
           if line.startswith("|") and "posterize" in line]  # fmt: skip
    assert row
    assert (work / "report" / "site" / "index.html").is_file()
