"""Which source reads a path that a user gave: recognised by content, and by suffix in folders."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import DataError, UsageError
from data.archives.members import EVERYTHING, why_not
from data.sources import FolderSource, Source

_FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\0": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard",
}
_KNOWN = "a folder of images, or images in .zip, .tar, .tar.gz, .parquet or an LMDB folder"
# what a folder may hold one kind of, by the ends of file names
_KINDS = {
    "images": FolderSource.suffixes,
    ".parquet files": (".parquet",),
    "tar archives": (".tar", ".tar.gz", ".tgz"),
    "zip archives": (".zip",),
    "LMDB files": (".mdb",),
}


def open_local(path: Path, within: str | None = None) -> Source:
    """The source of a user's images.

    Args:
        path: a folder of images or of shards, an archive, or an LMDB.
        within: what is taken of it: of an archive the images of a folder inside (``.``: of all
            folders); of a Parquet file the column; of a folder of shards those whose names begin
            so, and after a colon what is taken inside each. Where loose images and archives lie
            in one folder, ``.`` takes the images.

    Raises:
        DataError: nothing of it can be read; or a folder holds several kinds, which are named.
        UsageError: ``within`` does not fit.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; --images takes {_KNOWN}")
    try:
        return _open_folder(path, within) if path.is_dir() else _open_file(path, within)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _open_file(path: Path, within: str | None) -> Source:
    # pyarrow and zipfile are imported where they are needed: listing datasets stays quick
    with path.open("rb") as file:
        head = file.read(512)
    name = path.name.lower()
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"} or name.endswith(".zip"):
        from data.archives.zips import ZipSource

        return ZipSource(path, within)
    if head[:4] == b"PAR1" or name.endswith(".parquet"):
        from data.archives.parquet import ParquetSource

        return ParquetSource(path, within)
    if head[16:20] == b"\xde\xc0\xef\xbe" or name.endswith(".mdb"):
        from data.archives.lmdbs import LmdbSource

        return LmdbSource(path.parent if path.name == "data.mdb" else path, within)
    for start, kind in _FOREIGN.items():
        if head.startswith(start):
            raise DataError(f"{path} is {kind}, which is not read: unpack it and give the folder")
    if (
        head[:2] == b"\x1f\x8b"
        or head[257:262] == b"ustar"
        or name.endswith(_KINDS["tar archives"])
    ):
        from data.archives.tars import WebDatasetSource

        return WebDatasetSource(path, within)
    if name.endswith(FolderSource.suffixes):
        raise DataError(f"{path} is a file; give the folder that holds it (--images {path.parent})")
    raise DataError(
        f"{path} is no archive of a known kind ({why_not(path)}); --images takes {_KNOWN}"
    )


def _open_folder(path: Path, within: str | None) -> Source:
    files = [item.name.lower() for item in path.iterdir() if not item.name.startswith(".")]
    counts = {
        kind: sum(name.endswith(suffixes) for name in files) for kind, suffixes in _KINDS.items()
    }
    if "data.mdb" in files and counts["LMDB files"]:
        # lock.mdb belongs to it
        counts["LMDB files"] = 1
    found = {kind: count for kind, count in counts.items() if count}
    if len(found) > 1 and not (within == EVERYTHING and counts["images"]):
        raise DataError(_ambiguous(path, found))
    shards, _, inside = (within or "").partition(":")
    if counts["images"] or not found:
        if within not in {None, EVERYTHING}:
            raise UsageError(
                f"--images-within {within} selects inside an archive, and {path} is a folder: give "
                f"the subfolder itself (--images {path / str(within)})"
            )
        return FolderSource(path) if found else _nothing(path)
    if counts[".parquet files"]:
        from data.archives.parquet import ParquetSource

        return ParquetSource(path, inside or None, shards)
    if counts["tar archives"]:
        from data.archives.tars import WebDatasetSource

        return WebDatasetSource(path, inside or None, shards)
    if counts["LMDB files"] and "data.mdb" in files:
        from data.archives.lmdbs import LmdbSource

        return LmdbSource(path, within)
    [one, *more] = sorted(
        item for item in path.iterdir() if item.suffix.lower() in {".zip", ".mdb"}
    )
    if not more:
        return _open_file(one, within)
    raise DataError(f"{path} holds {_listed(found)}: name one of them (--images {one})")


def _nothing(path: Path) -> Source:
    """A folder whose own message tells what is in it, but for an LMDB one level below."""
    inner = sorted(folder for folder in path.iterdir() if (folder / "data.mdb").is_file())
    if inner:
        raise DataError(f"{path} holds an LMDB in a subfolder: name it (--images {inner[0]})")
    return FolderSource(path)


def _ambiguous(path: Path, found: dict[str, int]) -> str:
    advice = "Name one of the files (--images FILE)"
    if "images" in found:
        advice += f", or take the loose images with --images-within {EVERYTHING}"
    return f"the folder {path} holds {_listed(found)}, and nothing says which to take. {advice}."


def _listed(found: dict[str, int]) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in found.items())
