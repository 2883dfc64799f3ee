"""The files of a run directory against the hashes that the run holds of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config import Protocol, canonical_json
from benchmark.files import sha256_of
from benchmark.pictures import GROUP, decode_png
from benchmark.records import ChunkRecord, Manifest, merge_samples
from benchmark.run import RunDirectory
from benchmark.verify.findings import Check, Tally

# Pillow and pyarrow raise all of these on damaged files
DAMAGE = (pa.ArrowException, OSError, SyntaxError, KeyError, TypeError, ValueError)


def check_images(directory: RunDirectory, chunks: Mapping[int, ChunkRecord]) -> Check:
    """Every output against its chunk record, and what lies in ``images/`` without one."""
    tally = Tally("images")
    claimed = {
        f"{sample.sample_id}.png": sample.sha256
        for record in chunks.values()
        for sample in record.samples
        if sample.status == "ok"
    }
    there = {file.name for file in directory.images_path.glob("*")}
    for name, digest in claimed.items():
        if name not in there:
            tally.wrong(f"images/{name}", digest, note="the image is missing")
        else:
            tally.compare(f"images/{name}", digest, sha256_of(directory.images_path / name))
    for name in sorted(there - set(claimed)):
        tally.wrong(f"images/{name}", note="no chunk record names this file")
    return tally.check()


def check_derived(directory: RunDirectory, manifest: Manifest) -> Check:
    """Derived files against the hashes in the manifest."""
    tally = Tally("derived files")
    for name, digest in sorted(manifest.files.items()):
        path = directory.path / name
        if path.parent != directory.path or not path.is_file():
            tally.wrong(name, digest, note="the file is missing")
        else:
            tally.compare(name, digest, sha256_of(path))
    known = {"manifest.json", "images", "chunks", *manifest.files}
    sealed = {
        path.name
        for path in (directory.sources_path, directory.styles_path, directory.samples_path,
                     directory.scores_path, directory.summary_path)
    }  # fmt: skip
    for path in sorted(directory.path.iterdir()):
        if path.name in known or path.name.startswith("."):
            continue
        if path.name in sealed and manifest.files:
            tally.wrong(path.name, None, sha256_of(path), "the manifest holds no hash of it")
        else:
            tally.not_checked(path.name, "the manifest holds no hash of it")
    return tally.check()


def check_samples(
    directory: RunDirectory, manifest: Manifest, chunks: Mapping[int, ChunkRecord]
) -> Check:
    """``samples.parquet`` against the chunk records that it was merged from."""
    tally = Tally("samples")
    name = directory.samples_path.name
    if not directory.samples_path.is_file():
        tally.not_checked(name, "the run was never finished")
        return tally.check()
    merged = {
        sample.sample_id: asdict(sample) for sample in merge_samples(manifest.sample_ids, chunks)
    }
    try:
        stored = {
            row["sample_id"]: row for row in pq.read_table(directory.samples_path).to_pylist()
        }
    except DAMAGE as error:
        tally.wrong(name, note=f"it cannot be read: {error}")
        return tally.check()
    for sample_id in merged.keys() | stored.keys():
        ours, theirs = merged.get(sample_id), stored.get(sample_id)
        if ours is None or theirs is None:
            place = "the chunk records" if ours is None else name
            tally.wrong(f"{name}: {sample_id}", note=f"{place} lacks this sample")
            continue
        differing = [key for key in ours if ours[key] != theirs.get(key)]
        tally.compare(
            f"{name}: {sample_id}",
            ", ".join(f"{key} {theirs.get(key)}" for key in differing),
            ", ".join(f"{key} {ours[key]}" for key in differing),
            "found: by the chunk records",
        )
    return tally.check()


def check_sources(directory: RunDirectory, manifest: Manifest, protocol: Protocol | None) -> Check:
    """The content images against the dataset fingerprint in the config.

    The fingerprint is the SHA-256 of the canonical JSON of side, resize filter and the ordered ids
    and pixel hashes, so it can be computed from what the run directory stores.
    """
    tally = Tally("sources")
    name = directory.sources_path.name
    claimed = manifest.config.fingerprint
    if protocol is None:
        tally.not_checked(
            name, f"the protocol {manifest.config.protocol} is not known here", claimed
        )
        return tally.check()
    try:
        images = [
            [key, digest] for key, digest in _pixel_hashes(directory.sources_path, "image_id")
        ]
    except DAMAGE as error:
        tally.wrong(name, claimed, note=f"it cannot be read: {error}")
        return tally.check()
    facts = {"size": manifest.config.resolution, "filter": protocol.resize_filter, "images": images}
    tally.compare(name, claimed, hashlib.sha256(canonical_json(facts)).hexdigest(),
                  "the dataset fingerprint")  # fmt: skip
    tally.compare(f"{name}: images", manifest.dataset.get("images"), len(images))
    wanted = [f"{image}__{prompt.id}" for image, _ in images for prompt in manifest.config.prompts]
    tally.compare(f"manifest.json: sample_ids ({len(manifest.sample_ids)})",
                  _digest(manifest.sample_ids), _digest(wanted),
                  "found: every prompt for every source")  # fmt: skip
    return tally.check()


def check_styles(directory: RunDirectory, manifest: Manifest) -> Check | None:
    """Style images against their hashes in the config; None for a run without any."""
    claimed = {p.id: p.style_sha256 for p in manifest.config.prompts if p.style_sha256}
    for prompt in manifest.config.prompts:
        for part in prompt.mixture or ():
            if part.style_sha256:
                claimed[part.id] = part.style_sha256
    name = directory.styles_path.name
    if not claimed and not directory.styles_path.exists():
        return None
    tally = Tally("style images")
    try:
        found = dict(_pixel_hashes(directory.styles_path, "prompt_id"))
    except DAMAGE as error:
        tally.wrong(name, note=f"it cannot be read: {error}")
        return tally.check()
    for style, digest in claimed.items():
        tally.compare(f"{name}: {style}", digest, found.get(style), "of the pixels")
    for style in sorted(found.keys() - claimed.keys()):
        tally.wrong(f"{name}: {style}", None, found[style], "the config names no such style image")
    return tally.check()


def _pixel_hashes(path: Path, key: str) -> Iterator[tuple[str, str]]:
    """Id and SHA-256 of the pixels of each stored picture, in order; few are held at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=GROUP, columns=[key, "png"]):
            for row in batch.to_pylist():
                yield row[key], hashlib.sha256(decode_png(row["png"]).tobytes()).hexdigest()


def _digest(names: list[str]) -> str:
    return hashlib.sha256(canonical_json(names)).hexdigest()
