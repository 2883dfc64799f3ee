"""The same images packed in every way that a source reads, by the libraries of the formats."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

LOCAL = ("folder", "parquet", "webdataset", "webdataset-gz", "zip", "lmdb")


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (30, 24)) -> bytes:
    """The file of a noise image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def pack(kind: str, where: Path, files: Mapping[str, bytes]) -> Path:
    """Write files in the order given; Parquet keeps rows in order, so there they are sorted."""
    where.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        for name, data in files.items():
            (where / "photos").mkdir(exist_ok=True)
            (where / "photos" / name).write_bytes(data)
        return where / "photos"
    if kind == "parquet":
        return write_parquet(where / "photos.parquet", dict(sorted(files.items())))
    if kind == "webdataset":
        return write_tar(where / "photos.tar", {f"photos/{name}": files[name] for name in files})
    if kind == "webdataset-gz":
        return write_tar(where / "photos.tar.gz", {f"./{name}": files[name] for name in files})
    if kind == "zip":
        return write_zip(where / "photos.zip", {f"photos/{name}": files[name] for name in files})
    assert kind == "lmdb"
    keys = {PurePosixPath(name).stem.encode(): data for name, data in files.items()}
    return write_lmdb(where / "bedroom_val_lmdb", keys)


def write_zip(
    path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED
) -> Path:  # fmt: skip
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(
    path: Path, files: Mapping[str, bytes | None], *, paths: bool = True, rows: int = 2,
    column: str = "image",
) -> Path:  # fmt: skip
    """Bytes and path, or bytes alone; ``rows`` in each group."""
    cells: list[object] = list(files.values())
    if paths:
        cells = [{"bytes": data, "path": name} for name, data in files.items()]
    table = pa.table({"label": list(range(len(files))), column: cells})
    pq.write_table(table, path, row_group_size=rows)
    return path


def write_lmdb(path: Path, values: Mapping[bytes, bytes]) -> Path:
    import lmdb

    with (
        lmdb.open(str(path), map_size=256 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in values.items():
            transaction.put(key, value)
    return path
