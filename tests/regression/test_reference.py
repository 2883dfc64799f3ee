"""The file of a reference: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.errors import BenchError, RunDirectoryError, UsageError
from benchmark.regression.comparable import NotComparableError, differences, require_comparable
from benchmark.regression.freeze import freeze
from benchmark.regression.record import Record, record_of
from benchmark.regression.reference import find_reference, read_reference, to_bytes
from benchmark.run import RunDirectory
from tests.regression.records import METRICS, record, with_config
from tests.runs import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(
        tmp_path / "runs", n_images=3, metrics=METRICS, failed=("image0001__golden",),
        scores=lambda metric, image, prompt: None if metric.startswith("face") else len(image) / 7,
    )  # fmt: skip


def rewrite(path: Path, table: pa.Table, **metadata: str) -> None:
    """With the metadata it had, but for what is given."""
    old = pq.read_schema(path).metadata
    new = {f"stylebench.{key}".encode(): value.encode() for key, value in metadata.items()}
    pq.write_table(table.replace_schema_metadata({**old, **new}), path)


def test_what_is_frozen_is_read_again(run: Path, tmp_path: Path) -> None:
    frozen = freeze(run, tmp_path / "refs", force=False)
    assert frozen.path == tmp_path / "refs/mini-64-v1/afhq/ours.parquet"
    found, stored = read_reference(frozen.path), record_of(run)
    assert found.facts == stored.facts
    assert found.statuses == stored.statuses and found.failures == stored.failures
    assert found.failures[2] == "the output is not finite" and found.failures[0] is None
    for name, values in stored.values.items():
        np.testing.assert_array_equal(found.values[name], values)
    assert not list(differences(found, stored))
    assert to_bytes(found) == frozen.path.read_bytes()
    assert frozen.n_bytes < 20_000


def test_nothing_of_the_machine_is_stored(run: Path) -> None:
    data = to_bytes(record_of(run))
    assert b"bench" not in pq.read_schema(pa.BufferReader(data)).metadata[b"stylebench.facts"]
    assert b"2026-01-01" not in data and str(run).encode() not in data


def test_freezing_again_changes_nothing_and_another_run_needs_force(
    run: Path, tmp_path: Path
) -> None:
    refs = tmp_path / "refs"
    assert freeze(run, refs, force=False).written
    assert not freeze(run, refs, force=False).written
    other = write_run(tmp_path / "other", n_images=4, metrics=METRICS)
    with pytest.raises(UsageError, match="--force"):
        freeze(other, refs, force=False)
    assert freeze(other, refs, force=True).written


def test_an_edited_reference_is_refused(run: Path, tmp_path: Path) -> None:
    path = freeze(run, tmp_path / "refs", force=False).path
    table = pq.read_table(path)
    place = table.schema.get_field_index("value")
    raised = pa.array([None if v is None else v + 1e-12 for v in table["value"].to_pylist()])
    rewrite(path, table.set_column(place, "value", raised))
    with pytest.raises(BenchError, match="edited"):
        read_reference(path)
    rewrite(path, table)
    read_reference(path)
    rewrite(path, table.slice(0, 10))
    with pytest.raises(BenchError, match="edited"):
        read_reference(path)
    facts = pq.read_schema(path).metadata[b"stylebench.facts"].decode()
    rewrite(path, table, facts=facts.replace("mini-v1", "mini-v2"))
    with pytest.raises(BenchError, match="edited"):
        read_reference(path)


@pytest.mark.parametrize("version", ["0", "2", "later"])
def test_a_reference_of_another_version_is_refused(run: Path, tmp_path: Path, version: str) -> None:
    path = freeze(run, tmp_path / "refs", force=False).path
    rewrite(path, pq.read_table(path), reference=version)
    with pytest.raises(BenchError, match=f"schema version {version}.*reads 1"):
        read_reference(path)


def test_other_files_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is no reference"):
        read_reference(run / "scores.parquet")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 and no more")
    with pytest.raises(BenchError, match="cannot be read"):
        read_reference(damaged)


def test_a_missing_reference_is_told_with_those_that_are_there(run: Path, tmp_path: Path) -> None:
    refs = tmp_path / "refs"
    with pytest.raises(BenchError, match="There are none"):
        find_reference(refs, "mini-64-v1", "afhq", "ours")
    freeze(run, refs, force=False)
    with pytest.raises(BenchError, match=r"no reference of zecon.*There are: mini-64-v1/afhq/ours"):
        find_reference(refs, "mini-64-v1", "afhq", "zecon")


def test_runs_that_cannot_be_trusted_are_not_frozen(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not scored"):
        record_of(write_run(tmp_path / "unscored", unscored=True))
    with pytest.raises(RunDirectoryError, match="7 of its 8 samples"):
        record_of(write_run(tmp_path / "partial", missing=1))
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        record_of(tmp_path / "nowhere")
    next((run / "images").iterdir()).unlink()
    with pytest.raises(RunDirectoryError, match="removed or changed"):
        record_of(run)
    edited = write_run(tmp_path / "edited")
    (edited / "scores.parquet").write_bytes((run / "scores.parquet").read_bytes())
    with pytest.raises(RunDirectoryError, match="SHA-256"):
        record_of(edited)


def test_scores_with_a_row_missing_are_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    table = pq.read_table(path / "scores.parquet")
    pq.write_table(table.slice(1), path / "scores.parquet")
    directory = RunDirectory(path)
    manifest = directory.read_manifest()
    directory.seal(manifest)
    directory.write_manifest(manifest)
    with pytest.raises(RunDirectoryError, match="no row of clip_score_patch for image0000__golden"):
        record_of(path)


@pytest.fixture
def reference(tmp_path: Path) -> Record:
    return record(tmp_path / "reference")


def refusal(reference: Record, run: Record) -> str:
    with pytest.raises(NotComparableError) as caught:
        require_comparable(reference, run)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_another_seed_is_comparable(reference: Record) -> None:
    require_comparable(reference, with_config(reference, seed=7))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"protocol": "paper-256-v1"}, "protocol: mini-64-v1 in the reference, paper-256-v1 in"),
        ({"fingerprint": "f" * 64}, f"content images: .* in the reference, {'f' * 64} in the run"),
        ({"resolution": 32}, "resolution: 64 in the reference, 32 in the run"),
        ({"models": {"denoiser": "1" * 64}}, f"weights of the method denoiser: {'0' * 64} in the"),
        ({"source_prompt": "A photo"}, "source prompt: Photo in the reference, A photo in the run"),
        ({"precision": "bf16-mixed"}, "precision: 32-true in the reference, bf16-mixed in the run"),
        ({"method_config": {"t0": 3}}, "t0: 25 in the reference, 3 in the run"),
        ({"method_config": {"tO": 3}}, r"tO: \(not there\) in the reference, 3 in the run"),
    ],
)  # fmt: skip
def test_every_difference_is_named_with_both_values(
    reference: Record, changes: dict[str, object], told: str
) -> None:
    message = refusal(reference, with_config(reference, **changes))
    assert re.search(told, message), message
    assert "no regression" in message


def test_only_a_config_may_be_waved_through(reference: Record) -> None:
    other = with_config(reference, method_config={"t0": 3})
    assert "--any-config" in refusal(reference, other)
    require_comparable(reference, other, any_config=True)
    with pytest.raises(NotComparableError) as caught:
        require_comparable(reference, with_config(other, resolution=32), any_config=True)
    assert "resolution" in str(caught.value) and "t0" not in str(caught.value)


def test_a_knob_that_came_later_stands_at_its_default(reference: Record) -> None:
    later = {**reference.facts.manifest.config.method_config, "encoder_blocks": [0, 2, 5, 8, 11]}
    require_comparable(reference, with_config(reference, method_config=later))
    message = refusal(
        reference, with_config(reference, method_config={**later, "encoder_blocks": [0, 2]})
    )
    assert "encoder_blocks: [0, 2, 5, 8, 11] in the reference, [0, 2] in the run" in message
    gone = with_config(reference, method_config=later)
    assert "encoder_blocks" in refusal(gone, reference)


def test_samples_prompts_judges_versions_and_protocol_content_count(
    reference: Record, tmp_path: Path
) -> None:
    fewer = refusal(reference, record(tmp_path / "fewer", n_images=7))
    assert "samples: image0007__golden, image0007__red-bricks in the reference" in fewer
    prompts = record(tmp_path / "prompts", prompts={"golden": "Golden", "red-bricks": "Bricks"})
    assert '"text": "Bricks"' in refusal(reference, prompts)

    def with_facts(**changes: object) -> Record:
        facts = json.loads(reference.facts.model_dump_json())
        for key, value in changes.items():
            facts[key] |= value
        loaded = type(reference.facts).model_validate(facts)
        return Record(loaded, reference.image_ids, reference.prompt_ids, reference.values,
                      reference.statuses)  # fmt: skip

    judged = with_facts(manifest={"models": {"judge": {"sha256": "2" * 64}}})
    assert f"weights of the judge judge: (not there) in the reference, {'2' * 64}" in refusal(
        reference, judged
    )
    version = with_facts(metric_versions={"lpips_vgg": 2})
    assert "version of the metric lpips_vgg: 1 in the reference, 2 in the run" in refusal(
        reference, version
    )
    content = with_facts(protocol={"resize_filter": "box"})
    assert "protocol content resize_filter: lanczos in the reference, box in the run" in refusal(
        reference, content
    )
    less = record(tmp_path / "less", metrics=METRICS[:2])
    assert "version of the metric lpips_vgg: 1 in the reference, (not there)" in refusal(
        reference, less
    )
    # a metric that came later is no difference
    require_comparable(record(tmp_path / "before", metrics=METRICS[:2]), reference)
