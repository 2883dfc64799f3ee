"""Run directories as ``bench run`` leaves them, made in milliseconds from given scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config import PromptSpec, ResolvedRun
from benchmark.pictures import encode_png
from benchmark.records import ChunkRecord, Manifest, SampleRecord, merge_samples
from benchmark.run import RunDirectory
from benchmark.scoring import SCHEMA, metric_classes
from benchmark.summary import summarise
from benchmark.sweep.folder import SweepRecord, SweepRun

PROMPTS = {"golden": "Golden", "red-bricks": "Red bricks"}
Scores = Callable[[str, str, str], float | None]
Pixels = npt.NDArray[np.uint8]


def picture(name: str, side: int = 64) -> Pixels:
    """[side, side, 3] uint8: smooth colours that depend on the name alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    coarse = rng.random((3, 3, 3))
    places = np.linspace(0, 2, side)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(3)))
    smooth = np.einsum("yi,xj,ijc->yxc", weights, weights, coarse)
    return np.round(smooth * 255).astype(np.uint8)


def smooth_scores(quality: float, spread: float = 0.05) -> Scores:
    """Scores in (0, 1), better with higher ``quality``; each sample has noise of its own."""

    def score(metric: str, image_id: str, prompt_id: str) -> float:
        (cls,) = metric_classes([metric])
        sample = int.from_bytes(
            hashlib.sha256(f"{metric}/{image_id}/{prompt_id}".encode()).digest()[:8], "big"
        )
        own = sample ^ int(abs(quality) * 1e6)
        shared = spread * np.random.default_rng(sample).standard_normal()
        value = 0.5 + shared + 0.02 * np.random.default_rng(own).standard_normal()
        sign = 1.0 if cls.direction == "higher" else -1.0
        return float(np.clip(value + sign * quality, 0.01, 0.99))

    return score


def _hash(pixels: Pixels | None) -> str:
    return hashlib.sha256(b"" if pixels is None else pixels.tobytes()).hexdigest()


def write_run(
    out: Path,
    *,
    method: str = "ours",
    dataset: str = "afhq",
    protocol: str = "mini-64-v1",
    n_images: int = 4,
    prompts: Mapping[str, str] = PROMPTS,
    metrics: Sequence[str] = ("clip_score_patch", "lpips_vgg", "edge_agreement"),
    scores: Scores | None = None,
    method_config: Mapping[str, Any] | None = None,
    seconds: float = 2.0,
    failed: Sequence[str] = (),
    missing: int = 0,
    image_prefix: str = "image",
    side: int = 64,
    unscored: bool = False,
    styles: Mapping[str, Pixels] | None = None,
) -> Path:
    """Write a run directory and return its path.

    Args:
        scores: (metric, image_id, prompt_id) to a value; None is a score that could not be had.
        failed: sample ids that the method did not make.
        missing: samples at the end that were never run, as after a kill.
        unscored: leave out scores and summary.
        styles: style images by prompt id, [h, w, 3]; they take the place of the prompts. One that
            lacks is lost.
    """
    scores = scores or smooth_scores(0.0)
    images = [f"{image_prefix}{number:04d}" for number in range(n_images)]
    config = ResolvedRun(
        protocol=protocol,
        method=method,
        method_config=dict(method_config or {}),
        dataset=dataset,
        stand_in=True,
        fingerprint=hashlib.sha256("".join(images).encode()).hexdigest(),
        resolution=side,
        prompts=tuple(
            PromptSpec(
                id=key,
                text=text,
                style_sha256=None if styles is None else _hash(styles.get(key)),
            )
            for key, text in prompts.items()
        ),
        source_prompt="Photo",
        seed=0,
        precision="32-true",
        models={"denoiser": "0" * 64},
    )
    directory = RunDirectory(config.directory(out))
    directory.images_path.mkdir(parents=True)
    directory.chunks_path.mkdir()
    sources = {image_id: picture(image_id, side) for image_id in images}
    directory.write_sources(sources)
    if styles is not None:
        directory.write_styles(styles)
    sample_ids = [f"{image_id}__{key}" for image_id in images for key in prompts]
    made = sample_ids[: len(sample_ids) - missing]
    records = []
    for sample_id in made:
        image_id, _, key = sample_id.partition("__")
        ok = sample_id not in failed
        data = encode_png(picture(f"{method} {sample_id}", side))
        if ok:
            directory.image_path(sample_id).write_bytes(data)
        records.append(
            SampleRecord(
                sample_id=sample_id, image_id=image_id, prompt_id=key,
                prompt=prompts[key] if styles is None else None,
                source_prompt="Photo", domain="dogs", status="ok" if ok else "failed",
                reason=None if ok else "the output is not finite",
                sha256=hashlib.sha256(data).hexdigest() if ok else None,
            )
        )  # fmt: skip
    chunks = {
        number: ChunkRecord(
            chunk=number, samples=tuple(records[start : start + 8]),
            seconds=seconds * len(records[start : start + 8]), peak_memory_mib=900.0,
            warm=number > 0, rank=0,
        )
        for number, start in enumerate(range(0, len(records), 8))
    }  # fmt: skip
    for number, record in chunks.items():
        (directory.chunks_path / f"{number:06d}.json").write_text(record.model_dump_json())
    samples = merge_samples(sample_ids, chunks)
    counts = {"ok": len(made) - len(failed), "failed": len(failed)}
    if missing:
        counts["missing"] = missing
    manifest = (
        Manifest(
            config=config, config_hash=config.config_hash,
            status="partial" if missing or unscored else "complete",
            stand_in_note="Stand-in images of a test.",
            dataset={"card": dataset, "card_version": 1, "domain": "dogs", "images": n_images,
                     "skipped": [], "source": {"name": "embedded"}},
            models={"denoiser": {"id": "mini-unet", "sha256": "0" * 64, "licence": "research use",
                                 "file": "unet.safetensors", "pinned": True}},
            sample_ids=sample_ids, batch_size=8,
            execution={"accelerator": "auto", "devices": "auto", "strategy": "auto",
                       "num_nodes": 1},
            versions={"torch": "2.5.0"}, git_revision="f" * 40, hardware={"processor": "a test"},
            command=["bench", "run", "--method", method, "--dataset", dataset],
            started="2026-01-01T00:00:00+00:00", finished="2026-01-01T00:01:00+00:00",
            timings={"predict_wall_s": 60.0}, counts=counts,
        )
    )  # fmt: skip
    directory.write_manifest(manifest)
    directory.write_samples(samples)
    if unscored:
        return directory.path
    rows = []
    for sample in samples:
        for cls in metric_classes(metrics):
            value = scores(cls.name, sample.image_id, sample.prompt_id)
            status = "ok" if value is not None else "no_face"
            if sample.status != "ok":
                value, status = None, f"failed: {sample.reason}"
            rows.append({
                "sample_id": sample.sample_id, "image_id": sample.image_id,
                "prompt_id": sample.prompt_id, "metric": cls.name, "value": value,
                "status": status, "metric_version": cls.version,
            })  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, directory.scores_path)
    directory.write_json(directory.summary_path, summarise(table, samples))
    directory.seal(manifest)
    directory.write_manifest(manifest)
    return directory.path


def write_sweep(
    folder: Path, points: Sequence[tuple[str, Mapping[str, Any], float]], *, missing: int = 0
) -> Path:
    """A finished sweep of ``ours`` and the folder that holds it.

    Args:
        points: dataset, config, how good the scores are.
        missing: samples that every run but the first lacks at its end, or the only one.
    """
    runs = []
    for place, (dataset, config, quality) in enumerate(points):
        path = write_run(
            folder, dataset=dataset, method_config=config, scores=smooth_scores(quality),
            missing=missing if place or len(points) == 1 else 0,
        )  # fmt: skip
        runs.append(
            SweepRun(
                config_hash=path.name, method="ours", dataset=dataset, seed=0,
                settings=[dict(config)], samples=8, path=str(path.relative_to(folder)),
                state="complete",
            )
        )  # fmt: skip
    record = SweepRecord(name=folder.name, file_sha256="0" * 64, runs=runs)
    (folder / "sweep.json").write_text(record.model_dump_json())
    return folder
