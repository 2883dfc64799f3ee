"""The sheet of what the generator gives back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports import inversions
from reports.inversions import FACTOR


def test_the_inversion_is_nearer_to_the_picture_than_the_encoders_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inversions, "SHOWN", 4)
    path = tmp_path / "faces.png"
    monkeypatch.setattr("sys.argv", ["inversions", "mini-64-v1", "--out", str(path)])
    assert inversions.main() == 0
    with Image.open(path) as sheet:
        assert sheet.size == (4 * 64 * FACTOR, 4 * 64 * FACTOR)
        rows = np.split(np.asarray(sheet).astype(float), 4)
    encoded, inverted, drawn = (np.square(row - rows[0]).mean() for row in rows[1:])
    assert inverted < encoded < drawn


def test_a_protocol_or_dataset_that_is_not_there_is_an_error_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "f.png")]
    for wrong in (["mini-99", *out], ["mini-64-v1", "--dataset", "celeb", *out]):
        monkeypatch.setattr("sys.argv", ["inversions", *wrong])
        assert inversions.main() != 0
        assert capsys.readouterr().err.startswith("error: ")
