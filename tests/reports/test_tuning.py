"""The searches for the protocol's values, and what ranks their points."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import reports.tuning
from benchmark import registry
from benchmark.config import load_protocol, method_config
from benchmark.errors import UsageError
from benchmark.sweep.file import read_sweep
from benchmark.sweep.folder import SweepRecord
from reports.tuning.photos import write_photos
from reports.tuning.rank import candidates_of, main
from tests.runs import write_sweep

FOLDER = Path(reports.tuning.__file__).parent
FILES = sorted(FOLDER.glob("*.yaml"))


def test_a_setting_is_ranked_by_its_mean_over_the_datasets(tmp_path: Path) -> None:
    points = [
        ("afhq", {"mse": 1}, 0.3), ("celebahq", {"mse": 1}, -0.3), ("afhq", {"mse": 2}, 0.2),
        ("celebahq", {"mse": 2}, 0.2),
    ]  # fmt: skip
    folder = write_sweep(tmp_path / "ours", points)
    first, second = candidates_of(folder)
    assert (first.settings, second.settings) == ("mse=2", "mse=1")
    assert first.worst <= first.harmonic_mean
    assert second.worst < first.worst
    assert second.harmonic_mean < first.harmonic_mean


def test_the_ranking_is_printed_as_a_table_and_for_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [("afhq", {"mse": 1}, 0.0), ("afhq", {"mse": 2}, 0.2)]
    folder = write_sweep(tmp_path / "ours", points)
    monkeypatch.setattr("sys.argv", ["rank", str(folder), "--markdown"])
    assert main() == 0
    head, _, best, other = capsys.readouterr().out.splitlines()
    assert head.startswith("| settings | content")
    assert best.startswith("| mse=2 |") and other.startswith("| mse=1 |")
    monkeypatch.setattr("sys.argv", ["rank", str(folder)])
    assert main() == 0
    assert "mse=2" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["rank", str(tmp_path / "nowhere")])
    assert main() == 1
    assert "cannot be read" in capsys.readouterr().err


def test_an_unfinished_search_and_one_of_several_methods_are_refused(tmp_path: Path) -> None:
    unfinished = write_sweep(tmp_path / "part", [("afhq", {"mse": 1}, 0.0)], missing=2)
    with pytest.raises(UsageError, match="finish the sweep first"):
        candidates_of(unfinished)
    mixed = write_sweep(tmp_path / "mixed", [("afhq", {"mse": 1}, 0.0)])
    record = SweepRecord.model_validate_json((mixed / "sweep.json").read_text())
    (run,) = record.runs
    other = run.model_copy(update={"method": "zecon"})
    changed = record.model_copy(update={"runs": [run, other]})
    (mixed / "sweep.json").write_text(changed.model_dump_json())
    with pytest.raises(UsageError, match="holds runs of ours, zecon: a search has one"):
        candidates_of(mixed)


@pytest.mark.parametrize("method", sorted({read_sweep(file).methods[0] for file in FILES}))
def test_the_protocol_holds_a_point_of_each_search(method: str) -> None:
    """A further search (``METHOD-*.yaml``) changes some values of a point of the first."""
    first = read_sweep(FOLDER / f"{method}.yaml")
    further = [read_sweep(file) for file in FOLDER.glob(f"{method}-*.yaml")]
    changes = [p for s in further if tuple(s.methods) == (method,) for _, p in s.points()]
    cls = registry.load(registry.METHODS, method)
    taken = method_config(method, cls, load_protocol(first.protocol), None, ()).model_dump()
    points = [
        {key: tuple(v) if isinstance(v, list) else v for key, v in {**point, **change}.items()}
        for _, point in first.points()
        for change in [{}, *changes]
    ]
    assert any(all(taken[key] == value for key, value in point.items()) for point in points)


def test_photos_are_the_first_of_the_training_split(tmp_path: Path) -> None:
    stored = []
    for shade in (0, 128, 255):
        buffer = io.BytesIO()
        Image.new("RGB", (128, 128), (shade, 0, 0)).save(buffer, "JPEG")
        stored.append({"image": buffer.getvalue(), "id": str(shade)})
    pq.write_table(pa.Table.from_pylist(stored), tmp_path / "dogs-train.parquet")
    written = write_photos(tmp_path, "dogs", 2, tmp_path / "photos")
    assert [path.name for path in written] == ["dogs-000.png", "dogs-001.png"]
    with Image.open(written[1]) as picture:
        assert picture.size == (128, 128) and abs(picture.getpixel((5, 5))[0] - 128) < 4
    with pytest.raises(FileExistsError, match="not empty"):
        write_photos(tmp_path, "dogs", 2, tmp_path / "photos")
    with pytest.raises(FileNotFoundError, match="faces-train"):
        write_photos(tmp_path, "faces", 2, tmp_path / "others")
