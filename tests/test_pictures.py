"""Pictures of a run on disk: what goes in comes out, a row group at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import RunDirectoryError
from benchmark.meter import metered
from benchmark.pictures import GROUP, Pixels, StoredPictures, encode_png, write_pictures
from benchmark.run import RunDirectory
from tests.runs import write_run


def noise(index: int, side: int = 16) -> Pixels:
    return np.random.default_rng(index).integers(0, 256, (side, side, 3), np.uint8)


class Lazy(Mapping[str, Pixels]):
    """Pictures that exist only while they are asked for."""

    def __init__(self, count: int, side: int) -> None:
        self._count, self._side = count, side

    def __getitem__(self, key: str) -> Pixels:
        return noise(int(key), self._side)

    def __iter__(self) -> Iterator[str]:
        return (f"{index:05d}" for index in range(self._count))

    def __len__(self) -> int:
        return self._count


@given(order=st.permutations(range(2 * GROUP + 3)))
def test_any_order_of_asking_gives_what_was_stored(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "asked.parquet"
    images = {f"image-{index}": noise(index, 4) for index in range(2 * GROUP + 3)}
    if not path.exists():
        write_pictures(path, "image_id", images)
    stored = StoredPictures(path, "image_id")
    assert list(stored) == list(images) and len(stored) == len(images)
    for index in order[:20]:
        assert np.array_equal(stored[f"image-{index}"], images[f"image-{index}"])
    with pytest.raises(KeyError):
        stored["another"]


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They were written at once, in row groups of any size."""
    images = {f"image-{index}": noise(index) for index in range(150)}
    path = tmp_path / "sources.parquet"
    columns = {"image_id": list(images), "png": [encode_png(image) for image in images.values()]}
    for size in (1, 7, 1000):
        pq.write_table(pa.Table.from_pydict(columns), path, row_group_size=size)
        stored = StoredPictures(path, "image_id")
        assert all(np.array_equal(stored[name], image) for name, image in images.items())


def test_neither_writing_nor_reading_holds_the_pictures(tmp_path: Path) -> None:
    """1,000 pictures of 12 KiB; a row group of them is 0.8 MB."""
    images, path = Lazy(1000, 64), tmp_path / "pictures.parquet"
    tracemalloc.start()
    try:
        write_pictures(path, "image_id", images)
        stored = StoredPictures(path, "image_id")
        for image_id in list(images)[::3]:
            assert stored[image_id].shape == (64, 64, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 12e6
    assert peak < 4e6


def test_a_missing_and_a_damaged_file_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "sources.parquet"
    with pytest.raises(RunDirectoryError, match=r"has no sources\.parquet; run it again"):
        StoredPictures(path, "image_id")
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(RunDirectoryError, match=r"sources\.parquet cannot be read"):
        StoredPictures(path, "image_id")


def test_chunks_whose_images_are_gone_lose_their_record(tmp_path: Path) -> None:
    directory = RunDirectory(write_run(tmp_path, n_images=12))  # three chunks of eight samples
    first = next(iter(directory.read_chunks())).samples[0]
    directory.image_path(first.sample_id).write_bytes(b"changed")
    assert directory.missing_chunks(3) == set(), "records alone are looked at"
    assert directory.keep_finished_chunks() == {1: 8, 2: 8}
    assert directory.missing_chunks(4) == {0, 3}


def test_a_reading_tells_the_memory_of_a_stretch_of_work() -> None:
    import torch

    # so large that what other tests leave to be freed meanwhile does not matter
    size, slack = 400, 100  # MiB
    cpu = torch.device("cpu")
    with metered(cpu) as before:
        pass
    with metered(cpu) as large:
        block = np.ones(size << 20, np.uint8)
        assert block.sum() == size << 20
        del block
    with metered(cpu) as after:
        pass
    assert abs(large.peak_memory_mib - before.peak_memory_mib - size) < slack
    assert after.peak_memory_mib < large.peak_memory_mib - size + slack, "a peak counts once"
    assert large.seconds > 0
