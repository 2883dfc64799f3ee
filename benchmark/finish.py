"""From stored images to scores, summary and contact sheet; at the end of a run or later."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import registry
from benchmark.config import Protocol, load_protocol
from benchmark.files import explain_write_errors
from benchmark.pictures import Pixels
from benchmark.records import Manifest, merge_samples
from benchmark.run import RunDirectory
from benchmark.zoo import ModelZoo

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

CONTACT_SHEET_IMAGES = 16  # more make a picture that nobody looks at


@dataclass(frozen=True)
class RunResult:
    """What a finished or re-scored run has to show."""

    directory: Path
    method: str
    dataset: str
    protocol: str
    config_hash: str
    status: str
    summary: dict[str, Any]
    contact_sheet: Path | None
    stand_in_note: str | None
    smoke: dict[str, Any] | None = None  # what a smoke run measured

    def as_json(self) -> dict[str, Any]:
        return {
            "run_directory": str(self.directory),
            "method": self.method,
            "dataset": self.dataset,
            "protocol": self.protocol,
            "config_hash": self.config_hash,
            "status": self.status,
            "stand_in_note": self.stand_in_note,
            "contact_sheet": str(self.contact_sheet) if self.contact_sheet else None,
            "summary": self.summary,
            **({} if self.smoke is None else {"smoke": self.smoke}),
        }


def score_run(path: Path, *, metrics: Sequence[str] | None, weights_dir: Path | None) -> RunResult:
    """Score a run directory again from its stored images.

    Scores of other metrics stay, as long as they belong to the same samples, metric version and
    weights, so that a metric can be added to an old run.

    Raises:
        RunDirectoryError: no run, an unfinished one, or another schema.
    """
    quiet_libraries()
    directory = RunDirectory(path)
    manifest = directory.read_manifest()
    protocol = load_protocol(manifest.config.protocol)
    if metrics is not None:
        update = {"metrics": tuple(metrics), "style_image_metrics": ()}
        protocol = protocol.model_copy(update=update)
    models = protocol.models_for(manifest.config.dataset)
    with directory.lock():
        return finish_run(directory, manifest, protocol, ModelZoo(models, weights_dir))


def finish_run(
    directory: RunDirectory, manifest: Manifest, protocol: Protocol, zoo: ModelZoo
) -> RunResult:
    """Merge the chunk records, score the stored images, write what derives from them."""
    import pyarrow.parquet as pq

    from benchmark.scoring import score_samples
    from benchmark.summary import summarise

    chunks = directory.completed_chunks()
    samples = merge_samples(manifest.sample_ids, chunks)
    directory.write_samples(samples)
    missing = len(manifest.sample_ids) - len(samples)
    started = time.perf_counter()
    prompts = registry.load(registry.DATASETS, manifest.config.dataset).all_prompts(
        protocol.prompt_set
    )
    own = [prompt.words for prompt in manifest.config.prompts if prompt.words is not None]
    texts = [*(prompt.text for prompt in prompts), *own, manifest.config.source_prompt]
    metrics = protocol.metrics_of(manifest.config.shown)
    table = score_samples(
        samples, directory.load_source, directory.load_image, zoo, metrics, texts,
        load_style=partial(_style_of, directory, _mixtures(manifest)),
    )  # fmt: skip
    table = _with_earlier_scores(table, directory, manifest, zoo)
    with explain_write_errors(directory.path):
        unfinished = directory.path / ".scores.part"
        pq.write_table(table, unfinished)
        unfinished.replace(directory.scores_path)
    summary = summarise(table, samples)
    directory.write_json(directory.summary_path, summary)
    sheet = _contact_sheet(directory, manifest, samples)
    manifest.timings["score_wall_s"] = time.perf_counter() - started
    manifest.timings["stylize_s"] = sum(record.seconds for record in chunks.values())
    manifest.counts = {
        "ok": sum(sample.status == "ok" for sample in samples),
        "failed": sum(sample.status == "failed" for sample in samples),
    }
    if missing:
        manifest.counts["missing"] = missing
    manifest.status = "partial" if missing else "complete"
    manifest.finished = datetime.now(UTC).isoformat(timespec="seconds")
    manifest.models |= zoo.verified_hashes(_encoders(table))
    directory.seal(manifest)
    directory.write_manifest(manifest)
    directory.remove_staging()
    return RunResult(
        directory=directory.path,
        method=manifest.config.method,
        dataset=manifest.config.dataset,
        protocol=manifest.config.protocol,
        config_hash=manifest.config_hash,
        status=manifest.status,
        summary=summary,
        contact_sheet=sheet,
        stand_in_note=manifest.stand_in_note,
    )


def _with_earlier_scores(
    table: pa.Table, directory: RunDirectory, manifest: Manifest, zoo: ModelZoo
) -> pa.Table:
    """``table`` and, of the scores stored before, the metrics that are still true."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from benchmark.scoring import metric_classes

    if not directory.scores_path.is_file() or directory.scores_path in directory.changed_files(
        manifest
    ):
        return table
    earlier = pq.read_table(directory.scores_path)
    samples = set(pc.unique(table["sample_id"]).to_pylist())
    installed = set(registry.names(registry.METRICS)) - set(pc.unique(table["metric"]).to_pylist())
    kept = []
    for name in sorted(set(pc.unique(earlier["metric"]).to_pylist()) & installed):
        (cls,) = metric_classes([name])
        rows = earlier.filter(pc.equal(earlier["metric"], name))
        now = zoo.verified_hashes(cls.encoders)
        if (
            set(rows["sample_id"].to_pylist()) == samples
            and set(rows["metric_version"].to_pylist()) == {cls.version}
            and all(
                manifest.models.get(role, {}).get("sha256") == facts["sha256"]
                for role, facts in now.items()
            )
        ):
            kept.append(rows)
        else:
            log.warning(
                "%s: the earlier scores of %s are dropped, since samples, weights or the metric "
                "changed; name it in --metrics to score it again",
                directory.path, name,
            )  # fmt: skip
    return pa.concat_tables([table, *kept]) if kept else table


def _encoders(table: pa.Table) -> list[str]:
    """Roles of the models that made a table's scores."""
    import pyarrow.compute as pc

    from benchmark.scoring import metric_classes

    names = sorted(pc.unique(table["metric"]).to_pylist())
    return sorted({role for cls in metric_classes(names) for role in cls.encoders}) if names else []


def _mixtures(manifest: Manifest) -> set[str]:
    """Ids of the prompts that are mixtures."""
    return {prompt.id for prompt in manifest.config.prompts if prompt.mixture is not None}


def _style_of(directory: RunDirectory, mixtures: set[str], prompt_id: str) -> Pixels | None:
    """The style image of samples without a prompt; a mixture has none of its own."""
    return None if prompt_id in mixtures else directory.load_style(prompt_id)


def _contact_sheet(directory: RunDirectory, manifest: Manifest, samples: Sequence[Any]) -> Path:
    """Source and one output per prompt, for the first images."""
    draw = registry.load(registry.COMMANDS, "contact-sheet")
    made = {sample.sample_id for sample in samples if sample.status == "ok"}
    prompts = manifest.config.prompts
    rows: list[tuple[Pixels, list[Pixels | None]]] = []
    if any(prompt.style_sha256 for prompt in prompts):
        # the style images head the columns
        heads = [_style_of(directory, _mixtures(manifest), prompt.id) for prompt in prompts]
        rows.append((np.full_like(next(h for h in heads if h is not None), 255), heads))
    images = list(dict.fromkeys(sample.image_id for sample in samples))
    for image_id in images[:CONTACT_SHEET_IMAGES]:
        ids = [f"{image_id}__{prompt.id}" for prompt in prompts]
        outputs = [directory.load_image(name) if name in made else None for name in ids]
        rows.append((directory.load_source(image_id), outputs))
    sheet = draw(
        rows,
        [prompt.caption for prompt in prompts],
        title=f"{manifest.config.method} on {manifest.config.dataset} ({manifest.config.protocol})",
        note=manifest.stand_in_note,
    )
    with explain_write_errors(directory.contact_sheet_path):
        sheet.save(directory.contact_sheet_path, format="PNG")
    return directory.contact_sheet_path


def quiet_libraries() -> None:
    """Lightning's banners and loader advice do not concern a predict-only run."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning.*")
    warnings.filterwarnings("ignore", module=r"lightning_fabric.*")
