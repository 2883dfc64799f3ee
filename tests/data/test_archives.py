"""Archives as published, as users pack them, damaged, and made to do harm."""

from __future__ import annotations

import gzip
import io
import os
import random
import re
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.errors import BenchError, DataError, UsageError
from data.archives import tars
from data.archives.lmdbs import LmdbSource
from data.archives.opening import open_local
from data.archives.parquet import ParquetSource
from data.archives.tars import WebDatasetSource
from data.archives.zips import ZipSource
from data.decode import BadImageError
from data.sources import MAX_BYTES, FolderSource, Source
from tests.data.packing import (
    pack,
    picture,
    write_lmdb,
    write_parquet,
    write_tar,
    write_zip,
)  # fmt: skip

FILES = {f"{name}.png": picture(seed) for seed, name in enumerate("abcdef")}


def read_all(source: Source) -> dict[str, bytes | str]:
    """Bytes by id; the reason where an image cannot be read."""
    return {
        entry.id: str(data) if isinstance(data, BadImageError) else data
        for entry, data in source.stream(source.entries())
    }


def fails(path: Path, words: str, within: str | None = None) -> str:
    with pytest.raises(BenchError, match=words) as caught:
        open_local(path, within).entries()
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


# as published


@pytest.fixture
def afhq(tmp_path: Path) -> Path:
    members = {
        f"afhq/{part}/{animal}/flickr_{animal}_{i:06d}.jpg": picture(i, "JPEG")
        for part in ("train", "val") for animal in ("wild", "dog", "cat") for i in (3, 2, 40)
    }  # fmt: skip
    return write_zip(tmp_path / "afhq.zip", {"afhq/train/": b"", **members})


def test_afhq_and_its_dogs(afhq: Path, tmp_path: Path) -> None:
    message = fails(afhq, r"several folders: .*--images-within FOLDER.*--images-within \. takes")
    assert "afhq/train/cat (3)" in message
    for within in ("afhq/val/dog", "afhq/val/dog/", "./afhq/val/dog"):
        entries = open_local(afhq, within).entries()
        assert [entry.id for entry in entries] == [
            f"flickr-dog-{number}" for number in ("000002", "000003", "000040")
        ]
        assert entries[0].file == "afhq/val/dog/flickr_dog_000002.jpg"
    assert len(open_local(afhq, "afhq/train").entries()) == 9
    assert len(open_local(afhq, ".").entries()) == 18
    assert len({entry.id for entry in open_local(afhq, ".").entries()}) == 18
    fails(afhq, r"no images within 'afhq/test'.*images are in afhq/train/", "afhq/test")
    fails(afhq, r"no images within 'afhq/val/do'", "afhq/val/do")
    assert list(tmp_path.iterdir()) == [afhq], "nothing is unpacked"


def test_celeba_hq(tmp_path: Path) -> None:
    members = {
        f"celeba_hq/{part}/{gender}/{number:06d}.jpg": picture(number, "JPEG")
        for part in ("train", "val") for gender in ("male", "female") for number in (7, 5)
    }  # fmt: skip
    path = write_zip(tmp_path / "celeba_hq.zip", members)
    source = open_local(path, "celeba_hq/val/female")
    assert read_all(source) == {"000005": picture(5, "JPEG"), "000007": picture(7, "JPEG")}
    assert len(open_local(path, "celeba_hq/val").entries()) == 4


def test_ids_are_those_of_the_folder_even_where_stems_are_shared(tmp_path: Path) -> None:
    files = {"x.png": picture(1), "x.jpg": picture(2, "JPEG"), "y.png": picture(3)}
    folder = FolderSource(pack("folder", tmp_path, files))
    packed = open_local(write_zip(tmp_path / "a.zip", {f"p/q/{k}": v for k, v in files.items()}))
    assert read_all(packed) == read_all(folder)


def test_lsun_layout(tmp_path: Path) -> None:
    keys = [f"{number:040x}" for number in (77, 3, 1 << 100)]
    values = {key.encode(): picture(i, "WEBP") for i, key in enumerate(keys)}
    path = write_lmdb(tmp_path / "bedroom_val_lmdb", values)
    (path / "lock.mdb").unlink()
    before = sorted(path.iterdir())
    found = read_all(open_local(path))
    assert found == {key.decode(): value for key, value in values.items()}
    assert list(found) == sorted(keys)
    assert sorted(path.iterdir()) == before, "no lock file is made"
    assert read_all(open_local(path / "data.mdb")) == found
    fails(tmp_path, rf"LMDB in a subfolder: name it \(--images {re.escape(str(path))}\)")
    packed = write_zip(
        tmp_path / "bedroom_val_lmdb.zip",
        {f"bedroom_val_lmdb/{file.name}": file.read_bytes() for file in path.iterdir()},
    )
    fails(packed, r"holds an LMDB, as LSUN.*unzip .*give --images bedroom_val_lmdb")


def test_lmdb_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lmdb(tmp_path / "set", {b"a": picture(1)})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    fails(path, r"needs the package lmdb.*pip install 'stylebench\[lmdb\]'")


def test_webdataset_samples_with_labels(tmp_path: Path) -> None:
    members = {}
    for number in (2, 0, 1):
        members[f"{number:05d}.json"] = b"{}"
        members[f"{number:05d}.cls"] = b"3"
        members[f"{number:05d}.seg.png"] = picture(90 + number)
        members[f"{number:05d}.JPEG"] = picture(number, "JPEG")
    members["__index__.txt"] = b"x"
    members["._00000.jpg"] = b"made by macOS"
    found = read_all(open_local(write_tar(tmp_path / "a.tar", members)))
    assert found == {f"{number:05d}": picture(number, "JPEG") for number in range(3)}


def test_an_image_field_with_a_longer_name(tmp_path: Path) -> None:
    members = {"a.image.jpg": picture(1, "JPEG"), "a.txt": b"x"}
    assert list(read_all(open_local(write_tar(tmp_path / "a.tar", members)))) == ["a-image"]
    both = {"a.left.jpg": b"1", "a.right.jpg": b"2"}
    fails(write_tar(tmp_path / "b.tar", both), r"'a' has several images \(a.left.jpg, a.right.jpg")
    both = {"a.png": b"1", "a.jpg": b"2"}
    fails(write_tar(tmp_path / "c.tar", both), r"several images \(a.jpg, a.png")


def test_shards(tmp_path: Path) -> None:
    for shard in (1, 0):
        first = 3 * shard
        files = {f"{first + i:04d}.png": picture(first + i) for i in (2, 0, 1)}
        write_tar(tmp_path / f"train-{shard:06d}.tar", {**files, "same.png": picture(50 + shard)})
    source = open_local(tmp_path)
    entries = source.entries()
    assert [entry.file.split("/")[0] for entry in entries] == (
        ["train-000000.tar"] * 4 + ["train-000001.tar"] * 4
    )
    found = read_all(source)
    assert [found[f"{i:04d}"] for i in range(6)] == [picture(i) for i in range(6)]
    assert {found[i] for i in found if i.startswith("same-")} == {picture(50), picture(51)}
    write_tar(tmp_path / "val-000000.tar.gz", {"0099.png": picture(99)})
    fails(tmp_path, r"several sets: train \(2 files\), val \(1 files\).*--images-within SET")
    assert list(read_all(open_local(tmp_path, "val"))) == ["0099"]
    assert len(open_local(tmp_path, "train").entries()) == 8
    fails(tmp_path, r"no \.tar file whose name begins with 'test'", "test")


def test_parquet_shards_columns_and_names(tmp_path: Path) -> None:
    for shard in range(2):
        files = {f"{shard}{name}": data for name, data in FILES.items()}
        write_parquet(tmp_path / f"train-{shard:05d}-of-00002.parquet", files)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", {"z.png": picture(7)})
    fails(tmp_path, r"several sets: test \(1 files\), train \(2 files\)")
    found = read_all(open_local(tmp_path, "train"))
    assert list(found) == [f"{shard}{name}" for shard in range(2) for name in "abcdef"]
    assert found["1d"] == FILES["d.png"]
    one = tmp_path / "test-00000-of-00001.parquet"
    fails(one, r"no column 'picture'; its columns are label \(int64\), image \(struct", "picture")
    fails(one, r"'label' holds no bytes of images", "label")


@pytest.mark.parametrize("paths", [True, False])
def test_parquet_rows_without_names(tmp_path: Path, paths: bool) -> None:
    path = write_parquet(tmp_path / "a.parquet", FILES, paths=paths, rows=4, column="photo")
    source = open_local(path)
    assert read_all(source) == {
        (name[0] if paths else f"row-{i:06d}"): data for i, (name, data) in enumerate(FILES.items())
    }
    assert source.entries()[1].file == ("b.png" if paths else "a.parquet row 1")


def test_parquet_awkward_rows(tmp_path: Path) -> None:
    cells = [
        {"bytes": picture(1), "path": "a.png"}, {"bytes": picture(2), "path": "a.png"},
        {"bytes": None, "path": "b.png"}, None, {"bytes": picture(3), "path": None},
    ]  # fmt: skip
    pq.write_table(pa.table({"x": cells, "y": [b"1"] * 5}), tmp_path / "a.parquet")
    fails(tmp_path / "a.parquet", r"several columns that can hold images.*--images-within COLUMN")
    found = read_all(open_local(tmp_path / "a.parquet", "x"))
    same = [key for key in found if key.startswith("a-")]
    assert [found[key] for key in same] == [picture(1), picture(2)]
    assert list(found)[2:] == ["b", "row-000003", "row-000004"]
    assert found["b"] == found["row-000003"] == "its row holds no image bytes"
    assert found["row-000004"] == picture(3)
    pq.write_table(pa.table({"n": [1]}), tmp_path / "b.parquet")
    fails(tmp_path / "b.parquet", r"no column that can hold images; its columns are n \(int64\)")


# which source a path has


def test_content_goes_before_the_suffix(tmp_path: Path) -> None:
    plain = {name: data for name, data in FILES.items()}
    kinds = {
        "zip": (write_zip(tmp_path / "a.zip", plain), ZipSource),
        "tar": (write_tar(tmp_path / "a.tar", plain), WebDatasetSource),
        "tgz": (write_tar(tmp_path / "a.tar.gz", plain), WebDatasetSource),
        "parquet": (write_parquet(tmp_path / "a.parquet", plain), ParquetSource),
        "mdb": (write_lmdb(tmp_path / "l", {b"a": picture(1)}) / "data.mdb", LmdbSource),
    }
    for kind, (path, expected) in kinds.items():
        renamed = path.rename(tmp_path / f"{kind}-download")
        source = open_local(renamed)
        assert type(source) is expected
        assert source.entries()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.parquet", "a.mdb"])
def test_files_that_are_not_what_their_name_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"<!DOCTYPE html><title>Quota exceeded</title>")
    fails(path, r" is no .*web page that a server sent in place")
    path.write_bytes(b"")
    fails(path, r" is no .*is empty")


def test_paths_that_cannot_be_used(tmp_path: Path) -> None:
    fails(tmp_path / "none.zip", r"does not exist; --images takes a folder.*\.parquet")
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(30))
    fails(tmp_path / "a.7z", r"7z archive, which is not read: unpack it")
    (tmp_path / "a.png").write_bytes(picture(1))
    fails(tmp_path / "a.png", r"is a file; give the folder that holds it")
    (tmp_path / "a.bin").write_bytes(b"hello")
    fails(tmp_path / "a.bin", r"no archive of a known kind")
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"hello"))
    fails(tmp_path / "a.tar.gz", r"tar archive .* is truncated or damaged")


def test_ambiguous_folders(tmp_path: Path) -> None:
    folder = pack("folder", tmp_path, FILES)
    write_zip(folder / "backup.zip", FILES)
    fails(folder, r"6 images and 1 zip archives, and nothing says.*--images FILE.*within \.")
    assert isinstance(open_local(folder, "."), FolderSource)
    (folder / "backup.zip").unlink()
    with pytest.raises(UsageError, match=r"is a folder: give the subfolder itself"):
        open_local(folder, "dogs")
    other = tmp_path / "archives"
    other.mkdir()
    write_zip(other / "one.zip", FILES)
    assert isinstance(open_local(other), ZipSource)
    write_zip(other / "two.zip", FILES)
    fails(other, r"holds 2 zip archives: name one of them \(--images .*one\.zip\)")
    write_tar(other / "three.tar", FILES)
    fails(other, r"1 tar archives and 2 zip archives, and nothing says which")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_without_images_say_what_is_inside(tmp_path: Path, kind: str) -> None:
    write = write_zip if kind == "zip" else write_tar
    path = write(tmp_path / f"a.{kind}", {"a.txt": b"1", "b.txt": b"2", "c/d.csv": b"3"})
    fails(path, r"has no images: it holds 2 of \.txt, 1 of \.csv")
    fails(write(tmp_path / f"b.{kind}", {}), r"has no images: it is empty")


# damaged


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["zip", "webdataset", "webdataset-gz", "parquet", "lmdb"])
def test_truncated(tmp_path: Path, kind: str, share: float) -> None:
    path = pack(kind, tmp_path, FILES)
    cut(path / "data.mdb" if path.is_dir() else path, share)
    fails(path, r"truncated or damaged.*(download|Download)")


def test_a_tar_cut_between_two_members(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", FILES)
    with tarfile.open(path) as archive:
        fourth = archive.getmembers()[3].offset
    with path.open("r+b") as file:
        file.truncate(fourth)
    fails(path, r"ends at byte .* without the end mark")
    path = write_tar(tmp_path / "b.tar", FILES)
    with path.open("r+b") as file:
        file.seek(fourth)
        file.write(b"\xff" * 512)
    fails(path, r"without the end mark")


def test_a_damaged_image_in_a_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", FILES, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(FILES["c.png"]) + 40] ^= 1
    path.write_bytes(data)
    found = read_all(open_local(path))
    assert "Bad CRC-32" in str(found.pop("c"))
    assert found == {name[0]: data for name, data in FILES.items() if name != "c.png"}


@pytest.mark.parametrize("kind", ["zip", "webdataset", "webdataset-gz", "parquet"])
def test_changed_bytes_never_end_in_anything_but_a_message(tmp_path: Path, kind: str) -> None:
    path = pack(kind, tmp_path, {name: data[:300] for name, data in FILES.items()})
    whole = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(120):
        data = bytearray(whole)
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_all(open_local(path))
        except DataError:
            refused += 1
    assert refused > 0


def test_hostile_lmdbs_do_not_end_the_process(tmp_path: Path) -> None:
    """LMDB alone crashes on about 6 in 100 of these."""
    path = write_lmdb(tmp_path / "s", {b"%06d" % i: bytes(500) for i in range(60)}) / "data.mdb"
    whole = path.read_bytes()
    rng = random.Random(0)
    for number in range(60):
        data = bytearray(whole[: 20 * 4096])
        for _ in range(6):
            data[rng.randrange(len(data) // 4096) * 4096 + rng.randrange(400)] = rng.randrange(256)
        (tmp_path / f"{number}.mdb").write_bytes(data)
    code = (
        "import sys; from pathlib import Path\n"
        "from benchmark.errors import DataError\n"
        "from data.archives.opening import open_local\n"
        "refused = 0\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.mdb')):\n"
        "    try:\n"
        "        source = open_local(path); list(source.stream(source.entries()))\n"
        "    except DataError: refused += 1\n"
        "print(refused)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 5 < int(done.stdout) < 60


def test_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": picture(1)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[6] |= 1  # flags of the file's header, and of the list at the end
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    fails(path, r"is encrypted: unpack it with its password and give the folder")


# made to do harm


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_are_only_names(tmp_path: Path, kind: str) -> None:
    names = ["../../evil.png", "/etc/absolute.png", "c:\\x\\win.png", "a\x1b[31mred.png"]
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    write = write_zip if kind == "zip" else write_tar
    path = write(folder / f"a.{kind}", {name: picture(i) for i, name in enumerate(names)})
    source = open_local(path, ".")
    assert sorted(read_all(source).values()) == sorted(picture(i) for i in range(4))  # type: ignore[type-var]
    for entry in source.entries():
        assert re.fullmatch(r"[a-z0-9-]+", entry.id)
        assert entry.file.isprintable()
    assert [item for item in tmp_path.rglob("*") if item.is_file()] == [path]


def test_links_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(1))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE),
                           ("p.png", tarfile.FIFOTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        link = zipfile.ZipInfo("s.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, str(secret))
    found = read_all(open_local(tmp_path / "a.tar"))
    assert "links are not followed" in str(found["s"])
    assert "links are not followed" in str(found["h"])
    assert "no ordinary file" in str(found["p"])
    assert "links are not followed" in str(read_all(open_local(tmp_path / "a.zip"))["s"])


def test_zip_that_lies_about_sizes_or_packs_otherwise(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": bytes(1 << 20)})
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    assert "Bad CRC-32" in str(read_all(open_local(path))["a"])
    path = write_zip(tmp_path / "b.zip", {"a.png": bytes(1 << 20)}, zipfile.ZIP_BZIP2)
    assert "zip method 12; pack the archive with the usual one" in str(
        read_all(open_local(path))["a"]
    )


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_tar_headers_that_claim_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(header("a.png", 1 << 50) + bytes(2048))
    fails(path, r"truncated or damaged \(a\.png claims to have 1,125,899,906,842,624 bytes")
    path.write_bytes(header("././@PaxHeader", 1 << 30, tarfile.XHDTYPE) + bytes(2048))
    fails(path, r"a header claims to have 1,073,741,824 bytes")
    path.write_bytes(header("././@LongLink", 600, tarfile.GNUTYPE_LONGNAME) * 2000 + bytes(2048))
    fails(path, r"truncated or damaged")
    negative = bytearray(header("a.png", 0))
    negative[124:136] = b"\xff" * 11 + b"\x00"
    path.write_bytes(bytes(negative) + bytes(2048))
    fails(path, r"truncated or damaged")


def test_compressed_tars_that_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(header("notes.txt", MAX_BYTES + 1))
    fails(path, r"notes\.txt claims to have 67,108,865 bytes")
    piece = gzip.compress(header("x.txt", 32 << 20) + bytes(32 << 20), 9)
    path.write_bytes(piece * 6)
    fails(path, r"x\.txt claims to have 33,554,432 bytes, more than there can be")


def test_a_compressed_shard_is_read_once_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{i:02d}.png": picture(i) for i in (5, 3, 9, 0, 1, 7)}
    path = write_tar(tmp_path / "a.tar.gz", files)
    source = open_local(path)
    entries = source.entries()
    opened: list[io.BufferedIOBase] = []
    places: list[int] = []
    original = tars.open_tar

    class Watched(gzip.GzipFile):
        def seek(self, offset: int, whence: int = 0) -> int:
            places.append(offset)
            return super().seek(offset, whence)

    def watch(shard: Path) -> io.BufferedIOBase:
        opened.append(Watched(shard))
        return opened[-1]

    monkeypatch.setattr(tars, "open_tar", watch)
    found = list(source.stream(entries))
    assert [(entry.file, data) for entry, data in found] == sorted(files.items())
    assert len(opened) == 1
    assert places == sorted(places)
    assert original is not watch


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_archive(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", FILES)
    path.chmod(0)
    fails(path, "cannot be read: Permission denied")


def test_identity_follows_names_and_sizes(tmp_path: Path) -> None:
    first = open_local(write_zip(tmp_path / "a.zip", FILES)).identity()
    assert open_local(write_zip(tmp_path / "renamed.zip", FILES)).identity() == first
    longer = {**FILES, "a.png": FILES["a.png"] + b"x"}
    assert open_local(write_zip(tmp_path / "b.zip", longer)).identity() != first
    other = {**FILES, "g.png": picture(0)}
    assert open_local(write_zip(tmp_path / "c.zip", other)).identity() != first
