"""Frozen sets: the same every time, made once, and never used when something is wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.errors import DataError
from data import freeze_parts as parts
from data.cards import load_card
from data.decode import decode, square
from data.freeze import FrozenSet, freeze
from data.sources import EmbeddedSource, Entry, FolderSource, Source


def run(source: Source, cache: Path, **changes: Any) -> FrozenSet:
    options = {"size": 16, "resize_filter": "lanczos", "limit": None, "on_bad_image": "fail"}
    return freeze(source, cache_dir=cache, **{**options, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    rng = np.random.default_rng(0)
    for name in ("c", "a", "b"):
        pixels = rng.integers(0, 256, (24, 30, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{name}.png")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_contents(folder: Path, cache: Path) -> None:
    frozen = run(FolderSource(folder), cache)
    assert [image.image_id for image in frozen.images] == ["a", "b", "c"]
    for image in frozen.images:
        expected = square(decode((folder / image.file).read_bytes()), 16, "lanczos")
        assert np.array_equal(image.pixels, expected)
        assert (image.width, image.height) == (30, 24)
    assert frozen.skipped == ()


def test_two_freezes_agree_also_in_another_cache_and_folder(
    folder: Path, cache: Path, tmp_path: Path
) -> None:
    first = run(FolderSource(folder), cache)
    stored = first.path.read_bytes()
    again = run(FolderSource(folder), cache)
    assert again.path.read_bytes() == stored
    moved = folder.rename(tmp_path / "elsewhere")
    third = run(FolderSource(moved), tmp_path / "other-cache")
    assert first.fingerprint == again.fingerprint == third.fingerprint
    for one, two in zip(first.images, again.images, strict=True):
        assert one.pixel_sha256 == two.pixel_sha256
        assert np.array_equal(one.pixels, two.pixels)


def test_fingerprint_of_the_embedded_afhq() -> None:
    """PNG files of the side that is asked for: no decoder or resampling has a say."""
    import tempfile

    with tempfile.TemporaryDirectory() as cache:
        frozen = run(EmbeddedSource("afhq", load_card("afhq").embedded), Path(cache), size=64)
    assert frozen.fingerprint.startswith("76bc830ed5721517")


def test_fingerprint_moves_with_everything_that_decides_the_samples(
    folder: Path, cache: Path
) -> None:
    seen = {run(FolderSource(folder), cache).fingerprint}
    for changes in ({"size": 8}, {"resize_filter": "box"}, {"limit": 2}):
        seen.add(run(FolderSource(folder), cache, **changes).fingerprint)
    (folder / "c.png").rename(folder / "d.png")
    seen.add(run(FolderSource(folder), cache).fingerprint)
    pixels = np.asarray(Image.open(folder / "a.png")).copy()
    pixels[12, 15] ^= 255
    Image.fromarray(pixels).save(folder / "a.png")
    seen.add(run(FolderSource(folder), cache).fingerprint)
    assert len(seen) == 6


def test_changed_original_is_noticed_although_names_and_sizes_agree(
    folder: Path, cache: Path
) -> None:
    before = run(FolderSource(folder), cache)
    status = (folder / "b.png").stat()
    Image.fromarray(np.zeros((24, 30, 3), np.uint8)).save(folder / "b.png")
    os.utime(folder / "b.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    after = run(FolderSource(folder), cache)
    assert after.path == before.path
    assert not after.images[1].pixels.any()
    assert np.array_equal(after.images[0].pixels, before.images[0].pixels)


def test_limit_takes_the_first_usable_ones_and_reads_no_more(folder: Path, cache: Path) -> None:
    (folder / "a.png").write_bytes(b"broken")
    (folder / "z.png").write_bytes(b"broken too")
    frozen = run(FolderSource(folder), cache, limit=2, on_bad_image="skip")
    assert [image.image_id for image in frozen.images] == ["b", "c"]
    assert [item["file"] for item in frozen.skipped] == ["a.png"]
    assert "cannot be decoded" in frozen.skipped[0]["reason"]
    again = run(FolderSource(folder), cache, limit=2, on_bad_image="skip")
    assert again.skipped == frozen.skipped
    with pytest.raises(DataError, match=r"a\.png cannot be used: .*--on-bad-image skip"):
        run(FolderSource(folder), cache, limit=2)


def test_mended_image_is_taken_up(folder: Path, cache: Path) -> None:
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[:60])
    assert len(run(FolderSource(folder), cache, on_bad_image="skip").images) == 2
    (folder / "a.png").write_bytes(whole)
    assert len(run(FolderSource(folder), cache, on_bad_image="skip").images) == 3


def test_no_usable_image(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"none of the 1 images can be used; the first, a\.png"):
        run(FolderSource(tmp_path), cache, on_bad_image="skip")


def _rewrite(path: Path, change: Any) -> None:
    table = pq.read_table(path)
    rows, metadata = table.to_pylist(), dict(table.schema.metadata)
    facts = json.loads(metadata[b"stylebench"])
    change(rows, facts)
    metadata[b"stylebench"] = json.dumps(facts).encode()
    schema = table.schema.with_metadata(metadata)
    pq.write_table(type(table).from_pylist(rows, schema=schema), path)


def _other_pixels(rows: list[Any], facts: Any) -> None:
    rows[1]["png"] = rows[0]["png"]


def _other_order(rows: list[Any], facts: Any) -> None:
    rows.reverse()


def _fewer(rows: list[Any], facts: Any) -> None:
    rows.pop()


def _other_id(rows: list[Any], facts: Any) -> None:
    rows[0]["image_id"] = "zzz"


def _other_filter(rows: list[Any], facts: Any) -> None:
    facts["resize_filter"] = "box"


def _no_png(rows: list[Any], facts: Any) -> None:
    rows[0]["png"] = b"nothing"


def _other_format(rows: list[Any], facts: Any) -> None:
    facts["format"] = 0


@pytest.mark.parametrize(
    "change",
    [_other_pixels, _other_order, _fewer, _other_id, _other_filter, _no_png, _other_format],
)
def test_tampering_is_refused_with_the_remedy(folder: Path, cache: Path, change: Any) -> None:
    path = run(FolderSource(folder), cache).path
    _rewrite(path, change)
    with pytest.raises(DataError, match=r"damaged or was changed.*Delete this file") as caught:
        run(FolderSource(folder), cache)
    assert str(path) in str(caught.value)
    path.unlink()
    run(FolderSource(folder), cache)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_truncation_is_refused(folder: Path, cache: Path, share: float) -> None:
    path = run(FolderSource(folder), cache).path
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match="Delete this file"):
        run(FolderSource(folder), cache)


def test_every_flipped_byte_is_refused_or_harmless(folder: Path, cache: Path) -> None:
    """No single changed byte gives other pixels, ids or another fingerprint."""
    good = run(FolderSource(folder), cache)
    data = good.path.read_bytes()
    refused = 0
    for place in range(0, len(data), 61):
        changed = bytearray(data)
        changed[place] ^= 0x55
        good.path.write_bytes(changed)
        try:
            found = run(FolderSource(folder), cache)
        except DataError:
            refused += 1
            continue
        assert found.fingerprint == good.fingerprint
        for one, two in zip(found.images, good.images, strict=True):
            assert one.image_id == two.image_id
            assert np.array_equal(one.pixels, two.pixels)
        good.path.write_bytes(data)
    assert refused > 10


def test_cache_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "blocker"
    blocker.write_text("a file")
    with pytest.raises(DataError, match="STYLEBENCH_CACHE"):
        run(FolderSource(folder), blocker)


def test_full_disk_leaves_no_half_set(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.pq, "write_table", fail)
    with pytest.raises(DataError, match="No space left"):
        run(FolderSource(folder), cache)
    assert not [path for path in (cache / "datasets").iterdir() if path.suffix != ".lock"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """More images than two parts hold."""
    path = tmp_path / "many"
    path.mkdir()
    for index in range(150):
        Image.new("RGB", (3, 3), (index, 0, 0)).save(path / f"{index:03d}.png")
    return path


class Stopping(FolderSource):
    """Ends as an interrupt does, at one image."""

    def __init__(self, folder: Path, at: int) -> None:
        super().__init__(folder)
        self._at = at

    def read(self, entry: Entry) -> bytes:
        if entry.file == f"{self._at:03d}.png":
            raise KeyboardInterrupt
        return super().read(entry)


def test_freezing_goes_on_where_it_was_cut(many: Path, cache: Path, tmp_path: Path) -> None:
    (many / "010.png").write_bytes(b"broken")
    for at in (70, 140):
        with pytest.raises(KeyboardInterrupt):
            run(Stopping(many, at), cache, on_bad_image="skip")
    frozen = run(Counting(many), cache, on_bad_image="skip")
    fresh = run(FolderSource(many), tmp_path / "fresh", on_bad_image="skip")
    assert frozen.fingerprint == fresh.fingerprint
    assert frozen.skipped == fresh.skipped
    assert [image.pixels[0, 0, 0] for image in frozen.images] == [
        index for index in range(150) if index != 10
    ]
    decoded = (many / "decoded.log").read_text().split()
    assert decoded == [f"{index:03d}" for index in range(128, 150)]
    assert sorted(path.suffix for path in (cache / "datasets").iterdir()) == [".lock", ".parquet"]


def test_parts_of_changed_or_damaged_images_are_made_again(many: Path, cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(many, 140), cache)
    Image.new("RGB", (3, 3), (7, 7, 7)).save(many / "100.png")
    [folder] = (cache / "datasets").glob(".*.parts")
    frozen = run(Counting(many), cache)
    assert (frozen.images[100].pixels == 7).all()
    assert (many / "decoded.log").read_text().split()[0] == "064"
    frozen.path.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(many, 140), cache)
    first = folder / "000000.parquet"
    first.write_bytes(first.read_bytes()[:-9])
    assert run(FolderSource(many), cache).fingerprint == frozen.fingerprint


def test_pixels_are_read_on_demand_and_checked(many: Path, cache: Path) -> None:
    frozen = run(FolderSource(many), cache)
    order = np.random.default_rng(0).permutation(150)
    assert [frozen.images[i].pixels[0, 0, 0] for i in order] == list(order)
    assert list(frozen.pixels) == [image.image_id for image in frozen.images]
    assert (frozen.pixels["003"] == frozen.images[3].pixels).all()
    again = run(FolderSource(many), cache)
    table = pq.read_table(frozen.path)
    swapped = table.take([1, 0, *range(2, 150)]).column("png")
    changed = table.set_column(table.schema.get_field_index("png"), "png", swapped)
    pq.write_table(changed, frozen.path, row_group_size=64)
    with pytest.raises(DataError, match=r"pixels of row 0 are not those.*Delete this file"):
        _ = again.images[0].pixels
    frozen.path.unlink()
    with pytest.raises(DataError, match="No such file"):
        _ = again.images[149].pixels


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from benchmark.pictures import encode_png
from data.freeze import freeze
from data.sources import Entry, Source

class Drawn(Source):
    name = "drawn"
    pinned = True
    def __init__(self, count): self.count = count
    def identity(self): return {"count": self.count}
    def describe(self): return {}
    def entries(self): return [Entry(f"{i:05d}", f"{i}") for i in range(self.count)]
    def read(self, entry):
        rng = np.random.default_rng(int(entry.id))
        return encode_png(rng.integers(0, 256, (96, 96, 3), np.uint8))

def peak(count):
    frozen = freeze(Drawn(count), size=96, resize_filter="box", limit=None, on_bad_image="fail",
                    cache_dir=Path(sys.argv[1]))
    for image in frozen.images: image.pixels
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

few = peak(400)
print(peak(1400) - few)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """The 1,000 images more are 28 MB of pixels and as much again as PNGs: neither is held."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], text=True, capture_output=True, check=True,
        cwd=Path(__file__).resolve().parents[2], timeout=240,
    )  # fmt: skip
    assert float(done.stdout) < 15


class Counting(FolderSource):
    """Leaves a line for every image it decodes."""

    def entries(self) -> Sequence[Entry]:
        return super().entries()

    def decode(self, entry: Entry, data: bytes) -> Image.Image:
        with (self.folder / "decoded.log").open("a") as file:
            file.write(f"{entry.id}\n")
        return super().decode(entry, data)


def _race(folder: Path, cache: Path, barrier: Any, queue: Any) -> None:
    barrier.wait(60)
    queue.put(run(Counting(folder), cache).fingerprint)


@pytest.mark.slow
def test_two_processes_race_and_one_does_the_work(folder: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_race, args=(folder, cache, barrier, queue)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert found[0] == found[1]
    assert sorted((folder / "decoded.log").read_text().split()) == ["a", "b", "c"]
