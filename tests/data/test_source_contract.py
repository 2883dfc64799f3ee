"""What every source promises, whatever its images lie in."""

from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from benchmark.errors import DataError
from data.archives.opening import open_local
from data.cards import load_card
from data.decode import BadImageError
from data.freeze import FrozenSet, freeze
from data.sources import MAX_BYTES, EmbeddedSource, Source
from tests.data.packing import LOCAL, pack, picture, write_parquet

SAFE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# not in the order of their names, as archives often are
FILES = {
    "c.png": picture(1),
    "a.jpg": picture(2, "JPEG"),
    "Über 1.webp": picture(3, "WEBP"),
    "B_2.PNG": picture(4),
    "d.jpeg": picture(5, "JPEG"),
}
Open = Callable[[], Source]


def frozen(source: Source, cache: Path, **changes: Any) -> FrozenSet:
    options = {"size": 16, "resize_filter": "lanczos", "limit": None, "on_bad_image": "fail"}
    return freeze(source, cache_dir=cache, **{**options, **changes})


@pytest.fixture(params=["embedded", *LOCAL])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same set anew at every call."""
    if request.param == "embedded":
        return lambda: EmbeddedSource("afhq", load_card("afhq").embedded)
    path = pack(request.param, tmp_path / "set", FILES)
    return lambda: open_local(path)


@pytest.fixture(params=LOCAL)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_order_and_ids(opened: Open) -> None:
    entries = list(opened().entries())
    assert entries == list(opened().entries())
    source = opened()
    assert entries == list(source.entries()) == list(source.entries())
    ids = [entry.id for entry in entries]
    assert len(set(ids)) == len(ids) >= 5
    assert all(SAFE_ID.fullmatch(image_id) for image_id in ids)


def test_facts_can_be_stored(opened: Open) -> None:
    source = opened()
    assert json.loads(json.dumps(source.identity())) == opened().identity()
    assert json.loads(json.dumps(source.describe()))["name"] == source.name


def test_one_entry_and_a_stream_give_the_same_bytes(opened: Open) -> None:
    source = opened()
    entries = list(source.entries())
    streamed = list(source.stream(entries))
    assert [entry for entry, _ in streamed] == entries
    some = entries[1::2]
    assert list(opened().stream(some)) == streamed[1::2]
    # backwards, so that nothing depends on reading on
    for entry, data in reversed(streamed):
        assert source.read(entry) == data


def test_a_stream_may_be_left_and_two_may_run_at_once(opened: Open) -> None:
    source = opened()
    entries = list(source.entries())
    first, second = source.stream(entries), source.stream(entries)
    assert next(first) == next(second)
    first.close()
    assert [entry for entry, _ in second] == entries[1:]


def test_original_bytes(kind: str, tmp_path: Path) -> None:
    source = open_local(pack(kind, tmp_path, FILES))
    found = {entry.id: source.read(entry) for entry in source.entries()}
    assert found == {
        "c": FILES["c.png"], "a": FILES["a.jpg"], "uber-1": FILES["Über 1.webp"],
        "b-2": FILES["B_2.PNG"], "d": FILES["d.jpeg"],
    }  # fmt: skip


def test_a_copy_elsewhere_has_the_same_identity(kind: str, tmp_path: Path) -> None:
    path = pack(kind, tmp_path / "here", FILES)
    before = open_local(path).identity()
    assert str(tmp_path) not in json.dumps(before)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert open_local(tmp_path / "there" / path.name).identity() == before


def test_the_same_images_freeze_to_the_same_fingerprint(kind: str, tmp_path: Path) -> None:
    reference = frozen(open_local(pack("folder", tmp_path / "one", FILES)), tmp_path / "cache")
    found = frozen(open_local(pack(kind, tmp_path / "two", FILES)), tmp_path / "cache")
    assert found.fingerprint == reference.fingerprint
    assert [image.image_id for image in found.images] == ["b-2", "a", "c", "d", "uber-1"]


def test_listing_decodes_nothing_and_a_bad_image_goes_by_policy(kind: str, tmp_path: Path) -> None:
    source = open_local(pack(kind, tmp_path / "set", {**FILES, "bad.png": b"no pixels"}))
    assert len(source.entries()) == 6
    with pytest.raises(DataError, match=r"bad.* cannot be used: .*--on-bad-image skip"):
        frozen(source, tmp_path / "cache")
    rest = frozen(source, tmp_path / "cache", on_bad_image="skip")
    assert len(rest.images) == 5
    assert ["bad" in item["file"] for item in rest.skipped] == [True]


def test_changed_bytes_are_noticed(kind: str, tmp_path: Path) -> None:
    before = frozen(open_local(pack(kind, tmp_path / "a", FILES)), tmp_path / "cache")
    changed = {**FILES, "c.png": picture(9)}
    after = frozen(open_local(pack(kind, tmp_path / "b", changed)), tmp_path / "cache")
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("packed", ["folder", "webdataset", "zip", "lmdb", "parquet"])
def test_a_huge_image_is_refused_before_it_is_read(packed: str, tmp_path: Path) -> None:
    huge = bytes(MAX_BYTES + 1)
    files = {"a.png": picture(1), "huge.png": huge}
    if packed == "parquet":  # the bound is that of a row group
        path = write_parquet(tmp_path / "a.parquet", files, rows=1)
    else:
        path = pack(packed, tmp_path, files)
    source = open_local(path)
    del huge, files
    good, bad = source.entries()
    usual = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counting)
    tracemalloc.start()
    try:
        with pytest.raises(BadImageError, match=r"67,1\d\d,\d\d\d bytes"):
            source.read(bad)
        peak = tracemalloc.get_traced_memory()[1] + (counting.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)
    assert peak < 6 << 20
    assert source.read(good) == picture(1)
