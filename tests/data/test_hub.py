"""The hub's API spoken by a local server: what is fetched, what is kept, and every way to fail."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cards import KeyedRows, load_card
from data.decode import decode, square
from tests.data.hub_server import (
    COMMIT,
    OTHER_COMMIT,
    Fault,
    Hub,
    Repository,
    picture,
    serve,
)
from tests.data.test_decode import bomb

ROOT = Path(__file__).resolve().parents[2]
Result = dict[str, Any]
Freeze = Callable[..., Result]


def parquet(
    images: Sequence[bytes | None], labels: Sequence[int] | None = None, group: int = 5
) -> bytes:
    """As ``datasets`` writes it: image structs, class names in the schema's metadata."""
    columns: dict[str, Any] = {"image": [{"bytes": data, "path": None} for data in images]}
    fields = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if labels is not None:
        columns["label"] = list(labels)
        fields.append(("label", pa.int64()))
        features["label"] = {"names": ["cat", "dog", "wild"], "_type": "ClassLabel"}
    facts = json.dumps({"info": {"features": features}})
    table = pa.Table.from_pydict(columns, pa.schema(fields, metadata={"huggingface": facts}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=group, compression="none", use_dictionary=False)
    return buffer.getvalue()


def shards(count: int, files: int, group: int = 5, more: int = 0) -> dict[str, bytes]:
    """``count`` pictures in ``files`` Parquet files, each followed by ``more`` bytes."""
    each = count // files
    return {
        f"data/train-{k:05d}-of-{files:05d}.parquet": parquet(
            [picture(i) + bytes(more) for i in range(k * each, (k + 1) * each)], group=group
        )
        for k in range(files)
    }


def expected(rows: Sequence[int], size: int = 8) -> list[str]:
    """Pixel hashes of the pictures of rows, without any source."""
    return [
        hashlib.sha256(square(decode(picture(row)), size, "box").tobytes()).hexdigest()
        for row in rows
    ]


def row_ids(rows: Sequence[int]) -> list[str]:
    return [f"row-{row:06d}" for row in rows]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serve({}) as running:
        yield running


@pytest.fixture(scope="module")
def worker(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("hf")),
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.data.hub_worker"], env=env, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


@pytest.fixture
def repository(hub: Hub, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Put a repository on the hub under a name of the test's own."""
    hub.faults.clear()
    hub.requests.clear()

    def put(files: dict[str, bytes], **facts: Any) -> str:
        digest = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:10]
        name = f"owner/set-{digest}"
        hub.repositories[name] = Repository(files, **facts)
        return name

    return put


@pytest.fixture
def freeze(worker: subprocess.Popen[str], tmp_path: Path) -> Freeze:
    def run(name: str, samples: dict[str, Any], **options: Any) -> Result:
        location = {
            "id": name, "revision": COMMIT[:7], "split": "train", "image_column": "image",
            "gated": False, **options.pop("location", {}),
        }  # fmt: skip
        job = {"location": location, "samples": samples, "cache": str(tmp_path / "cache"),
               "result": str(tmp_path / f"{time.monotonic_ns()}.json"), **options}  # fmt: skip
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps(job) + "\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "done\n"
        path = Path(job["result"])
        if not job.get("wait", True):
            return {"result": path}
        result: Result = json.loads(path.read_text()) if path.exists() else {"died": True}
        assert "crash" not in result, result
        return result

    return run


# Normal streaming ---------------------------------------------------------------------------------


def test_parquet_gives_the_wanted_rows_in_order_at_the_pinned_commit(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    name = repository(shards(40, 2))
    rows = [1, 7, 8, 19, 20, 33]
    result = freeze(name, {"rows": rows})
    assert result["ids"] == row_ids(rows)
    assert result["pixels"] == expected(rows)
    assert result["originals"] == [hashlib.sha256(picture(row)).hexdigest() for row in rows]
    assert result["origin"] == {"commit": COMMIT, "rows": rows}
    data = [path for _, path, _, _ in hub.requests if path.endswith(".parquet")]
    assert data
    assert all(f"/resolve/{COMMIT}/" in path for path in data)


@pytest.mark.parametrize("layout", ["parquet", "files"])
def test_contract(repository: Callable[..., str], freeze: Freeze, layout: str) -> None:
    """What ``test_source_contract.py`` asks of the other sources."""
    files = {f"train/{i}.png": picture(i) for i in range(8)}
    name = repository(files if layout == "files" else shards(8, 2, group=3))
    result = freeze(name, {"first": 5, "of": 8, "key": "a"}, contract=True)
    assert len(set(result["ids"])) == 5
    assert result["ids"] == result["again"] == result["streamed"]
    assert result["equal"] and result["some"] and result["left_early"] and result["facts"]
    assert result["modes"] == ["RGB"] * 5


def test_keyed_rows_are_those_with_the_smallest_hashes(
    repository: Callable[..., str], freeze: Freeze
) -> None:
    name = repository(shards(40, 2))
    result = freeze(name, {"first": 6, "of": 25, "key": "k"})
    ranked = sorted(range(25), key=lambda row: hashlib.sha256(f"k/{row}".encode()).hexdigest())
    assert result["ids"] == row_ids(sorted(ranked[:6]))


@given(st.integers(1, 20), st.integers(0, 30), st.text(max_size=5))
def test_draw_is_a_rising_choice_that_grows_with_first(first: int, more: int, key: str) -> None:
    rows = list(range(100, 100 + first + more))
    drawn = KeyedRows(first=first, of=first + more, key=key).draw(rows)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == first
    assert set(drawn) <= set(rows)
    if more:
        wider = KeyedRows(first=first + 1, of=first + more, key=key).draw(rows)
        assert set(drawn) < set(wider)


def test_only_what_is_needed_travels(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    """Large images: the other row groups and the second file's images stay where they are."""
    files = shards(20, 2, group=2, more=200_000)
    first, second = files
    name = repository(files)
    result = freeze(name, {"rows": [2, 3]})
    assert result["ids"] == row_ids([2, 3])
    assert hub.bytes_sent(first) < 700_000, "one row group of five and a footer"
    assert hub.bytes_sent(second) == 0


def test_label_is_looked_up_without_fetching_images_of_others(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    labels = [0] * 20 + [1] * 15 + [2] * 5
    images = [picture(i) + bytes(50_000) for i in range(40)]
    name = repository({"data/train-00000-of-00001.parquet": parquet(images, labels)})
    label = {"column": "label", "value": "dog"}
    result = freeze(name, {"first": 5, "of": 10, "key": "a"}, location={"label": label})
    numbers = [int(image_id[4:]) for image_id in result["ids"]]
    assert len(numbers) == 5
    assert all(20 <= number < 30 for number in numbers)
    assert result["pixels"] == expected(numbers)
    assert hub.bytes_sent(".parquet") < 12 * 50_000, "cats and wild animals were not read"


def test_image_files_with_labels_in_folder_names(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    files = {f"train/{kind}/{i}.png": picture(10 * k + i)
             for k, kind in enumerate(("cat", "dog")) for i in range(4)}  # fmt: skip
    name = repository(files)
    label = {"column": "label", "value": "dog"}
    result = freeze(name, {"first": 3, "of": 4, "key": "a"}, location={"label": label})
    numbers = [int(image_id[4:]) for image_id in result["ids"]]
    assert len(numbers) == 3
    assert result["pixels"] == expected([10 + number - 4 for number in numbers])
    assert not [path for _, path, _, _ in hub.requests if "/cat/" in path]
    fetched = [path for method, path, _, _ in hub.requests if path.endswith(".png")]
    assert len(fetched) == 3


def test_tar_shards_are_streamed(repository: Callable[..., str], freeze: Freeze) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(6):
            data = picture(i)
            member = tarfile.TarInfo(f"{i:05d}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    name = repository({"train-00000.tar": buffer.getvalue()})
    result = freeze(name, {"rows": [1, 4]}, location={"image_column": "png"})
    assert result["pixels"] == expected([1, 4])
    message = freeze(name, {"rows": [1, 40]}, location={"image_column": "png"})["error"]
    assert "has 6 rows" in message and "row 40" in message


def test_another_resolution_and_limit_need_no_download(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    name = repository(shards(20, 1))
    freeze(name, {"rows": [3, 5, 9]})
    hub.requests.clear()
    again = freeze(name, {"rows": [3, 5, 9]})
    larger = freeze(name, {"rows": [3, 5, 9]}, size=12)
    fewer = freeze(name, {"rows": [3, 5, 9]}, limit=2)
    assert hub.requests == []
    assert again["ids"] == larger["ids"] == row_ids([3, 5, 9])
    assert larger["pixels"] == expected([3, 5, 9], 12)
    assert fewer["ids"] == row_ids([3, 5])


def test_two_machines_get_the_same_fingerprint(
    repository: Callable[..., str], freeze: Freeze, tmp_path: Path
) -> None:
    name = repository(shards(20, 1))
    one = freeze(name, {"first": 4, "of": 20, "key": "a"})
    two = freeze(name, {"first": 4, "of": 20, "key": "a"}, cache=str(tmp_path / "elsewhere"))
    assert one["fingerprint"] == two["fingerprint"]


def test_processes_that_race_fetch_every_image_once(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    files = {f"train/{i}.png": picture(i) for i in range(6)}
    name = repository(files)
    hub.faults.append(Fault("/train/0.png", delay=0.5))
    paths = [freeze(name, {"rows": list(range(6))}, wait=False)["result"] for _ in range(3)]
    deadline = time.monotonic() + 60
    while not all(path.exists() and path.stat().st_size for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.1)
    results = [json.loads(path.read_text()) for path in paths]
    assert all(result["pixels"] == expected(range(6)) for result in results)
    fetched = sorted(path for _, path, _, _ in hub.requests if path.endswith(".png"))
    assert len(fetched) == len(set(fetched)) == 6


# Faults -------------------------------------------------------------------------------------------


def test_cut_download_goes_on_at_the_byte_where_it_was_cut(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    data = picture(0) + os.urandom(3_000_000)
    name = repository({"train/0.png": data, "train/1.png": picture(1)})
    hub.faults.append(Fault("/train/0.png", times=2, cut_after=1_200_000))
    result = freeze(name, {"rows": [0, 1]})
    assert result["pixels"] == expected([0, 1])
    assert result["originals"][0] == hashlib.sha256(data).hexdigest()
    ranges = [wanted for _, path, wanted, _ in hub.requests if path.endswith("/0.png")]
    starts = [int(str(wanted).removeprefix("bytes=").removesuffix("-")) for wanted in ranges[1:]]
    assert ranges[0] is None
    assert 1_180_000 < starts[0] <= 1_200_000
    assert 1_180_000 < starts[1] - starts[0] <= 1_200_000
    assert sum("was cut; trying again" in line for line in result["log"]) == 2


def test_cut_inside_a_shard(hub: Hub, repository: Callable[..., str], freeze: Freeze) -> None:
    name = repository(shards(40, 2, more=30_000))
    hub.faults.append(Fault(".parquet", times=5, cut_after=40_000))
    result = freeze(name, {"rows": list(range(0, 40, 3))})
    assert result["pixels"] == expected(range(0, 40, 3))
    assert any("was cut" in line for line in result["log"])


def test_download_that_ends_for_good_is_taken_up_where_it_stopped(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    name = repository({f"train/{i:03d}.png": picture(i) for i in range(9)})
    rows = {"rows": list(range(9))}
    hub.faults.append(Fault("/train/004.png", times=-1, cut_after=0))
    stopped = freeze(name, rows)
    assert "the connection was cut, 3 times without progress" in stopped["error"]
    assert "Run the same command again" in stopped["error"]
    hub.faults.clear()
    hub.requests.clear()
    result = freeze(name, rows)
    assert result["pixels"] == expected(range(9))
    fetched = [path[-7:-4] for _, path, _, _ in hub.requests if path.endswith(".png")]
    assert fetched == ["004", "005", "006", "007", "008"]


def test_killed_twice_without_a_chance_to_tidy_up(
    hub: Hub, repository: Callable[..., str], freeze: Freeze, tmp_path: Path
) -> None:
    """Every image once, in order, as if nothing had happened; what was finished is kept."""
    count = 200
    name = repository(shards(count, 2, group=10, more=5_000))
    rows = {"rows": list(range(count))}
    for images in (70, 75):
        assert freeze(name, rows, die_after=images) == {"died": True}
    hub.requests.clear()
    result = freeze(name, rows)
    assert result["ids"] == row_ids(range(count))
    assert result["pixels"] == expected(range(count))
    first = next(iter(hub.repositories[name].files))
    assert hub.bytes_sent(first) < len(hub.repositories[name].files[first]) / 2
    kept = [image_id for path in (tmp_path / "cache" / "originals").rglob("0*.parquet")
            for image_id in pq.read_table(path)["id"].to_pylist()]  # fmt: skip
    assert sorted(kept) == row_ids(range(count)), "no duplicates"
    assert not list((tmp_path / "cache").rglob("*.part*/*"))
    fresh = freeze(name, rows, cache=str(tmp_path / "uncut"))
    assert fresh["fingerprint"] == result["fingerprint"]


@pytest.mark.parametrize("where", ["/revision/", "/paths-info/", ".parquet", "/api/datasets/"])
def test_errors_that_pass(
    hub: Hub, repository: Callable[..., str], freeze: Freeze, where: str
) -> None:
    name = repository(shards(20, 1))
    hub.faults.append(Fault(where, times=2 if where != "/revision/" else 1, status=503))
    assert freeze(name, {"rows": [2, 11]})["pixels"] == expected([2, 11])


@pytest.mark.parametrize("where", [".parquet", "/api/datasets/"])
def test_server_error_that_stays(
    hub: Hub, repository: Callable[..., str], freeze: Freeze, where: str
) -> None:
    name = repository(shards(20, 1))
    hub.faults.append(Fault(where, times=-1, status=500))
    message = freeze(name, {"rows": [2]})["error"]
    assert name in message
    assert "answers 500 Internal Server Error, 3 times without progress. Run the same" in message


def test_too_many_requests(hub: Hub, repository: Callable[..., str], freeze: Freeze) -> None:
    name = repository(shards(20, 1))
    hub.faults.append(Fault(".parquet", status=429, retry_after=1))
    started = time.monotonic()
    result = freeze(name, {"rows": [2]})
    assert time.monotonic() - started >= 1
    assert result["pixels"] == expected([2])
    assert any("429" in line and "again in 1.0 s" in line for line in result["log"])
    hub.faults.append(Fault(".parquet", status=429, retry_after=86400, times=-1))
    message = freeze(name, {"rows": [3]})["error"]
    assert "the server asks to wait 86400 s" in message


def test_slow_server(hub: Hub, repository: Callable[..., str], freeze: Freeze) -> None:
    name = repository(shards(20, 1))
    hub.faults.append(Fault(".parquet", delay=1.0))
    result = freeze(name, {"rows": [2]}, retry={"timeout": 0.4})
    assert result["pixels"] == expected([2])
    assert any("too slow" in line for line in result["log"])
    hub.faults.append(Fault(".parquet", delay=0.6, times=-1))
    message = freeze(name, {"rows": [3]}, retry={"timeout": 0.2})["error"]
    assert "the server is too slow (timeout), 3 times" in message


def test_gated(hub: Hub, repository: Callable[..., str], freeze: Freeze) -> None:
    name = repository(shards(20, 1), token="hf_good")
    mirrors = ["--source hub:other/copy"]
    without = freeze(name, {"rows": [2]}, mirrors=mirrors)["error"]
    assert f"{name} is gated. Accept its terms at {hub.url}/datasets/{name}" in without
    assert "set HF_TOKEN. Or take a mirror: --source hub:other/copy" in without
    refused = freeze(name, {"rows": [2]}, token="hf_bad")["error"]
    assert "the hub refuses your token for it. Accept its terms" in refused
    assert "hf_bad" not in refused
    assert freeze(name, {"rows": [2]}, token="hf_good")["pixels"] == expected([2])


def test_large_files_on_another_host(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    """The range goes along, the token does not; the commit is that of the redirect."""
    name = repository(shards(40, 2, more=9_000), token="hf_good", elsewhere=True)
    result = freeze(name, {"rows": [2, 39]}, token="hf_good")
    assert result["pixels"] == expected([2, 39])
    contents = [wanted for _, path, wanted, _ in hub.requests if path.startswith("/contents/")]
    assert contents
    assert all(str(wanted).startswith("bytes=") for wanted in contents)
    hub.repositories[name].served_commit = OTHER_COMMIT
    assert "Nothing of it is used" in freeze(name, {"rows": [3]}, token="hf_good")["error"]


def test_revisions(hub: Hub, repository: Callable[..., str], freeze: Freeze) -> None:
    gone = freeze(repository(shards(20, 1), commit=OTHER_COMMIT), {"rows": [2]})["error"]
    assert f"no revision {COMMIT[:7]}" in gone
    assert OTHER_COMMIT in gone
    name = repository(shards(20, 1), commit=OTHER_COMMIT, kept=(COMMIT,))
    for revision in (COMMIT, COMMIT[:7]):
        old = freeze(name, {"rows": [2]}, location={"revision": revision})
        assert old["origin"]["commit"] == COMMIT
    newest = freeze(name, {"rows": [2]}, location={"revision": None})
    assert newest["origin"]["commit"] == OTHER_COMMIT
    assert any("pins no revision" in line for line in newest["log"])


def test_server_that_gives_another_commit(repository: Callable[..., str], freeze: Freeze) -> None:
    name = repository(shards(20, 1), served_commit=OTHER_COMMIT)
    message = freeze(name, {"rows": [2]})["error"]
    assert COMMIT in message
    assert OTHER_COMMIT in message
    assert "Nothing of it is used" in message


def test_unpinned_revision_that_moves_between_two_attempts(
    hub: Hub, repository: Callable[..., str], freeze: Freeze
) -> None:
    """What was begun at one commit is never finished with another's images."""
    name = repository({f"train/{i}.png": picture(i) for i in range(4)})
    unpinned = {"location": {"revision": None}}
    hub.faults.append(Fault("/train/2.png", times=-1, cut_after=0))
    assert "cut" in freeze(name, {"rows": [0, 1, 2, 3]}, **unpinned)["error"]
    hub.faults.clear()
    hub.repositories[name].commit = OTHER_COMMIT
    message = freeze(name, {"rows": [0, 1, 2, 3]}, **unpinned)["error"]
    assert COMMIT in message
    assert OTHER_COMMIT in message
    hub.repositories[name].kept = (COMMIT,)
    result = freeze(name, {"rows": [0, 1, 2, 3]}, **unpinned)
    assert result["origin"]["commit"] == COMMIT


def test_dataset_that_is_not_there(hub: Hub, freeze: Freeze) -> None:
    message = freeze("owner/nothing", {"rows": [0]})["error"]
    assert f"{hub.url} has no dataset owner/nothing: it was moved or removed" in message


def test_file_that_is_not_there(repository: Callable[..., str], freeze: Freeze, hub: Hub) -> None:
    name = repository(shards(20, 1))
    hub.faults.append(Fault(f"resolve/{COMMIT}/data/", times=-1, status=404))
    message = freeze(name, {"rows": [0]})["error"]
    assert f"has no file data/train-00000-of-00001.parquet at {COMMIT}" in message


def test_truncated_shards(repository: Callable[..., str], freeze: Freeze) -> None:
    files = shards(20, 1)
    [(path, data)] = files.items()
    name = repository({path: data[: len(data) // 2]}, sizes={path: len(data)})
    message = freeze(name, {"rows": [0]})["error"]
    assert f"{path} is truncated: the hub lists" in message
    name = repository({path: data[: len(data) // 2]}, commit=OTHER_COMMIT)
    message = freeze(name, {"rows": [0]}, location={"revision": OTHER_COMMIT})["error"]
    assert f"{path} is truncated or no Parquet file" in message


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ({"image_column": "picture"}, "no column 'picture'; its columns are image, label"),
        ({"label": {"column": "kind", "value": "dog"}}, "no column 'kind'; its columns are image"),
        ({"label": {"column": "label", "value": "bird"}}, "no class 'bird', but cat, dog, wild"),
        ({"label": {"column": "label", "value": "wild"}}, "no rows whose label is 'wild'"),
        ({"split": "test"}, "no split 'test', but train"),
        ({"image_column": "label"}, "its row holds no image bytes"),
    ],
)
def test_other_layout_than_the_cards(
    repository: Callable[..., str], freeze: Freeze, location: dict[str, Any], words: str
) -> None:
    images = parquet([picture(i) for i in range(10)], [0, 1] * 5)
    name = repository({"data/train-00000-of-00001.parquet": images})
    samples = {"first": 2, "of": 5, "key": "a"}
    assert words in freeze(name, samples, location=location)["error"]


def test_empty_and_short_splits(repository: Callable[..., str], freeze: Freeze) -> None:
    name = repository({"data/train-00000-of-00001.parquet": parquet([])})
    keyed = {"first": 2, "of": 5, "key": "a"}
    assert "the split 'train' has no rows" in freeze(name, keyed)["error"]
    name = repository(shards(4, 1), commit=OTHER_COMMIT)
    other = {"location": {"revision": OTHER_COMMIT}}
    assert (
        "has 4 rows, and the sample list is drawn from the first 5"
        in (freeze(name, keyed, **other)["error"])
    )
    assert (
        "has 4 rows, and the sample list wants row 9"
        in (freeze(name, {"rows": [0, 9]}, **other)["error"])
    )


def test_rows_that_are_no_images(repository: Callable[..., str], freeze: Freeze) -> None:
    images = [picture(0), b"not an image", None, picture(3)]
    name = repository({"data/train-00000-of-00001.parquet": parquet(images)})
    rows = {"rows": [0, 1, 2, 3]}
    message = freeze(name, rows)["error"]
    assert "row 1 cannot be used: it cannot be decoded" in message
    assert "Pass over such images with --on-bad-image skip" in message
    result = freeze(name, rows, on_bad_image="skip")
    assert result["ids"] == row_ids([0, 3])
    assert [item["reason"][:20] for item in result["skipped"]] == [
        "it cannot be decoded", "its row holds no ima",
    ]  # fmt: skip


def test_bombs_are_refused_within_a_memory_bound(
    repository: Callable[..., str], freeze: Freeze
) -> None:
    """100,000 x 100,000 pixels would be 30 GB; a sound image beside them is still used."""
    images = [bomb(100_000), bomb(20_000), picture(2)]
    name = repository({"data/train-00000-of-00001.parquet": parquet(images)})
    result = freeze(name, {"rows": [0, 1, 2]}, on_bad_image="skip")
    assert result["ids"] == row_ids([2])
    assert all("pixels" in item["reason"] for item in result["skipped"])
    assert result["grown_mib"] < 200


def test_changed_original_in_the_cache_is_refused(
    repository: Callable[..., str], freeze: Freeze, tmp_path: Path
) -> None:
    name = repository(shards(20, 1))
    freeze(name, {"rows": [0, 1]})
    [path] = (tmp_path / "cache" / "originals").rglob("0*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["data"] = rows[1]["data"]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    message = freeze(name, {"rows": [0, 1]}, size=4)["error"]
    assert f"{path}, where downloaded images are kept, is damaged or was changed" in message
    path.unlink()
    assert freeze(name, {"rows": [0, 1]}, size=4)["pixels"] == expected([0, 1], 4)


# The command --------------------------------------------------------------------------------------


def bench(cwd: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("bench")), "run", "--method", "identity", "--dataset",
        "afhq", "--prompts", "golden", "--out", "runs", *arguments,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_bench_run_on_the_hub_then_offline(tmp_path: Path) -> None:
    """The card of AFHQ as it stands, with a hub that holds a small AFHQ at the pinned commit."""
    facts = load_card("afhq").hub
    labels = [0] * 10 + [1] * 200
    images = [picture(i, 70) for i in range(210)]
    commit = f"{facts.revision}" + "0" * (40 - len(str(facts.revision)))
    files = {"data/train-00000-of-00001.parquet": parquet(images, labels, group=50)}
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {
        "HF_HOME": str(tmp_path / "hf"), "STYLEBENCH_CACHE": str(tmp_path / "cache"),
        "COLUMNS": "200", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    with serve({facts.id: Repository(files, commit=commit)}) as hub:
        env["HF_ENDPOINT"] = hub.url
        done = bench(tmp_path, env, "--source", "hub", "--limit", "3")
    assert done.returncode == 0, done.stderr
    [manifest] = (tmp_path / "runs").rglob("manifest.json")
    stored = json.loads(manifest.read_text())
    source = stored["dataset"]["source"]
    assert source["name"] == "hub"
    assert source["id"] == facts.id
    assert source["revision"] == facts.revision
    assert source["commit"] == commit
    assert source["label"] == {"column": "label", "value": "dog"}
    assert source["samples"] == {"first": 40, "of": 200, "key": "stylebench-1"}
    assert stored["config"]["stand_in"] is False
    assert stored["stand_in_note"] is None
    drawn = KeyedRows(first=40, of=200, key="stylebench-1").draw(range(10, 210))
    assert [name.split("__")[0] for name in stored["sample_ids"]] == row_ids(drawn[:3])
    assert source["rows"] == drawn[:3]

    env["HF_HUB_OFFLINE"] = "1"
    offline = bench(tmp_path, env, "--source", "hub", "--limit", "3", "--existing", "overwrite")
    assert offline.returncode == 0, offline.stderr
    env["STYLEBENCH_CACHE"] = str(tmp_path / "empty")
    refused = bench(tmp_path, env, "--source", "hub", "--limit", "3")
    assert refused.returncode == 1
    [line] = [line for line in refused.stderr.splitlines() if line.strip()]
    assert line.startswith("error: HF_HUB_OFFLINE is set")
    assert "Unset it for the first run" in line
