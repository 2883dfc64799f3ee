"""What every source promises, and what each does on its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.errors import DataError
from data import photos
from data.cards import load_card
from data.decode import BadImageError
from data.photos import PHOTOS, photo_bytes
from data.sources import EmbeddedSource, FolderSource, Source, file_ids

DATASETS = ("celebahq", "ffhq", "lsun-bedroom", "afhq", "imagenet", "wikiart")
SAFE_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def picture(colour: int, size: tuple[int, int] = (20, 14)) -> Image.Image:
    return Image.new("RGB", size, (colour, 2 * colour % 256, 255 - colour))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    for index, name in enumerate(["b.png", "A photo.JPG", "c.webp", "d.bmp", "e.TIFF", "f.jpeg"]):
        kind = {"JPG": "JPEG", "jpeg": "JPEG", "TIFF": "TIFF"}.get(name.split(".")[1])
        picture(10 * index).save(path / name, kind)
    (path / "notes.txt").write_text("not an image")
    (path / ".hidden.png").write_bytes(b"nothing")
    (path / "sub").mkdir()
    picture(99).save(path / "sub" / "inner.png")
    return path


@pytest.fixture(params=[*DATASETS, "folder"])
def source(request: pytest.FixtureRequest, folder: Path) -> Source:
    if request.param == "folder":
        return FolderSource(folder)
    return EmbeddedSource(request.param, load_card(request.param).embedded)


def test_contract(source: Source) -> None:
    entries = source.entries()
    assert list(entries) == list(source.entries())
    ids = [entry.id for entry in entries]
    assert len(set(ids)) == len(ids)
    assert all(SAFE_ID.fullmatch(image_id) for image_id in ids)
    for entry in entries:
        data = source.read(entry)
        assert data == source.read(entry)
        image = source.decode(entry, data)
        assert image.mode == "RGB"
        assert min(image.size) >= 14


@pytest.mark.parametrize("name", DATASETS)
def test_embedded_images_are_distinct_small_and_not_flat(name: str) -> None:
    source = EmbeddedSource(name, load_card(name).embedded)
    images = [source.decode(entry, source.read(entry)) for entry in source.entries()]
    assert len(images) >= 16
    assert len({image.tobytes() for image in images}) == len(images)
    for image in images:
        assert image.size == (64, 64)
        assert np.asarray(image).std() > 15
    assert source.stand_in
    assert "mini-unet" in source.describe()["drawn_by"]


def test_another_file_under_a_stand_ins_name() -> None:
    (first, second, *_) = load_card("afhq").embedded
    swapped = EmbeddedSource("afhq", [first.model_copy(update={"sha256": second.sha256})])
    with pytest.raises(DataError, match=r"dog-01\.png is not the one that.*reinstall"):
        swapped.read(swapped.entries()[0])
    absent = EmbeddedSource("afhq", [first.model_copy(update={"id": "dog-99"})])
    with pytest.raises(DataError, match=r"dog-99\.png cannot be read.*reinstall"):
        absent.read(absent.entries()[0])


def test_another_file_under_a_photographs_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PHOTOS["skimage/coffee"]
    changed = photos.Photo(other.package, "data/chelsea.png", other.sha256, other.credit)
    monkeypatch.setitem(PHOTOS, "skimage/coffee", changed)
    with pytest.raises(DataError, match=r"is not the photograph 'skimage/coffee'.*training_images"):
        photo_bytes("skimage/coffee")
    gone = photos.Photo("skimage", "data/gone.png", other.sha256, other.credit)
    monkeypatch.setitem(PHOTOS, "skimage/coffee", gone)
    with pytest.raises(DataError, match=r"cannot be read from .*reinstall"):
        photo_bytes("skimage/coffee")
    absent = photos.Photo("no_such_package", "a.png", other.sha256, other.credit)
    monkeypatch.setitem(PHOTOS, "skimage/coffee", absent)
    with pytest.raises(DataError, match="'no_such_package', which is not installed"):
        photo_bytes("skimage/coffee")
    with pytest.raises(DataError, match="no photograph 'nothing'"):
        photo_bytes("nothing")


def test_folder_lists_images_by_name_and_enters_no_subfolder(folder: Path) -> None:
    entries = FolderSource(folder).entries()
    assert [entry.file for entry in entries] == [
        "A photo.JPG", "b.png", "c.webp", "d.bmp", "e.TIFF", "f.jpeg",
    ]  # fmt: skip
    assert [entry.id for entry in entries] == ["a-photo", "b", "c", "d", "e", "f"]
    assert not FolderSource(folder).stand_in


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: path.mkdir(), "has no images: it is empty"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, make: object, words: str) -> None:
    path = tmp_path / "images"
    make(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=words) as caught:
        FolderSource(path).entries()
    assert str(path) in str(caught.value)


def test_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.heic"):
        (tmp_path / name).write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"2 of \.txt, 1 of \.heic, 1 folders.*\.png \.jpg"):
        FolderSource(tmp_path).entries()
    picture(1).save(tmp_path / "empty" / "a.png")
    with pytest.raises(DataError, match=r"in subfolders.*--images .*empty"):
        FolderSource(tmp_path).entries()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file(folder: Path) -> None:
    (folder / "b.png").chmod(0)
    source = FolderSource(folder)
    with pytest.raises(BadImageError, match="Permission denied"):
        source.read(source.entries()[1])


def test_file_that_vanishes(folder: Path) -> None:
    source = FolderSource(folder)
    entry = source.entries()[1]
    (folder / entry.file).unlink()
    with pytest.raises(BadImageError, match="No such file"):
        source.read(entry)


def test_ids_of_awkward_names() -> None:
    files = [
        "Über Größe.png",
        "../x.png",
        "a.png",
        "a.jpg",
        "A.tif",
        "写真.png",
        "x" * 300 + ".png",
    ]
    ids = file_ids(files)
    assert ids[0] == "uber-groe"
    assert len(set(ids)) == len(files)
    assert all(SAFE_ID.fullmatch(image_id) and len(image_id) < 80 for image_id in ids)
    assert ids[2].startswith("a-") and ids[3].startswith("a-") and ids[4].startswith("a-")
    assert ids[5].startswith("image-")


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=12), st.randoms())
def test_ids_are_unique_and_do_not_depend_on_order(files: list[str], random: object) -> None:
    ids = dict(zip(files, file_ids(files), strict=True))
    assert len(set(ids.values())) == len(files)
    assert all(SAFE_ID.fullmatch(image_id) for image_id in ids.values())
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert dict(zip(shuffled, file_ids(shuffled), strict=True)) == ids
