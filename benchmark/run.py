"""The run directory: manifest, chunk records, lossless images. The truth of a run.

::

    runs/<protocol>/<dataset>/<method>/<config-hash>/
      manifest.json       resolved config, hashes, versions, hardware, timings, status
      sources.parquet     the content images at run resolution (image_id, png)
      styles.parquet      the style images of an image-guided run (prompt_id, png)
      chunks/000003.json  one record per finished chunk: samples, hashes, seconds
      images/<sample-id>.png
      samples.parquet, scores.parquet, summary.json, distribution.json, contact-sheet.png (derived)

A chunk counts as done once its record exists; images and records appear by renaming, so a killed
run leaves nothing half-written and at most the chunk in flight is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import ValidationError

from benchmark.errors import RunDirectoryError, SmokeRunError
from benchmark.files import explain_write_errors, sha256_of, write_atomically
from benchmark.pictures import Pixels, StoredPictures, decode_png, write_pictures
from benchmark.records import SCHEMA_VERSION, ChunkRecord, Manifest, SampleRecord
from benchmark.scoring import ScoredSample

Existing = Literal["resume", "overwrite", "fail"]


class RunDirectory:
    """Access to one run directory.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_path = path / "manifest.json"
        self.chunks_path = path / "chunks"
        self.ranks_path = path / ".ranks"
        self.images_path = path / "images"
        self.scores_path = path / "scores.parquet"
        self.samples_path = path / "samples.parquet"
        self.sources_path = path / "sources.parquet"
        self.styles_path = path / "styles.parquet"
        self.summary_path = path / "summary.json"
        self.distribution_path = path / "distribution.json"
        self.contact_sheet_path = path / "contact-sheet.png"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for writing. The lock goes with the process, also when it is killed.

        Raises:
            RunDirectoryError: another process holds it.
        """
        with explain_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            try:
                lock.acquire()
            except Timeout as error:
                raise RunDirectoryError(
                    f"{self.path} is being written by another process. Wait for it, or choose "
                    f"another folder with --out."
                ) from error
        try:
            yield
        finally:
            lock.release()

    def open(self, manifest: Manifest, existing: Existing) -> None:
        """Create the directory, or take up the run that is in it, by a named policy.

        Raises:
            RunDirectoryError: the policy is ``fail`` and a run is there; the run there has another
                config, sample list, chunk size or an older schema; the folder cannot be written.
        """
        if self.manifest_path.exists():
            if existing == "fail":
                raise RunDirectoryError(
                    f"{self.path} already holds a run (--existing fail). Use --existing resume to "
                    f"continue it or --existing overwrite to start again."
                )
            if existing == "overwrite":
                self._clear()
            else:
                self._require_same(self.read_manifest(), manifest)
        with explain_write_errors(self.path):
            self.images_path.mkdir(parents=True, exist_ok=True)
            self.chunks_path.mkdir(parents=True, exist_ok=True)
        self.write_manifest(manifest)

    def _clear(self) -> None:
        with explain_write_errors(self.path):
            for path in (self.images_path, self.chunks_path):
                shutil.rmtree(path, ignore_errors=True)
            for path in (
                self.manifest_path, self.scores_path, self.samples_path, self.sources_path,
                self.styles_path, self.summary_path, self.distribution_path,
                self.contact_sheet_path,
            ):  # fmt: skip
                path.unlink(missing_ok=True)

    def _require_same(self, old: Manifest, new: Manifest) -> None:
        differing = [
            key
            for key, value in new.config.model_dump(mode="json").items()
            if old.config.model_dump(mode="json").get(key) != value
        ]
        remedy = "Use --existing overwrite to start again, or another --out."
        if differing:
            raise RunDirectoryError(
                f"{self.path} holds a run of another config; it differs in "
                f"{', '.join(differing)}. {remedy}"
            )
        if old.sample_ids != new.sample_ids:
            raise RunDirectoryError(f"{self.path} holds a run over other samples. {remedy}")
        if old.batch_size != new.batch_size:
            raise RunDirectoryError(
                f"{self.path} was begun with chunks of {old.batch_size} samples, not "
                f"{new.batch_size}. Continue it with --batch-size {old.batch_size}. {remedy}"
            )
        # timings of the finished chunks and the first start stay those of the first attempt
        new.started = old.started

    def read_manifest(self) -> Manifest:
        """The validated manifest.

        Raises:
            SmokeRunError: its models had random weights, so nothing may be made of it.
            RunDirectoryError: no run here, another schema, or a damaged file.
        """
        manifest = self._read_manifest()
        if manifest.smoke:
            raise SmokeRunError(
                f"{self.path} is a smoke run (bench run --smoke): its models had random weights, "
                f"so its pictures and scores mean nothing. Run the command without --smoke."
            )
        return manifest

    def _read_manifest(self) -> Manifest:
        if not self.manifest_path.is_file():
            raise RunDirectoryError(f"{self.path} is not a run directory: it has no manifest.json")
        try:
            loaded = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{self.manifest_path} cannot be read: {error}") from error
        found = loaded.get("schema_version") if isinstance(loaded, dict) else None
        if found == 1:  # schema 2 added ``files`` and changed nothing else
            found = loaded["schema_version"] = SCHEMA_VERSION
        if found != SCHEMA_VERSION:
            raise RunDirectoryError(
                f"{self.manifest_path} has schema version {found}; this version of stylebench "
                f"reads {SCHEMA_VERSION}. Use --existing overwrite to run again, or the version "
                f"of stylebench that wrote it."
            )
        try:
            return Manifest.model_validate(loaded)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RunDirectoryError(
                f"{self.manifest_path} is damaged: {where}: {first['msg']}. Use --existing "
                f"overwrite to run again."
            ) from error

    def write_manifest(self, manifest: Manifest) -> None:
        # only smoke runs have the key: other manifests stay as earlier versions wrote them
        content = manifest.model_dump(mode="json", exclude=None if manifest.smoke else {"smoke"})
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        write_atomically(self.manifest_path, text.encode())

    def write_json(self, path: Path, value: Any) -> None:
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
        write_atomically(path, text.encode())

    def image_path(self, sample_id: str) -> Path:
        return self.images_path / f"{sample_id}.png"

    def write_chunk(self, record: ChunkRecord, images: Sequence[bytes | None]) -> None:
        """Store a chunk's PNGs (None for failed samples), then its record."""
        with explain_write_errors(self.images_path):
            staging = self.path / ".staging" / str(os.getpid())
            staging.mkdir(parents=True, exist_ok=True)
            for sample, data in zip(record.samples, images, strict=True):
                if data is not None:
                    partial = staging / f"{sample.sample_id}.png"
                    partial.write_bytes(data)
                    partial.replace(self.image_path(sample.sample_id))
        write_atomically(
            self.chunks_path / f"{record.chunk:06d}.json", record.model_dump_json(indent=1).encode()
        )

    def read_chunks(self) -> Iterator[ChunkRecord]:
        """Records of all chunks that were finished, whatever became of their images since."""
        for path in sorted(self.chunks_path.glob("[0-9]*.json")):
            try:
                yield ChunkRecord.model_validate_json(path.read_bytes())
            except ValidationError:
                continue

    def completed_chunks(self) -> dict[int, ChunkRecord]:
        """Finished chunks by index; a chunk whose image is missing or changed is not finished."""
        return {
            record.chunk: record
            for record in self.read_chunks()
            if all(self._intact(sample) for sample in record.samples)
        }

    def finished_chunks(self) -> dict[int, int]:
        """Samples of each finished chunk, by the chunk's index; see :meth:`completed_chunks`."""
        return {
            record.chunk: len(record.samples)
            for record in self.read_chunks()
            if all(self._intact(sample) for sample in record.samples)
        }

    def keep_finished_chunks(self) -> dict[int, int]:
        """:meth:`finished_chunks`; the records of all other chunks are removed."""
        done = self.finished_chunks()
        for path in self.chunks_path.glob("[0-9]*.json"):
            if not (path.stem.isdigit() and int(path.stem) in done):
                path.unlink(missing_ok=True)
        return done

    def missing_chunks(self, count: int) -> set[int]:
        """Of the chunks 0 to ``count`` - 1, those that have no record; images are not read."""
        found = {path.stem for path in self.chunks_path.glob("[0-9]*.json")}
        return {index for index in range(count) if f"{index:06d}" not in found}

    def _intact(self, sample: SampleRecord) -> bool:
        if sample.status == "failed":
            return True
        path = self.image_path(sample.sample_id)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sample.sha256

    def write_sources(self, images: Mapping[str, Pixels]) -> None:
        """Store the content images by id, in order."""
        with explain_write_errors(self.sources_path):
            write_pictures(self.sources_path, "image_id", images)

    def write_styles(self, images: Mapping[str, Pixels]) -> None:
        """Store the style images of an image-guided run by prompt id, in order.

        Scoring reads them for samples whose prompt is None. [h, w, 3] uint8, of any sizes.
        """
        with explain_write_errors(self.styles_path):
            write_pictures(self.styles_path, "prompt_id", images)

    def write_samples(self, samples: Sequence[ScoredSample]) -> None:
        """Store the merged sample records."""
        columns = [field.name for field in fields(ScoredSample)]
        table = pa.Table.from_pydict(
            {name: [getattr(sample, name) for sample in samples] for name in columns}
        )
        with explain_write_errors(self.samples_path):
            partial = self.path / ".samples.part"
            pq.write_table(table, partial)
            partial.replace(self.samples_path)

    @cached_property
    def _sources(self) -> StoredPictures:
        return StoredPictures(self.sources_path, "image_id")

    @cached_property
    def _styles(self) -> StoredPictures:
        return StoredPictures(self.styles_path, "prompt_id")

    def load_source(self, image_id: str) -> Pixels:
        """A content image, [H, W, 3] uint8."""
        return self._sources[image_id]

    def load_style(self, prompt_id: str) -> Pixels:
        """A style image, [h, w, 3] uint8.

        Raises:
            RunDirectoryError: the run keeps no style images, or not this one.
        """
        if prompt_id not in self._styles:
            raise RunDirectoryError(
                f"{self.styles_path} has no style image {prompt_id!r}; run it again"
            )
        return self._styles[prompt_id]

    def load_image(self, sample_id: str) -> Pixels:
        """An output, [H, W, 3] uint8."""
        return decode_png(self.image_path(sample_id).read_bytes())

    def seal(self, manifest: Manifest) -> None:
        """Note the hashes of the derived files in ``manifest`` (not yet written)."""
        manifest.files = {
            path.name: sha256_of(path)
            for path in (
                self.sources_path,
                self.styles_path,
                self.samples_path,
                self.scores_path,
                self.summary_path,
            )
            if path.is_file()
        }

    def changed_files(self, manifest: Manifest) -> list[Path]:
        """Derived files whose bytes are not those that ``manifest`` names, or that are gone."""
        return [
            self.path / name
            for name, digest in sorted(manifest.files.items())
            if not (self.path / name).is_file() or sha256_of(self.path / name) != digest
        ]

    def remove_staging(self) -> None:
        """Drop what killed writers left behind."""
        for folder in (self.path / ".staging", self.ranks_path):
            shutil.rmtree(folder, ignore_errors=True)
        for partial in self.path.glob(".*.part"):
            partial.unlink(missing_ok=True)
        for partial in self.chunks_path.glob(".*.part"):
            partial.unlink(missing_ok=True)
