"""``bench rerun``: refuse what would be another run, run, compare, print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark import launch
from benchmark.errors import UsageError
from benchmark.files import sha256_of
from benchmark.finish import quiet_libraries
from benchmark.records import Manifest
from benchmark.rerun.circumstances import Circumstance, circumstances, reasons
from benchmark.rerun.compare import (
    ImageComparison,
    ScoreComparison,
    compare_images,
    compare_scores,
)
from benchmark.rerun.options import Pictures, options_of
from benchmark.rerun.requirements import require_same
from benchmark.run import Existing, RunDirectory
from benchmark.scoring import metric_classes

__all__ = ["Pictures", "Reproduction", "rerun"]

SHOWN = 20  # differing pictures that the terminal lists; JSON holds all


class Reproduction(BaseModel):
    """Whether a run could be made again.

    Attributes:
        manifest: of the first run.
        directory: of the new one.
        status: of the first run; of a partial one, what it made is compared.
        kept: samples that an earlier, interrupted rerun had made already.
        images: None where the manifest lies alone, without the run's chunk records.
        same_scores: whether ``scores.parquet`` has the bytes that the manifest names; None where it
            names none.
        scores: by metric; None where the first run's scores are not beside its manifest.
        circumstances: what differs between the two manifests.
        reasons: why the pictures may differ, in words; empty where they are equal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Path
    directory: Path
    status: str
    kept: int
    images: ImageComparison | None
    same_scores: bool | None
    scores: dict[str, ScoreComparison] | None
    circumstances: tuple[Circumstance, ...]
    reasons: tuple[str, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reproduced(self) -> bool:
        """Whether every pixel is equal; without pictures to compare, every bit of the scores."""
        if self.images is not None:
            return not self.images.differing
        return bool(self.same_scores)


def rerun(
    path: Path, *, out: Path, existing: Existing, accelerator: str | None,
    weights_dir: Path | None, pictures: Pictures, as_json: bool,
) -> bool:  # fmt: skip
    """Make a run again and print how it compares.

    Args:
        path: a manifest, or a run directory.

    Returns:
        whether every pixel is equal.

    Raises:
        UsageError: no manifest, nothing to compare with, or this machine would make another run.
        BenchError: as of ``bench run``.
    """
    quiet_libraries()
    there = RunDirectory(path if path.is_dir() else path.parent)
    if path.is_file() and path.name != there.manifest_path.name:
        raise UsageError(f"{path}: give a manifest.json, or the run directory that holds it")
    if not there.manifest_path.is_file():
        raise UsageError(f"{path} is neither a manifest.json nor a run directory that holds one")
    manifest = there.read_manifest()
    if not any(there.read_chunks()) and "scores.parquet" not in manifest.files:
        raise UsageError(
            f"{there.manifest_path} is of a run that was never scored, and none of its chunk "
            f"records are beside it: there is nothing to compare a rerun with"
        )
    options = options_of(
        manifest, pictures, out=out, existing=existing, accelerator=accelerator,
        weights_dir=weights_dir,
    )  # fmt: skip
    plan = launch.resolve(options)
    metrics = plan.protocol.metrics_of(manifest.config.shown)
    judges = {role for cls in metric_classes(metrics) for role in cls.encoders}
    require_same(manifest, plan.resolved, plan.zoo, sorted({*plan.method.card.roles, *judges}))
    here = RunDirectory(plan.resolved.directory(out))
    if here.path.resolve() == there.path.resolve():
        raise UsageError(
            f"--out {out} is where the run itself lies, which a rerun must not touch: name another"
        )
    kept = sum(len(record.samples) for record in here.completed_chunks().values())
    if launch.execute(plan) is None:
        return True  # of several processes, the first one compares
    found = _compare(there, here, manifest, kept if existing == "resume" else 0)
    if as_json:
        sys.stdout.write(json.dumps(found.model_dump(mode="json"), indent=2) + "\n")
    else:
        _print(found)
    return found.reproduced


def _compare(
    there: RunDirectory, here: RunDirectory, manifest: Manifest, kept: int
) -> Reproduction:
    again = here.read_manifest()
    images = compare_images(there, here)
    digest = manifest.files.get(here.scores_path.name)
    same_scores = None if digest is None else sha256_of(here.scores_path) == digest
    different = bool(images.differing) if images is not None else not same_scores
    return Reproduction(
        manifest=there.manifest_path,
        directory=here.path,
        status=manifest.status,
        kept=kept,
        images=images,
        same_scores=same_scores,
        scores=compare_scores(there, here),
        circumstances=tuple(circumstances(manifest, again)),
        reasons=tuple(reasons(manifest, again)) if different else (),
    )


def _print(found: Reproduction) -> None:
    console = Console()
    sys.stdout.write(f"there  {found.manifest}\nhere   {found.directory}\n")
    if found.status != "complete":
        sys.stdout.write(f"the run there is {found.status}: what it made is compared\n")
    if found.kept:
        sys.stdout.write(f"{found.kept} samples were made by an earlier rerun\n")
    if found.scores is not None and not found.reproduced:
        console.print(_score_table(found.scores))
    for line in _verdict(found):
        console.print(Text(line), soft_wrap=True)
    for line in found.reasons:
        console.print(Text(f"- {line}"), style="yellow", soft_wrap=True)
    if found.reproduced and found.circumstances:
        others = ", ".join(item.what for item in found.circumstances)
        console.print(Text(f"although these differ: {others}"), soft_wrap=True)


def _verdict(found: Reproduction) -> list[str]:
    images = found.images
    if images is None:
        told = "equal to the last bit" if found.same_scores else "NOT equal"
        return [
            f"the scores are {told}; the pictures cannot be compared, since the run's chunk "
            f"records are not beside its manifest"
        ]
    if images.equal_bytes == images.compared:
        return [f"reproduced: all {images.compared} images have equal bytes"]
    if not images.differing:
        return [
            f"reproduced: all {images.compared} images have equal pixels; the files of "
            f"{images.equal_pixels} differ, as another PNG encoder writes them"
        ]
    largest = "unknown" if images.largest is None else f"{images.largest} of 255"
    lines = [
        f"NOT reproduced: {len(images.differing)} of {images.compared} images differ, the largest "
        f"difference of a colour value is {largest}"
    ]
    for item in images.differing[:SHOWN]:
        lines.append(f"  {item.sample_id}: {'?' if item.largest is None else item.largest}")
    if len(images.differing) > SHOWN:
        lines.append(f"  ... and {len(images.differing) - SHOWN} more")
    return lines


def _score_table(scores: dict[str, ScoreComparison]) -> Table:
    table = Table(title="here minus there, same samples", title_justify="left")
    table.add_column("metric", no_wrap=True)
    for column in ("mean difference", "95 % interval", "largest", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for name, item in scores.items():
        interval = "n/a" if item.interval is None else "{:+.2g} .. {:+.2g}".format(*item.interval)
        cells: list[Any] = [
            name, _number(item.mean_difference), interval,
            _number(item.largest).lstrip("+"), str(item.n),
            item.note or ("equal" if item.equal else ""),
        ]  # fmt: skip
        table.add_row(*map(Text, cells))
    return table


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.3g}"
