"""Checkpoints come whole and right from servers that fail in every way, or not at all."""

from __future__ import annotations

import email.utils
import hashlib
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import models, registry
from benchmark.zoo.add import add_file
from benchmark.zoo.checkpoint_file import verify_file
from benchmark.zoo.download import CHUNK, Patience
from benchmark.zoo.drive import download_address
from benchmark.zoo.fetch import fetch
from benchmark.zoo.models import ModelZoo, build, inventory
from benchmark.zoo.registry import ModelCard, model_card, model_ids
from benchmark.zoo.weights_lock import LOCK_FILE, read_lock
from tests.file_server import FileServer, Resource

QUICK = Patience(attempts=4, first_pause=0.01, longest_pause=3.0, read_timeout=5.0)
BODY = save({"w": torch.arange(150_000, dtype=torch.float32)})  # 600 kB, ten chunks
OTHER = save({"w": torch.arange(150_000, dtype=torch.float32) + 1})
HASH = hashlib.sha256(BODY).hexdigest()
OTHER_HASH = hashlib.sha256(OTHER).hexdigest()
assert len(BODY) == len(OTHER) != 0


class Notes:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int | None]] = []
        self.received = 0
        self.told: list[str] = []

    def begin(self, name: str, done: int, total: int | None) -> None:
        self.begun.append((done, total))

    def advance(self, count: int) -> None:
        self.received += count

    def tell(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FileServer().running() as running:
        yield running


@pytest.fixture
def notes() -> Notes:
    return Notes()


def card(*urls: str, **changes: object) -> ModelCard:
    facts = {
        "id": "some-model", "kind": "vgg", "title": "Some model", "file": "some.safetensors",
        "licence": "MIT", "source": "nowhere", "urls": urls, "sha256": HASH, "bytes": len(BODY),
    }  # fmt: skip
    return ModelCard.model_validate(facts | changes)


def one(server: FileServer, resource: Resource, **changes: object) -> ModelCard:
    server.resources["/some"] = resource
    return card(f"{server.url}/some", **changes)


def nothing_left(folder: Path) -> bool:
    """No file is there, whole or in part (hidden lock files do not count)."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")] == []


def test_a_file_is_fetched_once_and_verified(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY))
    folder = tmp_path / "not" / "there" / "yet"
    done = fetch(wanted, folder, notes, QUICK)
    assert (done.status, done.sha256, done.bytes) == ("fetched", HASH, len(BODY))
    assert done.path.read_bytes() == BODY
    assert notes.begun == [(0, len(BODY))]
    assert notes.received == len(BODY)
    assert not read_lock(folder)  # the registry knows the hash
    assert fetch(wanted, folder, notes, QUICK).status == "present"
    assert len(server.requests) == 1
    visible = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    assert visible == ["some.safetensors"]


def test_a_cut_download_continues_where_it_stopped(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY, cuts=[3 * CHUNK, 2 * CHUNK + 100]))
    done = fetch(wanted, tmp_path, notes, QUICK)
    assert done.path.read_bytes() == BODY
    # the whole chunks of each answer are kept; of the 100 bytes alone it may be that they are not
    assert [request.range for request in server.requests][:2] == [None, f"bytes={3 * CHUNK}-"]
    assert len(server.requests) == 3
    assert server.sent <= len(BODY) + 100
    assert any("cut" in text for text in notes.told)


def test_a_later_command_continues_the_download_of_an_earlier_one(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY, cuts=[4 * CHUNK]))
    with pytest.raises(WeightsError, match=r"cut after .*given up after 1 failures"):
        fetch(wanted, tmp_path, notes, Patience(attempts=1))
    assert not wanted.path(tmp_path).exists()
    assert (tmp_path / "some.safetensors.part").stat().st_size == 4 * CHUNK
    done = fetch(wanted, tmp_path, notes, QUICK)
    assert done.path.read_bytes() == BODY
    assert server.sent == len(BODY)
    assert notes.begun == [(0, len(BODY)), (4 * CHUNK, len(BODY))]


def test_a_whole_part_is_not_asked_for_again(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    """As after a kill between the last byte and the new name."""
    wanted = one(server, Resource(BODY, cuts=[4 * CHUNK]))
    with pytest.raises(WeightsError):
        fetch(wanted, tmp_path, notes, Patience(attempts=1))
    (tmp_path / "some.safetensors.part").write_bytes(BODY)
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert len(server.requests) == 1


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, len(BODY)), max_size=6), st.booleans(), st.booleans())
def test_any_cuts_end_in_the_right_bytes(
    server: FileServer, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], ranges: bool,
    validators: bool,
) -> None:  # fmt: skip
    server.resources["/some"] = Resource(
        BODY, cuts=list(cuts), ranges=ranges, etag='"e"' if validators else None, last_modified=None
    )
    folder = tmp_path_factory.mktemp("any")
    patience = Patience(attempts=len(cuts) + 1, first_pause=0.0)
    done = fetch(card(f"{server.url}/some"), folder, Notes(), patience)
    assert done.path.read_bytes() == BODY


@pytest.mark.parametrize(
    "changes", [{"ranges": False}, {"etag": None, "last_modified": None}],
    ids=["range ignored", "nothing to tell a changed file by"],
)  # fmt: skip
def test_without_a_safe_way_to_continue_it_starts_over(
    server: FileServer, notes: Notes, tmp_path: Path, changes: dict[str, Any]
) -> None:
    wanted = one(server, Resource(BODY, cuts=[3 * CHUNK], **changes))
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert server.sent == 3 * CHUNK + len(BODY)
    assert [done for done, _ in notes.begun] == [0, 0]


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range honoured", "If-Range ignored"])
@pytest.mark.parametrize(
    "change", [{"etag": '"two"'}, {"etag": None, "last_modified": "Tue, 08 Jun 2021 10:00:00 GMT"}]
)
def test_a_file_that_changed_on_the_server_is_not_glued(
    server: FileServer, notes: Notes, tmp_path: Path, if_range: bool, change: dict[str, Any]
) -> None:
    etag = '"one"' if change["etag"] else None
    first = one(server, Resource(OTHER, cuts=[3 * CHUNK], etag=etag), sha256=None, bytes=None)
    with pytest.raises(WeightsError):
        fetch(first, tmp_path, notes, Patience(attempts=1))
    wanted = one(server, Resource(BODY, if_range=if_range, **change), sha256=None, bytes=None)
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert any("changed meanwhile" in text for text in notes.told) is not if_range


def test_the_beginning_from_one_address_is_not_continued_from_another(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    """Both call their file by the same ETag, and nothing but that could tell them apart."""
    server.resources |= {"/a": Resource(OTHER, cuts=[3 * CHUNK]), "/b": Resource(BODY)}
    wanted = card(f"{server.url}/a", f"{server.url}/b", sha256=None, bytes=None)
    done = fetch(wanted, tmp_path, notes, Patience(attempts=1))
    assert done.path.read_bytes() == BODY
    assert server.requests[1].range is None


def test_another_total_under_the_same_validators_starts_over(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    longer = save({"w": torch.zeros(200_000)})
    first = one(server, Resource(longer, cuts=[3 * CHUNK]), sha256=None, bytes=None)
    with pytest.raises(WeightsError):
        fetch(first, tmp_path, notes, Patience(attempts=1))
    wanted = one(server, Resource(BODY), sha256=None, bytes=None)
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY


def test_a_file_that_became_shorter_than_its_part_is_fetched_anew(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    """The server answers 416: it has nothing behind the bytes that are there."""
    first = one(server, Resource(OTHER, cuts=[8 * CHUNK]), sha256=None, bytes=None)
    with pytest.raises(WeightsError):
        fetch(first, tmp_path, notes, Patience(attempts=1))
    short = save({"w": torch.zeros(1000)})
    wanted = one(server, Resource(short, if_range=False), sha256=None, bytes=None)
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == short
    assert [request.status for request in server.requests] == [200, 416, 200]


def test_a_weak_etag_alone_is_no_ground_to_continue(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY, cuts=[3 * CHUNK], etag='W/"one"', last_modified=None))
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert [request.range for request in server.requests] == [None, None]


def test_a_part_that_is_longer_than_the_file_is_dropped(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY, cuts=[3 * CHUNK]))
    with pytest.raises(WeightsError):
        fetch(wanted, tmp_path, notes, Patience(attempts=1))
    (tmp_path / "some.safetensors.part").write_bytes(BODY + b"more")
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY


def test_redirects_are_followed(server: FileServer, notes: Notes, tmp_path: Path) -> None:
    server.resources["/there"] = Resource(BODY, cuts=[2 * CHUNK])
    server.resources["/step"] = Resource(redirect="/there")
    wanted = one(server, Resource(redirect=f"{server.url}/step"))
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert server.sent == len(BODY)  # the range survives the redirects


def test_a_circle_of_redirects_ends(server: FileServer, notes: Notes, tmp_path: Path) -> None:
    wanted = one(server, Resource(redirect="/some"))
    with pytest.raises(WeightsError, match="redirects"):
        fetch(wanted, tmp_path, notes, QUICK)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_the_next_address_is_tried_and_that_is_told(
    server: FileServer, notes: Notes, tmp_path: Path, status: int
) -> None:
    server.resources |= {
        "/gone": Resource(b"<html>no</html>", status=status),
        "/ok": Resource(BODY),
    }
    wanted = card(f"{server.url}/gone", f"{server.url}/ok")
    done = fetch(wanted, tmp_path, notes, QUICK)
    assert done.source == f"{server.url}/ok"
    assert len(server.requests) == 2  # no second attempt at what is gone
    assert f"{server.url}/gone: HTTP {status}" in notes.told[0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (b"no such model", "no checkpoint"),
        (b"", "it is empty"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_something_else_with_status_200_is_refused(
    server: FileServer, notes: Notes, tmp_path: Path, body: bytes, words: str, known: bool
) -> None:
    wanted = one(server, Resource(body), **({} if known else {"sha256": None, "bytes": None}))
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(wanted, tmp_path, notes, QUICK)
    assert f"{server.url}/some" in str(caught.value)
    assert "bench weights add some-model FILE" in str(caught.value)
    assert nothing_left(tmp_path)


def test_a_web_page_does_not_cost_what_was_fetched(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY, cuts=[3 * CHUNK]))
    with pytest.raises(WeightsError):
        fetch(wanted, tmp_path, notes, Patience(attempts=1))
    one(server, Resource(b"<html>quota</html>", ranges=False))
    with pytest.raises(WeightsError, match="a web page"):
        fetch(wanted, tmp_path, notes, QUICK)
    one(server, Resource(BODY))
    fetch(wanted, tmp_path, notes, QUICK)
    assert server.requests[-1].range == f"bytes={3 * CHUNK}-"


def test_a_wrong_file_is_kept_aside_and_the_next_address_tried(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    server.resources |= {"/wrong": Resource(OTHER), "/right": Resource(BODY)}
    done = fetch(card(f"{server.url}/wrong", f"{server.url}/right"), tmp_path, notes, QUICK)
    assert done.path.read_bytes() == BODY
    assert (tmp_path / "some.safetensors.bad").read_bytes() == OTHER
    for words in (HASH, OTHER_HASH, "some.safetensors.bad"):
        assert words in notes.told[0]


def test_a_wrong_file_alone_is_an_error_with_both_hashes(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(OTHER))
    with pytest.raises(WeightsError, match=f"(?s)expected SHA-256 {HASH}.*found .*{OTHER_HASH}"):
        fetch(wanted, tmp_path, notes, QUICK)
    assert not wanted.path(tmp_path).exists()
    assert (tmp_path / "some.safetensors.bad").read_bytes() == OTHER


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY), bytes=len(BODY) + 1)
    with pytest.raises(WeightsError, match=f"offers {len(BODY):,} bytes instead of"):
        fetch(wanted, tmp_path, notes, QUICK)
    assert notes.received == 0
    assert nothing_left(tmp_path)


def test_server_errors_are_waited_out(server: FileServer, notes: Notes, tmp_path: Path) -> None:
    wanted = one(server, Resource(BODY, first=[(500, {}), (503, {})]))
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert [request.status for request in server.requests] == [500, 503, 200]
    assert "HTTP 500" in notes.told[0]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_too_many_requests_are_waited_for_as_long_as_the_server_says(
    server: FileServer, notes: Notes, tmp_path: Path, form: str
) -> None:
    later = email.utils.formatdate(time.time() + 2, usegmt=True)  # whole seconds: 1 s to 2 s
    value = "1" if form == "seconds" else later
    wanted = one(server, Resource(BODY, first=[(429, {"Retry-After": value})]))
    start = time.monotonic()
    fetch(wanted, tmp_path, notes, QUICK)
    assert 0.9 < time.monotonic() - start < 2.9
    assert len(server.requests) == 2


def test_a_server_that_asks_for_too_long_a_pause_is_given_up(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY, first=[(429, {"Retry-After": "3600"})]))
    with pytest.raises(WeightsError, match=r"HTTP 429 .* asks to wait 3600 s"):
        fetch(wanted, tmp_path, notes, QUICK)


def test_failures_are_bounded(server: FileServer, notes: Notes, tmp_path: Path) -> None:
    wanted = one(server, Resource(BODY, first=[(500, {})] * 50))
    with pytest.raises(WeightsError, match="given up after 4 failures"):
        fetch(wanted, tmp_path, notes, QUICK)
    assert len(server.requests) == QUICK.attempts


def test_a_server_that_is_not_there(notes: Notes, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no connection .*refused"):
        fetch(card("http://127.0.0.1:9/some"), tmp_path, notes, Patience(2, 0.01))


def test_always_truncated_is_never_accepted(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY, cuts=[1000] * 50, ranges=False), sha256=None, bytes=None)
    with pytest.raises(WeightsError, match="cut after"):
        fetch(wanted, tmp_path, notes, QUICK)
    assert not wanted.path(tmp_path).exists()
    assert not read_lock(tmp_path)


def test_a_truncated_file_under_its_own_length_is_not_recorded(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    """A mirror that holds half a file: no length tells it, and no hash is known."""
    wanted = one(server, Resource(BODY[:300_000]), sha256=None, bytes=None)
    with pytest.raises(WeightsError, match="gives a damaged file"):
        fetch(wanted, tmp_path, notes, QUICK)
    assert not read_lock(tmp_path)
    assert nothing_left(tmp_path)


def _fetch_in_a_process(wanted: ModelCard, folder: Path, results: Any) -> None:
    notes = Notes()
    done = fetch(wanted, folder, notes, QUICK)
    results.put((done.status, any("another process" in text for text in notes.told)))


def test_two_processes_fetch_a_file_once(server: FileServer, tmp_path: Path) -> None:
    wanted = one(server, Resource(BODY, seconds=0.5))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=_fetch_in_a_process, args=(wanted, tmp_path, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    assert found == [("fetched", False), ("present", True)]
    assert server.sent == len(BODY)


def test_too_little_room_is_seen_before_anything_is_asked(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY), bytes=10**18)
    with pytest.raises(WeightsError, match=r"free space, but some.safetensors needs 1.0 EB"):
        fetch(wanted, tmp_path, notes, QUICK)
    assert not server.requests


def _fetch_on_a_small_disk(wanted: ModelCard, folder: Path, results: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * CHUNK, 4 * CHUNK))
    try:
        fetch(wanted, folder, Notes(), QUICK)
    except WeightsError as error:
        results.put(str(error))


def test_a_disk_that_takes_no_more_keeps_what_is_there(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    """A limit on the size of files fails the write in the middle, as a full disk does."""
    wanted = one(server, Resource(BODY))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_fetch_on_a_small_disk, args=(wanted, tmp_path, results))
    process.start()
    message = results.get(timeout=30)
    process.join()
    assert "some.safetensors.part cannot be written: File too large" in message
    assert "make room and run the command again" in message
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert notes.begun == [(4 * CHUNK, len(BODY))]


def test_a_folder_that_cannot_be_written(server: FileServer, notes: Notes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cannot be written: .*--weights-dir"):
        fetch(one(server, Resource(BODY)), tmp_path / "file" / "weights", notes, QUICK)
    assert not server.requests


def test_an_unknown_hash_is_recorded_and_holds_from_then_on(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY), sha256=None, bytes=None)
    done = fetch(wanted, tmp_path, notes, QUICK)
    assert done.recorded_now
    record = read_lock(tmp_path)["some-model"]
    assert (record.sha256, record.bytes, record.file) == (HASH, len(BODY), "some.safetensors")
    assert record.source == f"{server.url}/some"
    assert verify_file(wanted, done.path) == HASH
    done.path.write_bytes(OTHER)
    with pytest.raises(WeightsError, match=f"(?s)recorded SHA-256 {HASH}.*found .*{OTHER_HASH}"):
        verify_file(wanted, done.path)
    done.path.write_bytes(BODY[:-1])
    with pytest.raises(WeightsError, match="truncated"):
        verify_file(wanted, done.path)
    # what the server offers later is measured by the record, too
    done.path.unlink()
    one(server, Resource(OTHER))
    with pytest.raises(
        WeightsError, match=f"(?s){HASH} \\(recorded in {LOCK_FILE}\\).*{OTHER_HASH}"
    ):
        fetch(wanted, tmp_path, notes, QUICK)
    assert not done.path.exists()


def test_a_damaged_file_gives_way_to_a_new_one(
    server: FileServer, notes: Notes, tmp_path: Path
) -> None:
    wanted = one(server, Resource(BODY))
    wanted.path(tmp_path).write_bytes(OTHER)
    assert fetch(wanted, tmp_path, notes, QUICK).path.read_bytes() == BODY
    assert (tmp_path / "some.safetensors.bad").read_bytes() == OTHER
    assert "wrong hash" in notes.told[0]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": "stylebench-weights-lock/9"}', '{"models": {"a": {}}}']
)
def test_a_damaged_lock_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK_FILE).write_text(text)
    (tmp_path / "some.safetensors").write_bytes(BODY)
    with pytest.raises(WeightsError, match=f"{LOCK_FILE} is damaged"):
        verify_file(card(sha256=None, bytes=None), tmp_path / "some.safetensors")


def test_models_that_ship_or_have_no_address_are_not_fetched(notes: Notes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ships with the package"):
        fetch(model_card("mini-unet"), tmp_path, notes)
    with pytest.raises(UsageError, match=r"no address .* bench weights add some-model FILE"):
        fetch(card(), tmp_path, notes)


def test_a_right_file_is_added(notes: Notes, tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "weights"
    mine.write_bytes(BODY)
    done = add_file(card(), mine, folder, notes)
    assert (done.status, done.path.read_bytes(), mine.exists()) == ("added", BODY, True)
    with pytest.raises(WeightsError, match="is there already"):
        add_file(card(), mine, folder, notes)
    add_file(card(), mine, folder, notes, move=True, replace=True)
    assert not mine.exists()
    assert done.path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (OTHER, f"(?s)is not the file of the model 'some-model'.*{HASH}.*{OTHER_HASH}"),
        (BODY[:-9], "is not the file"),
        (b"<html>", "web page"),
        (b"", "is empty"),
        (b"something", "unknown file type"),
    ],
)
def test_a_wrong_file_is_not_added(
    notes: Notes, tmp_path: Path, content: bytes, words: str
) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "weights"
    mine.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        add_file(card(), mine, folder, notes, move=True)
    assert mine.exists()
    assert nothing_left(folder)
    with pytest.raises(WeightsError, match="does not exist"):
        add_file(card(), tmp_path / "none", folder, notes)


def test_another_models_file_is_recognised(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {
        "other": card().model_dump(mode="json") | {"id": "other", "sha256": OTHER_HASH},
    }
    monkeypatch.setattr(registry, "_entries", lambda: entries)
    (tmp_path / "mine").write_bytes(OTHER)
    with pytest.raises(WeightsError, match="It is the file of the model 'other'"):
        add_file(card(), tmp_path / "mine", tmp_path, notes)


def test_a_file_of_unknown_hash_is_added_if_it_loads_and_is_recorded(
    notes: Notes, tmp_path: Path
) -> None:
    shipped = model_card("mini-vgg")
    wanted = card(sha256=None, bytes=None)
    folder, right, wrong = tmp_path / "weights", tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(shipped.path(folder).read_bytes())
    wrong.write_bytes(BODY)
    with pytest.raises(WeightsError, match="some-model"):
        add_file(wanted, wrong, folder, notes)
    assert not read_lock(folder)
    done = add_file(wanted, right, folder, notes)
    assert done.recorded_now
    assert read_lock(folder)["some-model"].sha256 == shipped.sha256
    assert verify_file(wanted, done.path) == shipped.sha256
    with pytest.raises(WeightsError, match="--replace records the new one"):
        done.path.unlink()
        add_file(wanted, wrong, folder, notes)


def test_a_file_in_its_place_is_recorded_by_adding_it(notes: Notes, tmp_path: Path) -> None:
    wanted = card(sha256=None, bytes=None)
    path = wanted.path(tmp_path)
    path.write_bytes(model_card("mini-vgg").path(tmp_path).read_bytes())
    assert add_file(wanted, path, tmp_path, notes).recorded_now
    assert read_lock(tmp_path)["some-model"].sha256 == model_card("mini-vgg").sha256


def test_the_zoo_holds_a_model_to_its_record(
    notes: Notes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = card(sha256=None, bytes=None)
    monkeypatch.setattr(
        registry, "_entries", lambda: {"some-model": wanted.model_dump(mode="json")}
    )
    path = wanted.path(tmp_path)
    content = (registry.MINI_WEIGHTS / "vgg.safetensors").read_bytes()
    path.write_bytes(content)
    assert [row["status"] for row in inventory(tmp_path)] == ["unpinned"]
    ModelZoo({"vgg": "some-model"}, tmp_path).vgg()
    assert "no hash of model 'some-model' is known" in caplog.text
    caplog.clear()
    add_file(wanted, path, tmp_path, notes)
    assert [row["status"] for row in inventory(tmp_path)] == ["locked"]
    ModelZoo({"vgg": "some-model"}, tmp_path).vgg()
    assert not caplog.text
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="is not the file that was recorded"):
        ModelZoo({"vgg": "some-model"}, tmp_path).vgg()
    assert [row["status"] for row in inventory(tmp_path)] == ["damaged"]


def test_a_model_without_a_loader_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a card is registered before the code that builds it."""
    monkeypatch.delitem(models._BUILDERS, "facenet")
    found = model_card("facenet-vggface2")
    found.path(tmp_path).write_bytes(BODY)
    with pytest.raises(UsageError, match=r"facenet-vggface2.*no loader for the kind 'facenet'"):
        build(found, found.path(tmp_path))
    zoo = ModelZoo({"face": "facenet-vggface2"}, tmp_path)
    with pytest.raises(UsageError, match="no loader"):
        zoo.face()
    with pytest.raises(UsageError, match="no loader"):
        zoo.verified_hashes(["face"])


def test_every_registered_kind_has_a_loader_or_is_refused() -> None:
    for card in map(model_card, model_ids()):
        if not models.can_load(card):
            with pytest.raises(UsageError, match=card.id):
                build(card, Path("no-such-file"))


@pytest.mark.parametrize(
    "page",
    [
        "https://drive.google.com/file/d/1aB-c_D",
        "https://drive.google.com/file/d/1aB-c_D/view?usp=sharing",
        "https://drive.google.com/uc?id=1aB-c_D",
        "https://drive.google.com/open?id=1aB-c_D",
        "https://docs.google.com/uc?export=download&id=1aB-c_D",
    ],
)
def test_pages_of_google_drive_become_downloads(page: str) -> None:
    assert download_address(page) == (
        "https://drive.usercontent.google.com/download?id=1aB-c_D&export=download&confirm=t"
    )


def test_other_addresses_stay() -> None:
    for name in model_ids():
        for url in map(str, model_card(name).urls):
            assert ("google.com" in url) is (download_address(url) != url)


def test_every_registered_model_has_a_paper_a_licence_and_addresses() -> None:
    for name in model_ids():
        found = model_card(name)
        assert found.paper, name
        assert found.licence, name
        assert found.ships or found.urls, name
