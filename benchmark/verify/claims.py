"""What the manifest says of itself: hash and place, samples, counts, weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmark.errors import BenchError
from benchmark.files import sha256_of
from benchmark.records import ChunkRecord, Manifest
from benchmark.run import RunDirectory
from benchmark.verify.findings import Check, Tally
from benchmark.zoo.registry import model_card

MANIFEST = "manifest.json"


def check_config(path: Path, manifest: Manifest) -> Check:
    """The config's hash, and that the directory lies where its config says."""
    tally = Tally("config")
    config = manifest.config
    tally.compare(f"{MANIFEST}: config_hash", manifest.config_hash, config.config_hash,
                  "found: the hash of the config that the manifest holds")  # fmt: skip
    place = config.directory(Path())
    tally.compare("the directory's place", place.as_posix(),
                  Path(*path.resolve().parts[-len(place.parts) :]).as_posix(),
                  "claimed: protocol/dataset/method/config hash of the config")  # fmt: skip
    tally.compare(f"{MANIFEST}: dataset.card", config.dataset, manifest.dataset.get("card"),
                  "claimed: the config's dataset")  # fmt: skip
    for role, digest in config.models.items():
        named = manifest.models.get(role, {}).get("sha256")
        tally.compare(f"{MANIFEST}: models.{role}.sha256", named, digest,
                      "found: the hash in the config")  # fmt: skip
    return tally.check()


def check_chunks(
    directory: RunDirectory, manifest: Manifest, chunks: Mapping[int, ChunkRecord]
) -> Check:
    """Chunk records against the manifest's samples and prompts, and the counts."""
    tally = Tally("chunk records")
    ids, size = manifest.sample_ids, manifest.batch_size
    readable = {f"{number:06d}.json" for number in chunks}
    for stored in sorted(directory.chunks_path.glob("[0-9]*.json")):
        if stored.name not in readable:
            tally.wrong(
                f"chunks/{stored.name}", note="the record cannot be read, or misnames itself"
            )
    prompts = {prompt.id: prompt.words for prompt in manifest.config.prompts}
    for number, record in chunks.items():
        file = f"chunks/{number:06d}.json"
        wanted = ids[number * size : (number + 1) * size]
        tally.compare(f"{file}: samples", ", ".join(wanted),
                      ", ".join(sample.sample_id for sample in record.samples),
                      "claimed: the manifest's samples of this chunk")  # fmt: skip
        for sample in record.samples:
            if sample.prompt_id not in prompts:
                tally.wrong(f"{file}: {sample.sample_id}", found=sample.prompt_id,
                            note="the config has no such prompt")  # fmt: skip
                continue
            tally.compare(
                f"{file}: {sample.sample_id}",
                (f"{sample.image_id}__{sample.prompt_id}", prompts[sample.prompt_id],
                 manifest.config.source_prompt),
                (sample.sample_id, sample.prompt, sample.source_prompt),
                "claimed: id, prompt and source prompt by the config",
            )  # fmt: skip
    made = [sample for record in chunks.values() for sample in record.samples]
    missing = len(ids) - len(made)
    if manifest.status == "complete":
        tally.compare(f"{MANIFEST}: status", "complete", "partial" if missing else "complete",
                      f"{missing} of {len(ids)} samples have no chunk record")  # fmt: skip
    if manifest.counts:
        found = {
            "ok": sum(sample.status == "ok" for sample in made),
            "failed": sum(sample.status == "failed" for sample in made),
            **({"missing": missing} if missing else {}),
        }
        tally.compare(f"{MANIFEST}: counts", manifest.counts, found, "found: by the chunk records")
    return tally.check()


def check_weights(manifest: Manifest, weights_dir: Path, hashes: dict[Path, str]) -> Check:
    """The weights that are here against the hashes in the manifest.

    Args:
        weights_dir: folder of the checkpoints that do not ship.
        hashes: SHA-256 by file, of those that were read already; it is added to.
    """
    tally = Tally("weights")
    for role, facts in sorted(manifest.models.items()):
        name = f"{facts.get('file', '?')} ({role})"
        claimed = facts.get("sha256")
        try:
            card = model_card(str(facts.get("id")))
        except BenchError as error:
            tally.not_checked(name, str(error).partition(" Known ")[0], claimed)
            continue
        path = card.path(weights_dir)
        if not path.is_file():
            if card.ships:
                tally.wrong(name, claimed, note=f"missing: {path} ships with the package")
            else:
                tally.not_checked(name, f"the checkpoint is not here ({path})", claimed)
            continue
        if path not in hashes:
            hashes[path] = sha256_of(path)
        tally.compare(name, claimed, hashes[path])
    return tally.check()


def state_in_words(manifest: Manifest, chunks: Mapping[int, ChunkRecord]) -> str:
    """Complete, or partial with the counts."""
    total = len(manifest.sample_ids)
    made = sum(len(record.samples) for record in chunks.values())
    words = f"complete, {total} samples"
    if made < total:
        words = f"partial: {made} of {total} samples were made, and only these are verified"
    elif manifest.status != "complete":
        words = f"{total} samples, but the run was never finished (status {manifest.status})"
    return words
