"""The sheet of styles of several runs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.run import RunDirectory
from reports import style_sheet
from tests.runs import write_run


def test_each_style_has_a_column_and_each_picture_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [write_run(tmp_path, dataset=name, n_images=3) for name in ("afhq", "celebahq")]
    monkeypatch.setattr(style_sheet, "STYLES_OF_BLOCK", 1)
    out = tmp_path / "docs" / "styles.png"
    monkeypatch.setattr("sys.argv", ["style_sheet", *map(str, paths), "--out", str(out)])
    assert style_sheet.main() == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as picture:
        found = np.asarray(picture.convert("RGB"))
    directory = RunDirectory(paths[1])
    for style in ("golden", "red-bricks"):
        for image in ("image0000", "image0001"):
            tile = np.kron(directory.load_image(f"{image}__{style}"), np.ones((2, 2, 1), np.uint8))
            assert _holds(found, tile), (style, image)
    third = directory.load_image("image0002__golden")
    assert not _holds(found, np.kron(third, np.ones((2, 2, 1), np.uint8)))


def test_runs_of_other_styles_and_no_picture_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", prompts={"golden": "Gold"}),
    ]
    line = ["style_sheet", *map(str, paths), "--out", str(tmp_path / "x.png")]
    monkeypatch.setattr("sys.argv", line)
    assert style_sheet.main() == 1
    assert "has other styles than" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*line, "--images", "0"])
    with pytest.raises(SystemExit, match="2"):
        style_sheet.main()


def _holds(picture: np.ndarray, tile: np.ndarray) -> bool:
    """Whether the tile is anywhere in the picture."""
    height, width = tile.shape[:2]
    corners = np.argwhere((picture == tile[0, 0]).all(-1))
    return any(np.array_equal(picture[y : y + height, x : x + width], tile) for y, x in corners)
