"""Writes the site."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.files import explain_write_errors
from reports.board import Board, Report, Row
from reports.site import names
from reports.site.gallery import gallery_script
from reports.site.images import Samples, copy_outputs, write_sources
from reports.site.pages import Pages

MARK = ".stylebench-site"  # by which a later call knows the folder for its own


def write_site(report: Report, out: Path, *, command: Sequence[str]) -> Path:
    """Write the report as a folder of pages that needs no network and works from ``file://``.

    Equal reports and commands give equal bytes.

    Args:
        report: what :func:`reports.leaderboard.build_report` returned; its run directories must
            still be there, since pictures and manifests are copied.
        out: folder of the site alone; an earlier site in it is replaced.
        command: what made the report, shown in the pages.

    Returns:
        path of ``index.html``.

    Raises:
        UsageError: ``out`` holds something else than a site.
        RunDirectoryError: ``out`` cannot be written, or a run names files outside its folder.
    """
    _require_own(out)
    with explain_write_errors(out):
        if out.exists():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / MARK).write_text(f"{report.protocol}\n", encoding="utf-8")
        _copy_assets(out / "assets")
        pages = Pages(report, shlex.join(command))
        for board in report.boards:
            _write_board(board, pages, out)
        index = out / "index.html"
        _write_text(index, pages.index())
    return index


def _write_board(board: Board, pages: Pages, out: Path) -> None:
    samples = Samples.of(board)
    has_sources = write_sources(board, out)
    for row in board.rows:
        copy_outputs(row, samples, out)
        _copy_manifest(row, out)
        _write_text(out / names.run_page(row.id), pages.run(board, row, samples, has_sources))
    _write_text(out / names.dataset_page(board.id), pages.dataset(board, has_sources))
    _write_text(out / names.gallery_page(board.id), pages.gallery(board))
    _write_text(out / names.gallery_data(board.id), gallery_script(board, samples, has_sources))


def _require_own(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose another folder for the site")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UsageError(f"{out} is not empty and holds no site: choose another folder")


def _copy_assets(folder: Path) -> None:
    folder.mkdir()
    for item in (files("reports.site") / "assets").iterdir():
        if item.name.endswith((".css", ".js")):
            (folder / item.name).write_bytes(item.read_bytes())


def _copy_manifest(row: Row, out: Path) -> None:
    path = out / names.manifest_copy(row.id)
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(row.run.path / "manifest.json", path)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
