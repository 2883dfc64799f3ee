"""Plans: real configs are checked beforehand, shards split them, the folder keeps them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.errors import DataError, RunDirectoryError, UsageError
from benchmark.sweep.command import duration
from benchmark.sweep.estimate import NEAREST, OWN, PROFILE, UNKNOWN, standings, total_left
from benchmark.sweep.file import SweepFile
from benchmark.sweep.folder import SweepFolder
from benchmark.sweep.plan import Plan, Shard, plan_runs, requests_of
from benchmark.sweep.session import Session
from benchmark.sweep.workers import device_list


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Session()


def _plan(session: Session, runs: Path, **content: object) -> Plan:
    basis = {"methods": ["ours"], "datasets": ["afhq"], "limit": 1, "prompts": "golden"}
    file = SweepFile.model_validate({**basis, **content})
    requests = requests_of(
        file, Path("the-sweep.yaml"), runs=runs, weights_dir=None, accelerator="cpu"
    )
    return plan_runs("the-sweep", requests, session)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"grid": {"t00": [5]}}, ["grid", "'t00'", "Did you mean: t0"]),
        ({"grid": {"t0": [5, 99]}}, ["grid", "t0=99", "cannot exceed respacing (50)"]),
        ({"grid": {"t0": ["many"]}}, ["grid: t0", "'many'"]),
        ({"list": [{"t0": 5}, {"vgg": -1}]}, ["list[2]: vgg", "-1"]),
        ({"config": {"mse": "x"}}, ["config: mse", "'x'"]),
        ({"methods": ["our"]}, ["unknown method 'our'", "ours"]),
        ({"methods": ["ours", "zecon"], "grid": {"attention": ["local"]}},
         ["grid", "'attention'", "'zecon'"]),
        ({"datasets": ["afgq"]}, ["unknown dataset 'afgq'", "afhq"]),
        ({"protocol": "mini"}, ["unknown protocol 'mini'"]),
        ({"prompts": "goldne"}, ["goldne"]),
        ({"methods": ["recolor"]}, ["recolor is not guided by prompts"]),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_with_its_place(
    session: Session, tmp_path: Path, content: dict[str, object], parts: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        _plan(session, tmp_path, **content)
    for part in ["the-sweep.yaml", *parts]:
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_equal_runs_are_made_once_and_keep_all_their_points(
    session: Session, tmp_path: Path
) -> None:
    plan = _plan(session, tmp_path, list=[{"t0": 25}, {}, {"t0": 25.0}, {"t0": 4}])
    assert [run.settings for run in plan.runs] == [({"t0": 25}, {}), ({"t0": 4},)]
    assert plan.n_samples == 2
    both = _plan(session, tmp_path, methods=["ours", "zecon"], seed=[0, 1], grid={"vgg": [0, 1]})
    assert len({run.path for run in both.runs}) == 8


def test_images_of_ones_own_take_the_place_of_the_datasets(
    session: Session, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.linear_gradient("L").convert("RGB").save(photos / "slope.png")
    usual = _plan(session, tmp_path).runs[0].resolved
    own = _plan(session, tmp_path, images=str(photos), limit=None)
    assert own.n_samples == 1
    assert own.runs[0].resolved.fingerprint != usual.fingerprint
    folders = {"afhq": str(photos), "imagenet": str(photos)}
    each = _plan(session, tmp_path, datasets=list(folders), images=folders, limit=None)
    assert each.n_samples == 2
    assert {run.resolved.fingerprint for run in each.runs} == {own.runs[0].resolved.fingerprint}
    with pytest.raises(DataError, match="nowhere"):
        _plan(session, tmp_path, images=str(tmp_path / "nowhere"))


@given(st.sets(st.text("0123456789abcdef", min_size=12, max_size=12)), st.integers(1, 9))
def test_shards_cover_every_run_once_whatever_the_order(hashes: set[str], count: int) -> None:
    shards = [Shard(index, count).of(list(hashes)) for index in range(1, count + 1)]
    assert sorted(name for shard in shards for name in shard) == sorted(hashes)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert shards[0] == Shard(1, count).of(sorted(hashes, reverse=True))


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2"])
def test_bad_shards_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected i/n"):
        Shard.parse(text)
    assert str(Shard.parse("2/3")) == "2/3"


def test_the_folder_takes_up_its_own_sweep_and_refuses_another(
    session: Session, tmp_path: Path
) -> None:
    folder = SweepFolder(tmp_path / "folder")
    plan = _plan(session, tmp_path, grid={"t0": [2, 3]})
    folder.open(plan, "one")
    folder.record(plan.runs[0].config_hash, "failed", "no reason", 2.5)
    folder.open(plan, "comments were added")  # the same runs
    assert [run.state for run in folder.read().runs] == ["failed", "planned"]
    assert folder.read().runs[0].path.startswith("../mini-64-v1/afhq/ours/")
    other = _plan(session, tmp_path, grid={"t0": [3, 4, 5]})
    with pytest.raises(RunDirectoryError, match="2 of the 3 runs of this one are not in it, and 1"):
        folder.open(other, "two")
    with pytest.raises(RunDirectoryError, match="weights, images, prompts or the version"):
        folder.open(other, "one")
    folder.record_path.write_text("{")
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        folder.open(plan, "one")


def test_a_shard_is_locked_and_others_may_write_beside_it(session: Session, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    plan = _plan(session, tmp_path, grid={"t0": list(range(1, 21))})
    folder.open(plan, "one")
    with folder.lock(Shard(1, 2)):
        with (
            pytest.raises(RunDirectoryError, match="another process works"),
            folder.lock(Shard(1, 2)),
        ):
            pass
        with folder.lock(Shard(2, 2)):
            pass
    writers = [
        threading.Thread(target=folder.record, args=(run.config_hash, "complete"))
        for run in plan.runs
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {run.state for run in folder.read().runs} == {"complete"}


def test_estimates_come_from_the_nearest_thing_measured(session: Session, tmp_path: Path) -> None:
    plan = _plan(session, tmp_path, limit=2, grid={"t0": [2, 3], "vgg": [0, 1]})
    assert [standing.basis for standing in standings(plan)] == [UNKNOWN] * 4
    assert total_left(standings(plan)) == (0.0, 4)
    home = plan.runs[0].path.parent
    home.mkdir(parents=True)
    (home / "profile.json").write_text(json.dumps({"seconds_per_image": 3.0}))
    assert [standing.seconds_left for standing in standings(plan)] == [6.0] * 4
    assert standings(plan)[0].basis == PROFILE
    _finish_one_sample(plan, 0, seconds=5.0)
    found = standings(plan)
    assert [standing.basis for standing in found] == [OWN, NEAREST, NEAREST, NEAREST]
    assert [standing.seconds_left for standing in found] == [5.0, 10.0, 10.0, 10.0]
    _finish_one_sample(plan, 3, seconds=1.0)
    # t0=3, vgg=0 is one key away from both: their median; the other is one away from both as well
    assert [standing.seconds_left for standing in standings(plan)] == [5.0, 6.0, 6.0, 1.0]
    (home / "profile.json").write_text("[1")
    assert standings(replace(plan, runs=plan.runs[:1]))[0].basis == OWN


def _finish_one_sample(plan: Plan, place: int, seconds: float) -> None:
    """One of two chunks, as a stopped run leaves it."""
    import hashlib

    from benchmark.pictures import encode_png
    from benchmark.records import ChunkRecord, Manifest, SampleRecord
    from benchmark.run import RunDirectory
    from tests.runs import picture

    run = plan.runs[place]
    directory = RunDirectory(run.path)
    directory.images_path.mkdir(parents=True)
    directory.chunks_path.mkdir()
    data = encode_png(picture("one"))
    sample = SampleRecord(
        sample_id=run.sample_ids[0], image_id="x", prompt_id="golden", prompt="Golden",
        source_prompt="Photo", domain="dogs", status="ok", sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    directory.write_chunk(
        ChunkRecord(chunk=0, samples=(sample,), seconds=seconds, peak_memory_mib=1.0, warm=False,
                    rank=0),
        [data],
    )  # fmt: skip
    directory.write_manifest(
        Manifest(
            config=run.resolved, config_hash=run.config_hash, status="partial", dataset={},
            models={}, sample_ids=list(run.sample_ids), batch_size=1, execution={}, versions={},
            git_revision=None, hardware={}, command=[], started="2026-01-01T00:00:00+00:00",
        )
    )  # fmt: skip
    assert run.finished_samples() == 1
    assert not run.is_complete()


def test_devices_and_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_list("auto", None, None) == []
    assert device_list("cpu", None, 1) == []
    assert device_list("cpu", None, 3) == ["1", "1", "1"]
    with pytest.raises(UsageError, match="no accelerator to choose"):
        device_list("auto", "0,1", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_list("auto", None, None) == ["0,", "1,"]
    assert device_list("gpu", "1", None) == ["1,"]
    assert device_list("cpu", None, None) == []
    for bad in ("2", "0,0", "-1", "a", ""):
        with pytest.raises(UsageError, match="--devices"):
            device_list("gpu", bad, None)
    with pytest.raises(UsageError, match="--jobs 2 is for a CPU"):
        device_list("auto", None, 2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0, "0 s"), (89, "89 s"), (120, "2 min"), (3899, "1 h 05 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
