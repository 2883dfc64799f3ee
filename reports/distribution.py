"""``bench distribution``: FID, KID and ArtFID of outputs against a folder of style images."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from benchmark.config import canonical_json, load_protocol
from benchmark.errors import DataError, RunDirectoryError
from benchmark.files import sha256_of
from benchmark.metrics.base import OK
from benchmark.metrics.distribution import set_distances
from benchmark.metrics.lpips_vgg import LpipsVgg
from benchmark.metrics.set_features import INCEPTION, SetEncoder, set_encoder
from benchmark.records import Manifest, SampleRecord
from benchmark.run import RunDirectory
from data.decode import BadImageError, Filter, Pixels, square
from data.sources import FolderSource

SCHEMA_VERSION = 1
LPIPS = LpipsVgg.name
DISTANCES = ("fid", "kid", "lpips", "artfid")
COMPARABLE = (
    "Values are comparable only with others of the same encoder, reference folder, resolution, "
    "resize filter and number of images; published FID, KID and ArtFID belong to other encoders."
)
INCEPTION_COMPARABLE = (
    "FID and KID use the published Inception weights with pytorch-fid's resizing and compare only "
    "at the same resolution, reference folder and number of images; ArtFID as published has an "
    "Inception trained on paintings and calibrated LPIPS, so this one does not compare with it."
)


@dataclass(frozen=True)
class Reference:
    """The style images, squared and resized; ``features`` is [n, D]."""

    folder: Path
    fingerprint: str
    features: Tensor


def distribution_report(
    runs: Sequence[Path], reference: Path, encoder: str | None,
    *, weights_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """The command: compute, store ``distribution.json`` in each run directory, print.

    Args:
        reference: folder of style images.
        encoder: id of a CLIP, VGG or DINO in the weights registry, or ``inception-fid``; each
            run's protocol's judge if None.

    Raises:
        UsageError: unknown encoder, or one that gives no vector for an image.
        DataError: the folder has no images, or one that cannot be read.
        RunDirectoryError: no run, a damaged one, or one in use.
        WeightsError: the encoder's weights are missing or damaged.
    """
    encoders: dict[str, SetEncoder] = {}
    references: dict[tuple[str, int, Filter], Reference] = {}
    stored = []
    for path in runs:
        directory = RunDirectory(path)
        manifest = directory.read_manifest()
        protocol = load_protocol(manifest.config.protocol)
        name = encoder or protocol.models["judge"]
        if name not in encoders:
            encoders[name] = set_encoder(name, weights_dir)
        key = (name, manifest.config.resolution, protocol.resize_filter)
        if key not in references:
            references[key] = read_reference(reference, encoders[name], *key[1:])
        with directory.lock():
            found = compare(directory, manifest, encoders[name], references[key], key[2])
            directory.write_json(directory.distribution_path, found)
        stored.append((directory.distribution_path, found))
    if as_json:
        rows = [{"file": str(path), **found} for path, found in stored]
        json.dump(rows, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    for path, found in stored:
        Console().print(terminal_table(found))
        lines = [*remarks(found), f"stored in {path}"]
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def read_reference(
    folder: Path, encoder: SetEncoder, side: int, resize_filter: Filter
) -> Reference:
    """Features of the images of a folder, cut and resized as a dataset's are.

    The fingerprint is over side, filter, file names and resulting pixels, in the files' order.

    Raises:
        DataError: no images, or one that cannot be read (named).
    """
    if not folder.is_dir():
        raise DataError(f"--reference {folder} is not a folder; give one that holds style images")
    source = FolderSource(folder)
    files: list[list[str]] = []

    def pictures() -> Iterator[Pixels]:
        for entry in source.entries():
            try:
                picture = square(source.decode(entry, source.read(entry)), side, resize_filter)
            except BadImageError as error:
                raise DataError(f"{folder / entry.file}: {error}") from error
            name = entry.file.encode("utf-8", "backslashreplace").decode()
            files.append([name, hashlib.sha256(picture.tobytes()).hexdigest()])
            yield picture

    features = encoder.embed(pictures())
    facts = {"size": side, "filter": resize_filter, "images": files}
    digest = hashlib.sha256(canonical_json(facts)).hexdigest()
    return Reference(folder, digest, features)


def compare(
    directory: RunDirectory, manifest: Manifest, encoder: SetEncoder, reference: Reference,
    resize_filter: Filter,
) -> dict[str, Any]:  # fmt: skip
    """What is stored: the distances over all outputs and over those of each prompt.

    An output that is missing or was changed since it was made counts as not run.

    Raises:
        RunDirectoryError: the stored scores were changed since they were computed.
    """
    chunks = directory.completed_chunks()
    records = [sample for number in sorted(chunks) for sample in chunks[number].samples]
    made = [sample for sample in records if sample.status == "ok"]
    features = encoder.embed(directory.load_image(sample.sample_id) for sample in made)
    lpips = stored_lpips(directory, manifest)
    total = len(manifest.sample_ids)

    def values(wanted: Callable[[SampleRecord], bool]) -> dict[str, Any]:
        rows = [row for row, sample in enumerate(made) if wanted(sample)]
        scores = [lpips.get(made[row].sample_id) for row in rows]
        return set_distances(features[rows], reference.features, scores)

    return {
        "schema_version": SCHEMA_VERSION,
        "encoder": {"id": encoder.id, "sha256": encoder.sha256, "pinned": encoder.pinned},
        "feature_dimension": reference.features.shape[1],
        "resolution": manifest.config.resolution,
        "resize_filter": resize_filter,
        "reference": {
            "folder": str(reference.folder),
            "fingerprint": reference.fingerprint,
            "n": len(reference.features),
        },
        "lpips": {"metric": LPIPS, "version": LpipsVgg.version},
        # ArtFID rests on these scores; another hash now means that they were computed anew since
        "scores_sha256": sha256_of(directory.scores_path) if lpips else None,
        "note": INCEPTION_COMPARABLE if encoder.id == INCEPTION else COMPARABLE,
        "samples": {"planned": total, "run": len(records), "ok": len(made)},
        "partial": len(made) < total,
        "overall": values(lambda sample: True),
        "prompts": {
            prompt.id: values(lambda sample, wanted=prompt.id: sample.prompt_id == wanted)  # type: ignore[misc]
            for prompt in manifest.config.prompts
        },
    }


def stored_lpips(directory: RunDirectory, manifest: Manifest) -> dict[str, float]:
    """LPIPS by sample, as far as the run was scored with it.

    Raises:
        RunDirectoryError: the scores are not those that the manifest names.
    """
    if not directory.scores_path.is_file():
        return {}
    if directory.scores_path in directory.changed_files(manifest):
        raise RunDirectoryError(
            f"{directory.scores_path} was changed after the run was scored; score it again with "
            f"`bench score {directory.path}`"
        )
    rows = pq.read_table(directory.scores_path).to_pylist()
    return {
        row["sample_id"]: row["value"]
        for row in rows
        if row["metric"] == LPIPS and row["value"] is not None
    }


def terminal_table(found: Mapping[str, Any]) -> Table:
    """A line for all outputs and one for each prompt."""
    table = Table(title=Text(f"distance to the reference in {found['encoder']['id']}"))
    table.add_column("outputs")
    for name in ("n", "FID ↓", "KID ↓", "LPIPS ↓", "ArtFID ↓"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, row in {"all": found["overall"], **found["prompts"]}.items():
        entries = [row[name] for name in DISTANCES]
        cells = [
            entry["status"].partition(":")[0] if entry["value"] is None else f"{entry['value']:.4f}"
            for entry in entries
        ]
        table.add_row(*map(Text, [label, str(row["n"]), *cells]))
    return table


def remarks(found: Mapping[str, Any]) -> list[str]:
    """What belongs below the table: the sets, what is missing and why, what may be compared."""
    reference, counts = found["reference"], found["samples"]
    lines = [
        f"{reference['n']} reference images of {reference['folder']}, "
        f"{found['feature_dimension']} features"
    ]
    if found["partial"]:
        lines.append(f"partial: {counts['ok']} outputs of {counts['planned']} planned samples")
    rows = [found["overall"], *found["prompts"].values()]
    statuses = dict.fromkeys(row[name]["status"] for row in rows for name in DISTANCES)
    return [*lines, *(status for status in statuses if status != OK), found["note"]]
