"""The file of a reference: Parquet with one row per sample and metric, manifest in the metadata.

::

    schema metadata   stylebench.reference  the schema version
                      stylebench.facts      canonical JSON of :class:`Facts`
                      stylebench.sha256     of facts and rows
    columns           sample_id, image_id, prompt_id, metric, status: dictionary<string>
                      value: double, null where there is none

The hash is no signature: it shows that a file was edited or damaged, not who wrote it.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from benchmark.config import canonical_json
from benchmark.errors import DataError
from benchmark.regression.record import Facts, Record, from_table

SCHEMA_VERSION = 1
_VERSION, _FACTS, _SHA256 = b"stylebench.reference", b"stylebench.facts", b"stylebench.sha256"
_WORDS = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [(name, _WORDS) for name in ("sample_id", "image_id", "prompt_id", "metric")]
    + [("value", pa.float64()), ("status", _WORDS)]
)


class BadReferenceError(DataError):
    """A reference is missing, was edited, or is of another version."""


def to_bytes(record: Record) -> bytes:
    """The file of a record; equal records give equal bytes under one version of pyarrow."""
    rows = _rows(record)
    facts = canonical_json(record.facts.model_dump(mode="json"))
    table = pa.Table.from_pylist(rows, schema=_SCHEMA).replace_schema_metadata(
        {_VERSION: str(SCHEMA_VERSION), _FACTS: facts, _SHA256: _digest(facts, rows)}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=19, write_statistics=False)
    return buffer.getvalue()


def read_reference(path: Path) -> Record:
    """The record in a file.

    Raises:
        BadReferenceError: it is no reference, of another schema version, or was edited or damaged.
    """
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise BadReferenceError(f"the reference {path} cannot be read: {error}") from error
    metadata = table.schema.metadata or {}
    found = metadata.get(_VERSION, b"").decode("utf-8", "replace")
    if not found:
        raise BadReferenceError(f"{path} is no reference: `bench freeze RUN` writes one")
    if found != str(SCHEMA_VERSION):
        raise BadReferenceError(
            f"the reference {path} has schema version {found}; this version of stylebench reads "
            f"{SCHEMA_VERSION}. Freeze it anew with `bench freeze RUN --force`, or take the "
            f"version of stylebench that wrote it."
        )
    facts = metadata.get(_FACTS, b"")
    try:
        rows = table.select(_SCHEMA.names).to_pylist()
        if metadata.get(_SHA256, b"").decode("ascii", "replace") != _digest(facts, rows):
            raise ValueError("its content is not that whose SHA-256 it holds: it was edited")
        return from_table(Facts.model_validate_json(facts), table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadReferenceError(
            f"the reference {path} cannot be used: {where}: {first['msg']}. Freeze it anew with "
            f"`bench freeze RUN --force`."
        ) from error
    except (ValueError, KeyError) as error:
        raise BadReferenceError(
            f"the reference {path} cannot be used: {error}. Take it from version control again, or "
            f"freeze a run anew with `bench freeze RUN --force`."
        ) from error


def reference_path(folder: Path, protocol: str, dataset: str, method: str) -> Path:
    """``<folder>/<protocol>/<dataset>/<method>.parquet``"""
    return folder / protocol / dataset / f"{method}.parquet"


def find_reference(folder: Path, protocol: str, dataset: str, method: str) -> Path:
    """The file of a reference that is there.

    Raises:
        BadReferenceError: there is none; the message names those that are there.
    """
    path = reference_path(folder, protocol, dataset, method)
    if path.is_file():
        return path
    there = [file.relative_to(folder).with_suffix("").as_posix()
             for file in sorted(folder.glob("*/*/*.parquet"))]  # fmt: skip
    listed = f"There are: {', '.join(there)}" if there else "There are none"
    raise BadReferenceError(
        f"no reference of {method} on {dataset} under {protocol} in {folder}. {listed}. "
        f"`bench freeze RUN --reference {folder}` makes one of a finished run."
    )


def _rows(record: Record) -> list[dict[str, object]]:
    return [
        {
            "sample_id": sample, "image_id": record.image_ids[number],
            "prompt_id": record.prompt_ids[number], "metric": name,
            "value": None if record.values[name][number] != record.values[name][number]
            else float(record.values[name][number]),
            "status": record.statuses[name][number],
        }
        for name in record.facts.metric_versions
        for number, sample in enumerate(record.sample_ids)
    ]  # fmt: skip


def _digest(facts: bytes, rows: list[dict[str, object]]) -> str:
    """JSON writes a float64 with as many digits as tell it from every other."""
    return hashlib.sha256(facts + b"\n" + canonical_json(rows)).hexdigest()
