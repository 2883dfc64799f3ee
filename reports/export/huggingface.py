"""A folder that ``datasets.load_dataset`` opens and the Hugging Face Hub shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, Value

from reports.export.card import dataset_card
from reports.export.folder import ExportedRun, exported
from reports.export.records import COLUMNS, Row, ScoredRun, metric_names

SPLIT = "test"  # nothing here is for training
SHARD_BYTES = 500 * 2**20  # what the Hub's own writer makes
ROW_GROUP_BYTES = 32 * 2**20
ROW_GROUP_ROWS = 100  # the Hub's viewer reads whole row groups

_TYPES = {"stand_in": "bool", "seed": "int64", "seconds": "float64", "peak_memory_mib": "float64"}


def write_dataset(
    runs: Sequence[ScoredRun], folder: Path, shard_bytes: int = SHARD_BYTES
) -> list[ExportedRun]:
    """Shards of every run, the dataset card, and each run's manifest and summary.

    All runs make one table, told apart by ``method``, ``dataset`` and ``config_hash``: a plain
    ``load_dataset(folder)`` needs no config name then, and comparing methods is a filter. Each run
    has shards of its own, so that the card can also offer it as a config without a second copy.

    Args:
        folder: empty.
        shard_bytes: most image bytes of one Parquet file, unless one row alone has more.

    Raises:
        UsageError: a metric has the name of another column.
        RunDirectoryError: a content image is missing.
    """
    metrics = metric_names(runs)
    schema = features(metrics).arrow_schema
    entries = []
    for run in runs:
        shards = write_shards(_rows(run, metrics), folder / "data" / run.label, schema, shard_bytes)
        facts = folder / "runs" / run.label
        facts.mkdir(parents=True)
        for path in (run.directory.manifest_path, run.directory.summary_path):
            shutil.copyfile(path, facts / path.name)
        files = [folder / "README.md", *shards, facts / "manifest.json", facts / "summary.json"]
        entries.append(exported(run, [path.relative_to(folder).as_posix() for path in files]))
    (folder / "README.md").write_text(dataset_card(runs, metrics, SPLIT), encoding="utf-8")
    return entries


def features(metrics: Iterable[str]) -> Features:
    """Columns and their types. The images come early, where the viewer shows them."""
    first, *others = COLUMNS
    columns = {first: Value("string"), "source_image": Image(), "output_image": Image()}
    columns |= {name: Value(_TYPES.get(name, "string")) for name in others}
    for name in metrics:
        columns |= {name: Value("float64"), f"{name}_status": Value("string")}
    return Features(columns)


def _rows(run: ScoredRun, metrics: Sequence[str]) -> Iterator[tuple[Row, int]]:
    """Rows with the stored PNGs as they are, and their image bytes."""
    for row, source, sample in zip(run.rows(metrics), run.source_pngs(), run.samples, strict=True):
        output = None
        if sample.status == "ok":
            output = run.directory.image_path(sample.sample_id).read_bytes()
        row["source_image"] = {"bytes": source, "path": f"{sample.image_id}.png"}
        row["output_image"] = output and {"bytes": output, "path": f"{sample.sample_id}.png"}
        yield row, len(source) + len(output or b"")


def write_shards(
    rows: Iterable[tuple[Row, int]], folder: Path, schema: pa.Schema, shard_bytes: int
) -> list[Path]:
    """Rows as ``test-00000-of-00002.parquet``, ...; one row group is in memory at a time.

    Args:
        rows: each with its image bytes.
        shard_bytes: most image bytes of one file, unless one row alone has more.
    """
    folder.mkdir(parents=True)
    parts: list[Path] = []
    writer: pq.ParquetWriter | None = None
    written = 0
    try:
        for group, size in _row_groups(rows, min(ROW_GROUP_BYTES, shard_bytes)):
            if writer is None or written + size > shard_bytes:
                if writer is not None:
                    writer.close()
                parts.append(folder / f"{len(parts)}.part")
                # a dictionary or the least and greatest value of images are copies of them
                plain = [name for name in schema.names if "_image" not in name]
                writer = pq.ParquetWriter(
                    parts[-1], schema, compression="zstd", write_page_index=True,
                    use_dictionary=plain, write_statistics=plain,
                )  # fmt: skip
                written = 0
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            written += size
    finally:
        if writer is not None:
            writer.close()
    shards = [
        part.with_name(f"{SPLIT}-{number:05d}-of-{len(parts):05d}.parquet")
        for number, part in enumerate(parts)
    ]
    for part, shard in zip(parts, shards, strict=True):
        part.rename(shard)
    return shards


def _row_groups(
    rows: Iterable[tuple[Row, int]], group_bytes: int
) -> Iterator[tuple[list[Row], int]]:
    group: list[Row] = []
    size = 0
    for row, row_bytes in rows:
        if group and (len(group) == ROW_GROUP_ROWS or size + row_bytes > group_bytes):
            yield group, size
            group, size = [], 0
        group.append(row)
        size += row_bytes
    if group:
        yield group, size
