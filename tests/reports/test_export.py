"""Runs in other tools' formats, read back with those tools."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from benchmark.errors import BenchError, RunDirectoryError, UsageError
from benchmark.run import RunDirectory
from reports.export.command import Format, export_runs
from reports.export.huggingface import ROW_GROUP_ROWS, write_dataset, write_shards
from reports.export.loggers import flatten
from reports.export.reading import scored_run, scored_runs
from tests.runs import picture, write_run

HOSTILE = {
    "script": "<script>alert('1')</script> & <b>bold</b>",
    "lines": "first\nsecond\r\n---\nlicense: mit\n```\n</code>\x07",
    "yaml": "key: [unclosed, {\"a\": !!python/object:os.system 'x'}",
    "table": "a | b | *c* _d_ `e` [f](javascript:g) ![h](http://i.example/j.png) www.k.example",
    "path": "../../etc/passwd",
    "cells": '=1+1, "quoted"; ünïcödé 画',
}
FAILED, NO_VALUE = "image0001__golden", "image0002__red-bricks"


def _no_value(metric: str, image_id: str, prompt_id: str) -> float | None:
    if metric == "psnr" and f"{image_id}__{prompt_id}" == NO_VALUE:
        return None
    return 0.1 + 0.01 * len(metric) + 0.001 * int(image_id[-1]) + (prompt_id == "golden") / 7


def make_run(out: Path, **options: Any) -> Path:
    path = write_run(out, **{"scores": _no_value, "metrics": ("psnr", "lpips_vgg"), **options})
    Image.fromarray(picture("sheet", 96)).save(path / "contact-sheet.png")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight samples, one failed, one without a value of ``psnr``."""
    return make_run(
        tmp_path_factory.mktemp("runs"), failed=[FAILED], method_config={"t0": 25, "w": [1, 2]}
    )


def export(format_name: Format, out: Path, *runs: Path, **options: Any) -> None:
    defaults = {"existing": "fail", "limit_images": None, "as_json": False}
    export_runs(runs, format_name, out, **{**defaults, **options})


def load(folder: Path, *name: str) -> datasets.Dataset:
    with tempfile.TemporaryDirectory() as cache:
        found = datasets.load_dataset(str(folder), *name, cache_dir=cache, keep_in_memory=True)
    assert list(found) == ["test"]
    return found["test"]


def stored_scores(run: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
    rows = pq.read_table(run / "scores.parquet").to_pylist()
    return {(row["sample_id"], row["metric"]): row for row in rows}


# Hugging Face


def test_dataset_has_the_run_pixel_for_pixel(run: Path, tmp_path: Path) -> None:
    export("hf", tmp_path / "hf", run)
    found = load(tmp_path / "hf")
    assert isinstance(found.features["source_image"], datasets.Image)
    assert isinstance(found.features["output_image"], datasets.Image)
    assert found["sample_id"][:] == RunDirectory(run).read_manifest().sample_ids
    scores, directory = stored_scores(run), RunDirectory(run)
    for row in found:
        source = np.asarray(row["source_image"])
        assert np.array_equal(source, directory.load_source(row["image_id"]))
        if row["sample_id"] == FAILED:
            assert (row["output_image"], row["status"]) == (None, "failed")
            assert row["reason"] == "the output is not finite"
        else:
            with Image.open(run / "images" / f"{row['sample_id']}.png") as stored:
                assert np.array_equal(np.asarray(row["output_image"]), np.asarray(stored))
        for metric in ("psnr", "lpips_vgg"):
            expected = scores[row["sample_id"], metric]
            assert row[metric] == expected["value"]
            assert row[f"{metric}_status"] == expected["status"]
        assert (row["method"], row["dataset"], row["seed"]) == ("ours", "afhq", 0)
        assert (row["protocol"], row["stand_in"], row["seconds"]) == ("mini-64-v1", True, 2.0)
        assert row["config_hash"] == run.name and row["run_status"] == "complete"
    lacking = {row["sample_id"] for row in found if row["psnr"] is None}
    assert lacking == {FAILED, NO_VALUE}
    copies = list((tmp_path / "hf" / "runs").glob("*/manifest.json"))
    assert [path.read_bytes() for path in copies] == [(run / "manifest.json").read_bytes()]


def test_several_runs_are_one_table_and_a_config_each(tmp_path: Path) -> None:
    one = make_run(tmp_path / "runs", metrics=("psnr",))
    two = make_run(tmp_path / "runs", method="zecon", metrics=("psnr", "ssim"), n_images=3)
    export("hf", tmp_path / "hf", tmp_path / "runs")
    table = load(tmp_path / "hf")
    assert [table["method"].count(name) for name in ("ours", "zecon")] == [8, 6]
    for row in table:
        assert (row["ssim"] is None) == (row["ssim_status"] is None) == (row["method"] == "ours")
    for path, count in ((one, 8), (two, 6)):
        (name,) = [p.name for p in (tmp_path / "hf" / "data").iterdir() if path.name in p.name]
        assert set(load(tmp_path / "hf", name)["config_hash"]) == {path.name}
        assert len(load(tmp_path / "hf", name)) == count


def test_shards_are_bounded_and_keep_the_order(run: Path, tmp_path: Path) -> None:
    limit = 20_000
    write_dataset([scored_run(run)], tmp_path, shard_bytes=limit)
    shards = sorted(tmp_path.glob("data/*/*.parquet"))
    assert len(shards) > 2
    assert [path.name for path in shards] == [
        f"test-{number:05d}-of-{len(shards):05d}.parquet" for number in range(len(shards))
    ]
    footer = 10_000  # schema and statistics
    assert all(path.stat().st_size < limit + footer for path in shards)
    assert load(tmp_path)["sample_id"][:] == RunDirectory(run).read_manifest().sample_ids


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 50), max_size=250), limit=st.integers(1, 500))
def test_any_sizes_make_bounded_shards(sizes: list[int], limit: int) -> None:
    schema = pa.schema([("place", pa.int64()), ("one_image", pa.binary())])
    rows = (({"place": n, "one_image": b"x" * size}, size) for n, size in enumerate(sizes))
    with tempfile.TemporaryDirectory() as folder:
        shards = write_shards(rows, Path(folder) / "data", schema, limit)
        tables = [pq.read_table(path) for path in shards]
        groups = [pq.ParquetFile(path).metadata for path in shards]
    assert [place for table in tables for place in table["place"].to_pylist()] == [
        *range(len(sizes))
    ]
    for table, facts in zip(tables, groups, strict=True):
        assert sum(map(len, table["one_image"].to_pylist())) <= limit or len(table) == 1
        for number in range(facts.num_row_groups):
            assert 0 < facts.row_group(number).num_rows <= ROW_GROUP_ROWS


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    """40 MB in shards of 1 MB take a few MB, in Python and in Arrow."""
    held = 0
    begun = pa.total_allocated_bytes()

    def rows() -> Iterator[tuple[dict[str, Any], int]]:
        nonlocal held
        for place in range(400):
            held = max(held, pa.total_allocated_bytes() - begun)
            yield {"place": place, "one_image": bytes([place % 256]) * 100_000}, 100_000

    schema = pa.schema([("place", pa.int64()), ("one_image", pa.binary())])
    tracemalloc.start()
    try:
        shards = write_shards(rows(), tmp_path / "data", schema, 10**6)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(shards) == 40
    assert max(held, peak) < 5 * 10**6


def test_sources_are_found_in_any_order_and_let_go(run: Path) -> None:
    scored = scored_run(run)
    shuffled = [scored.samples[place] for place in (7, 0, 3, 6, 1, 5, 2, 4)]
    reordered = type(scored)(**{**vars(scored), "samples": shuffled})
    directory = RunDirectory(run)
    for sample, png in zip(shuffled, reordered.source_pngs(), strict=True):
        with Image.open(io.BytesIO(png)) as image:
            assert np.array_equal(np.asarray(image), directory.load_source(sample.image_id))


# the card


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    """Front matter, and the body as an independent Markdown renderer shows it."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return yaml.safe_load(front), MarkdownIt("commonmark").enable("table").render(body)


def test_card_says_what_the_data_are(run: Path, tmp_path: Path) -> None:
    export("hf", tmp_path / "hf", run)
    front, body = card_of(tmp_path / "hf")
    assert front["license"] == "other" and front["size_categories"] == ["n<1K"]
    for words in (
        "Stand-in images of a test.", "mini-64-v1", run.name, "bench run --method ours",
        "model mini-unet: research use", "StarGAN v2", "lower is better, from 0 to 2, version 1",
        "f" * 40, "t0: 25",
    ):  # fmt: skip
        assert words in html.unescape(body), words
    summary = json.loads((run / "summary.json").read_text())
    assert f"{summary['metrics']['psnr']['mean']:.4f}" in body
    assert "Partial" not in body


def test_a_partial_run_is_exported_and_marked(tmp_path: Path, capsys: Any) -> None:
    path = make_run(tmp_path / "runs", missing=3)
    export("hf", tmp_path / "hf", path, as_json=True)
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["status"] == "partial"
    assert entry["samples"] == {"expected": 8, "ok": 5, "failed": 0, "missing": 3}
    found = load(tmp_path / "hf")
    assert len(found) == 5 and set(found["run_status"]) == {"partial"}
    assert "5 of 8 samples; 3 were never run" in card_of(tmp_path / "hf")[1]
    export("csv", tmp_path / "csv", path)
    assert "partial, 5 of 8 samples" in capsys.readouterr().out
    (hparams,) = (tmp_path / "csv").glob("*/hparams.yaml")
    assert yaml.safe_load(hparams.read_text())["samples.missing"] == 3


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"), prompts=HOSTILE, n_images=1, metrics=("psnr",))


def test_hostile_prompts_are_text_in_the_card_and_values_in_the_table(
    hostile_run: Path, tmp_path: Path
) -> None:
    manifest = RunDirectory(hostile_run).read_manifest()
    manifest.command = ["bench", "run", "--prompt", HOSTILE["lines"], "````\n<script>"]
    RunDirectory(hostile_run).write_manifest(manifest)
    export("hf", tmp_path / "hf", hostile_run)
    assert load(tmp_path / "hf")["prompt"][:] == list(HOSTILE.values())
    front, body = card_of(tmp_path / "hf")
    assert front["license"] == "other"
    for tag in ("<script", "<b>", "<em>c", "<em>d", "<img", "href"):
        assert tag not in body
    cells = re.findall(r"<td>(.*?)</td>", body, re.DOTALL)
    for prompt in HOSTILE.values():
        assert " ".join(prompt.split()) in [html.unescape(cell) for cell in cells]
    (block,) = re.findall(r'<code class="language-sh">(.*?)</code>', body, re.DOTALL)
    assert "license: mit\n```" in html.unescape(block) and "````" in html.unescape(block)
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == [
        "README.md", "data", "export.json", "runs",
    ]  # fmt: skip


# CSV


def test_csv_has_every_sample_and_the_summary(run: Path, tmp_path: Path) -> None:
    export("csv", tmp_path / "csv", run)
    with (tmp_path / "csv" / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = stored_scores(run)
    assert [row["sample_id"] for row in rows] == RunDirectory(run).read_manifest().sample_ids
    for row in rows:
        for metric in ("psnr", "lpips_vgg"):
            expected = scores[row["sample_id"], metric]
            assert (float(row[metric]) if row[metric] else None) == expected["value"]
            assert row[f"{metric}_status"] == expected["status"]
    (logged,) = (tmp_path / "csv").glob("*/metrics.csv")
    with logged.open(newline="") as file:
        (means,) = csv.DictReader(file)
    summary = json.loads((run / "summary.json").read_text())["metrics"]
    for metric, entry in summary.items():
        numbers = [float(means[f"{metric}/{key}"])
                   for key in ("mean", "interval_low", "interval_high")]  # fmt: skip
        assert numbers == [entry["mean"], *entry["interval"]]
    hparams = yaml.safe_load(logged.with_name("hparams.yaml").read_text())
    assert hparams["method_config.t0"] == 25 and hparams["method_config.w"] == "[1, 2]"
    assert hparams["config_hash"] == run.name


def test_hostile_prompts_survive_csv(hostile_run: Path, tmp_path: Path) -> None:
    export("csv", tmp_path / "csv", hostile_run)
    with (tmp_path / "csv" / "samples.csv").open(newline="", encoding="utf-8") as file:
        assert [row["prompt"] for row in csv.DictReader(file)] == list(HOSTILE.values())


def test_flatten_keeps_plain_values_and_names_their_place() -> None:
    flat = flatten({"a": True, "b": {"c": 1.5, "d": {"e": None}}, "f": [{"g": 1}], "h": {}})
    assert flat == {"a": True, "b.c": 1.5, "b.d.e": "none", "f": '[{"g": 1}]'}


# TensorBoard


def test_tensorboard_reads_scalars_histograms_hyperparameters_and_the_sheet(
    run: Path, hostile_run: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    export("tensorboard", tmp_path / "tb", run, hostile_run)
    assert len(list((tmp_path / "tb").iterdir())) == 3
    (folder,) = (tmp_path / "tb").glob(f"*{run.name}")
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0})
    events.Reload()
    summary = json.loads((run / "summary.json").read_text())["metrics"]
    for metric, entry in summary.items():
        low, high = entry["interval"]
        for key, value in (("mean", entry["mean"]), ("interval_low", low), ("interval_high", high)):
            (point,) = events.Scalars(f"{metric}/{key}")
            assert point.value == np.float32(value)
        (histogram,) = events.Histograms(f"{metric}/samples")
        values = [row["value"] for (_, name), row in stored_scores(run).items() if name == metric]
        known = [value for value in values if value is not None]
        assert histogram.histogram_value.num == len(known) == entry["n"]
        assert histogram.histogram_value.sum == pytest.approx(sum(known))
    (sheet,) = events.Images("contact-sheet")
    with Image.open(io.BytesIO(sheet.encoded_image_string)) as image:
        assert np.array_equal(np.asarray(image), picture("sheet", 96))
    assert "hp_metric" not in events.Tags()["scalars"]
    content = events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["method_config.t0"].number_value == 25
    assert hparams["config_hash"].string_value == run.name
    content = events.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    shown = metadata.parse_experiment_plugin_data(content).metric_infos
    assert {info.name.tag for info in shown} == {f"{metric}/mean" for metric in summary}


# bad input


def reseal(run: Path) -> None:
    """As if the run itself had written what is there."""
    directory = RunDirectory(run)
    manifest = directory.read_manifest()
    directory.seal(manifest)
    directory.write_manifest(manifest)


def edit(name: str, change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    """Changes the rows of a Parquet file and seals them again."""

    def apply(run: Path) -> None:
        table = pq.read_table(run / name)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), run / name)
        reseal(run)

    return apply


def _swap_image(run: Path) -> None:
    images = run / "images"
    data = (images / "image0000__golden.png").read_bytes()
    (images / "image0003__golden.png").write_bytes(data)


def _nan_in_summary(run: Path) -> None:
    path = run / "summary.json"
    path.write_text(re.sub(r'"mean": [\d.]+', '"mean": NaN', path.read_text()))
    reseal(run)


def _id_is_a_path(run: Path) -> None:
    edit("samples.parquet", lambda rows: rows[0].update(image_id="../../secret"))(run)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_swap_image, r"image0003__golden\.png.*SHA-256"),
        (lambda run: (run / "images" / "image0003__golden.png").unlink(), "image0003__golden.png"),
        (edit("samples.parquet", lambda rows: rows[0].update(sample_id="x__golden")), "x__golden"),
        (edit("scores.parquet", lambda rows: rows[0].update(sample_id="x__golden")), "x__golden"),
        (edit("scores.parquet", lambda rows: rows.pop()), "has no lpips_vgg of 1 of 8 samples"),
        (edit("scores.parquet", lambda rows: rows.append(rows[0])), "a sample twice"),
        (edit("sources.parquet", lambda rows: rows.pop()), r"no image 'image0003'"),
        (_id_is_a_path, "is a path"),
        (_nan_in_summary, r"summary\.json.*bench score"),
        (lambda run: (run / "summary.json").unlink(), r"summary\.json.*bench score"),
        (lambda run: (run / "manifest.json").write_text("{"), r"manifest\.json cannot be read"),
    ],
)
def test_a_damaged_run_is_refused_and_nothing_is_left(
    damage: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    path = make_run(tmp_path / "runs")
    damage(path)
    with pytest.raises(RunDirectoryError, match=f"(?s){words}"):
        export("hf", tmp_path / "new" / "hf", path)
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_a_changed_score_is_refused(tmp_path: Path) -> None:
    """The seal holds, whatever the change."""
    path = make_run(tmp_path / "runs")
    reseal(path)
    sealed = (path / "manifest.json").read_bytes()
    edit("scores.parquet", lambda rows: rows[0].update(value=0.99))(path)
    (path / "manifest.json").write_bytes(sealed)
    with pytest.raises(RunDirectoryError, match=r"scores\.parquet.*bench score"):
        export("csv", tmp_path / "csv", path)


def test_nan_becomes_null_with_a_status(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs")
    edit("scores.parquet", lambda rows: rows[0].update(value=float("nan")))(path)
    edit("samples.parquet", lambda rows: rows[0].update(seconds=float("nan")))(path)
    export("hf", tmp_path / "hf", path)
    row = load(tmp_path / "hf")[0]
    assert row["psnr"] is None and row["seconds"] is None
    assert row["psnr_status"] == "failed: the metric is not a finite number"
    export("csv", tmp_path / "csv", path)
    text = (tmp_path / "csv" / "samples.csv").read_text()
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_what_cannot_be_exported_says_why(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    unscored = make_run(tmp_path / "unscored", unscored=True)
    other = make_run(tmp_path / "other", protocol="paper-256-v1")
    copy = make_run(tmp_path / "copy", failed=[FAILED], method_config={"t0": 25, "w": [1, 2]})
    cases: list[tuple[list[Path], type[BenchError], str]] = [
        ([tmp_path / "nowhere"], UsageError, "nowhere is not a folder"),
        ([tmp_path / "empty"], UsageError, "no run"),
        ([unscored], RunDirectoryError, r"not scored.*bench score"),
        ([run, other], UsageError, "different protocols.*mini-64-v1, paper-256-v1"),
        ([run, copy], UsageError, "hold the same run"),
    ]
    for paths, kind, words in cases:
        with pytest.raises(kind, match=words):
            export("csv", tmp_path / "out", *paths)
        assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="--format wandb"):
        export("csv", tmp_path / "out", run, limit_images=3)


def test_a_metric_that_takes_the_name_of_a_column_is_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs")

    def rename(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["metric"] = row["metric"].replace("psnr", "seed")

    edit("scores.parquet", rename)(path)
    summary = (path / "summary.json").read_text().replace('"psnr"', '"seed"')
    (path / "summary.json").write_text(summary)
    reseal(path)
    with pytest.raises(UsageError, match=r"already \(seed\)"):
        export("hf", tmp_path / "hf", path)


# the folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_export_is_replaced_only_when_told_and_only_if_it_is_one(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export("csv", out, run)
    before = tree(out)
    record = json.loads(before.pop("export.json"))
    assert set(record["files"]) == set(before)
    with pytest.raises(RunDirectoryError, match="--existing overwrite"):
        export("hf", out, run)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"notes\.txt"):
        export("hf", out, run, existing="overwrite")
    (out / "notes.txt").unlink()
    export("hf", out, run, existing="overwrite")
    assert (out / "README.md").is_file() and not (out / "samples.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # a run directory, or any other folder, is never taken for an export
    for folder in (run, run.parent):
        before = tree(folder)
        with pytest.raises(RunDirectoryError, match="did not write"):
            export("csv", folder, run, existing="overwrite")
        assert tree(folder) == before


def test_a_failed_replacement_leaves_the_old_export(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export("csv", out, run)
    before = tree(out)
    broken = make_run(tmp_path / "runs", method="zecon")
    edit("sources.parquet", lambda rows: rows.pop())(broken)
    with pytest.raises(RunDirectoryError, match="has no image"):
        export("hf", out, run, broken, existing="overwrite")
    assert tree(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(run: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunDirectoryError, match=r"cannot write .*--out"):
        export("csv", tmp_path / "locked" / "out", run)


def test_a_file_in_the_way(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunDirectoryError, match="is a file"):
        export("csv", tmp_path / "file", run)
    with pytest.raises(RunDirectoryError, match="cannot write"):
        export("csv", tmp_path / "file" / "out", run)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("format_name", [name for name in get_args(Format) if name != "wandb"])
def test_a_run_with_one_sample(format_name: Format, tmp_path: Path, capsys: Any) -> None:
    """No interval, no sheet, and still an export."""
    path = write_run(tmp_path / "runs", n_images=1, prompts={"golden": "Golden"})
    export(format_name, tmp_path / "out", path)
    lines = capsys.readouterr().out.splitlines()
    assert "complete, 1 of 1 samples" in lines[0]
    assert all(Path(line).exists() for line in lines[1:])


def test_label_is_a_plain_file_name(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs", method="../evil <b>/x")
    (run,) = scored_runs([tmp_path / "runs"])
    assert re.fullmatch(r"[A-Za-z0-9_-]+", run.label)
    export("hf", tmp_path / "hf", path)
    assert "<b>" not in card_of(tmp_path / "hf")[1]
    assert len(load(tmp_path / "hf")) == 8
