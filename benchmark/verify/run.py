"""All checks of one run directory."""

from __future__ import annotations

from pathlib import Path

from benchmark.config import Protocol, load_protocol, protocol_names
from benchmark.run import RunDirectory
from benchmark.verify.claims import check_chunks, check_config, check_weights, state_in_words
from benchmark.verify.files import (
    check_derived,
    check_images,
    check_samples,
    check_sources,
    check_styles,
)
from benchmark.verify.findings import Verification
from benchmark.verify.scores import check_scores


def verify_run(
    path: Path, weights_dir: Path, hashes: dict[Path, str] | None = None
) -> Verification:
    """Hash again everything that a run claims. Nothing is written.

    Args:
        path: a run directory.
        weights_dir: folder of the checkpoints that do not ship.
        hashes: SHA-256 of weight files by path, shared by the runs of a command.

    Raises:
        SmokeRunError: the models had random weights; such a run claims nothing.
        RunDirectoryError: no run, a damaged manifest, or one of another schema.
    """
    directory = RunDirectory(path)
    manifest = directory.read_manifest()
    name = manifest.config.protocol
    protocol: Protocol | None = load_protocol(name) if name in protocol_names() else None
    # a record that calls itself by another number than its file would be counted twice
    chunks = {
        record.chunk: record
        for record in directory.read_chunks()
        if (directory.chunks_path / f"{record.chunk:06d}.json").is_file()
    }
    checks = (
        check_config(path, manifest),
        check_sources(directory, manifest, protocol),
        check_styles(directory, manifest),
        check_weights(manifest, weights_dir, {} if hashes is None else hashes),
        check_chunks(directory, manifest, chunks),
        check_images(directory, chunks),
        check_samples(directory, manifest, chunks),
        check_scores(directory, manifest, chunks),
        check_derived(directory, manifest),
    )
    return Verification(
        path=path, what=state_in_words(manifest, chunks),
        checks=tuple(check for check in checks if check is not None),
    )  # fmt: skip
