"""Two runs of one config, picture by picture and score by score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from benchmark.files import sha256_of
from benchmark.pictures import decode_png
from benchmark.records import ChunkRecord
from benchmark.run import RunDirectory
from benchmark.stats import cluster_t_interval


class PictureDifference(BaseModel):
    """A sample whose picture is another one now.

    Attributes:
        largest: greatest difference of a colour value, of 255; None where a picture is not there to
            be read, or the method failed on one side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_id: str
    largest: int | None


class ImageComparison(BaseModel):
    """The outputs of two runs.

    Attributes:
        compared: samples that the first run made or failed at.
        equal_bytes: pictures whose files are equal (failures on both sides count).
        equal_pixels: of the others, those that decode to equal pixels: another PNG encoder.
        differing: the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    compared: int
    equal_bytes: int
    equal_pixels: int
    differing: tuple[PictureDifference, ...]

    @property
    def largest(self) -> int | None:
        known = [item.largest for item in self.differing if item.largest is not None]
        return max(known, default=None)


class ScoreComparison(BaseModel):
    """One metric over the samples that both runs scored.

    Attributes:
        n: pairs of values.
        n_images: content images, the unit of independence.
        equal: whether every value is equal to the last bit, and so every status.
        mean_difference: here minus there.
        interval: 95 % by :func:`benchmark.stats.cluster_t_interval`; None below two images.
        largest: greatest absolute difference of a sample.
        note: why there is nothing to compare, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    n_images: int
    equal: bool
    mean_difference: float | None
    interval: tuple[float, float] | None
    largest: float | None
    note: str | None = None


def compare_images(there: RunDirectory, here: RunDirectory) -> ImageComparison | None:
    """Every picture that ``there`` has a record of; None if it has no records.

    A stored picture is read only if it still has the bytes of its record.
    """
    first, second = _hashes(there), _hashes(here)
    if not first:
        return None
    equal_bytes = equal_pixels = 0
    differing = []
    for sample_id, digest in first.items():
        if sample_id in second and second[sample_id] == digest:
            equal_bytes += 1
            continue
        largest = _largest_difference(there, here, sample_id, digest, second.get(sample_id))
        if largest == 0:
            equal_pixels += 1
        else:
            differing.append(PictureDifference(sample_id=sample_id, largest=largest))
    return ImageComparison(
        compared=len(first), equal_bytes=equal_bytes, equal_pixels=equal_pixels,
        differing=tuple(differing),
    )  # fmt: skip


def _hashes(directory: RunDirectory) -> dict[str, str | None]:
    records: Mapping[int, ChunkRecord] = {r.chunk: r for r in directory.read_chunks()}
    return {s.sample_id: s.sha256 for _, record in sorted(records.items()) for s in record.samples}


def _largest_difference(
    there: RunDirectory, here: RunDirectory, sample_id: str, first: str | None, second: str | None
) -> int | None:
    pictures = []
    for directory, digest in ((there, first), (here, second)):
        path = directory.image_path(sample_id)
        if digest is None or not path.is_file() or sha256_of(path) != digest:
            return None
        pictures.append(decode_png(path.read_bytes()).astype(np.int16))
    if pictures[0].shape != pictures[1].shape:
        return None
    return int(np.abs(pictures[0] - pictures[1]).max())


Rows = dict[str, dict[str, tuple[str, float | None, str, int]]]


def compare_scores(there: RunDirectory, here: RunDirectory) -> dict[str, ScoreComparison] | None:
    """By metric, of those that ``there`` was scored with; None if it has no scores."""
    if not there.scores_path.is_file():
        return None
    first, second = _rows(there), _rows(here)
    found = {}
    for metric, rows in first.items():
        others = second.get(metric, {})
        note = None
        if not others:
            note = "not scored here: it is not among the protocol's metrics"
        elif {row[3] for row in rows.values()} != {row[3] for row in others.values()}:
            note = f"version {min(r[3] for r in rows.values())} of the metric there, " \
                   f"{min(r[3] for r in others.values())} here"  # fmt: skip
        found[metric] = _compare(rows, {} if note else others, note)
    return found


def _compare(
    rows: dict[str, tuple[str, float | None, str, int]],
    others: dict[str, tuple[str, float | None, str, int]], note: str | None,
) -> ScoreComparison:  # fmt: skip
    differences, images = [], []
    for sample_id, (image_id, value, _, _) in sorted(rows.items()):
        other = others[sample_id][1] if sample_id in others else None
        if value is not None and other is not None:
            differences.append(other - value)
            images.append(image_id)
    column = np.array(differences, dtype=np.float64)
    return ScoreComparison(
        n=len(column),
        n_images=len(set(images)),
        equal=note is None and rows == others,
        mean_difference=float(column.mean()) if len(column) else None,
        interval=cluster_t_interval(column, images) if len(column) else None,
        largest=float(np.abs(column).max()) if len(column) else None,
        note=note,
    )


def _rows(directory: RunDirectory) -> Rows:
    found: Rows = {}
    if directory.scores_path.is_file():
        for row in pq.read_table(directory.scores_path).to_pylist():
            found.setdefault(row["metric"], {})[row["sample_id"]] = (
                row["image_id"], row["value"], row["status"], row["metric_version"],
            )  # fmt: skip
    return found
