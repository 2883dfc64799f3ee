"""One file from one address into a ``.part`` file: resumed, retried, never glued from two files."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import requests
from pydantic import ValidationError
from rich.filesize import decimal

from benchmark import __version__
from benchmark.zoo.answers import (
    AddressError,
    Partial,
    TemporaryError,
    reason_of,
    require_checkpoint_bytes,
    require_continuation,
    require_success,
)
from benchmark.zoo.weights_folder import require_room, writing

CHUNK = 1 << 16  # bytes; of a chunk that a cut left unfinished, all is fetched again
ENOUGH_PROGRESS = 1 << 20  # bytes after which earlier failures no longer count


class Watcher(Protocol):
    """Who is told how a download goes on."""

    def begin(self, name: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes are there; called anew when a download starts over."""

    def advance(self, count: int) -> None:
        """``count`` more bytes were written."""

    def tell(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True)
class Patience:
    """How long an address is tried.

    Attributes:
        attempts: failures in a row, without progress, until it is given up.
        first_pause: seconds after the first failure; doubled after each further one.
        longest_pause: seconds; a server that asks for more (Retry-After) is given up.
        connect_timeout, read_timeout: seconds without an answer that count as a failure.
    """

    attempts: int = 5
    first_pause: float = 1.0
    longest_pause: float = 120.0
    connect_timeout: float = 15.0
    read_timeout: float = 60.0


def open_session() -> requests.Session:
    """A session that honours the proxy and CA variables of the environment.

    ``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE`` are requests' own;
    ``SSL_CERT_FILE``, which most other programs read, is honoured where those are not set.
    """
    session = requests.Session()
    session.max_redirects = 10
    # a compressed answer has other lengths and cannot be resumed
    session.headers.update(
        {"Accept-Encoding": "identity", "User-Agent": f"stylebench/{__version__}"}
    )
    bundle = os.environ.get("SSL_CERT_FILE")
    if bundle:
        session.verify = bundle
    return session


def partial_path(path: Path) -> Path:
    """Where the unfinished download of ``path`` lies."""
    return path.with_name(f"{path.name}.part")


def discard(part: Path) -> None:
    """Forget an unfinished download."""
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)


def download(
    session: requests.Session, url: str, part: Path, *, expected_bytes: int | None,
    patience: Patience, watcher: Watcher,
) -> None:  # fmt: skip
    """Fetch ``url`` into ``part``, from where an earlier attempt at the same address stopped.

    Args:
        session: of :func:`open_session`.
        url: http or https; redirects are followed, but not from https to http.
        part: ends in ``.part``; it is whole on return, but its hash is not looked at.
        expected_bytes: size of the right file, if known.
        patience: when to give up.
        watcher: is told.

    Raises:
        AddressError: this address does not give the file.
        WeightsError: the disk does not take it.
    """
    failures, furthest = 0, _size(part)
    while True:
        try:
            _attempt(session, url, part, expected_bytes, patience, watcher)
            return
        except TemporaryError as again:
            if again.from_start:
                discard(part)
            if _size(part) >= furthest + ENOUGH_PROGRESS:
                failures, furthest = 0, _size(part)
            failures += 1
            if failures >= patience.attempts:
                raise AddressError(f"{again} (given up after {failures} failures)") from again
            pause = patience.first_pause * 2 ** (failures - 1)
            if again.pause is not None:
                pause = again.pause
                if pause > patience.longest_pause:
                    raise AddressError(f"{again} and asks to wait {pause:.0f} s") from again
            pause = min(pause, patience.longest_pause)
            watcher.tell(f"{again}; next attempt in {pause:.1f} s")
            time.sleep(pause)


def _attempt(
    session: requests.Session, url: str, part: Path, expected_bytes: int | None,
    patience: Patience, watcher: Watcher,
) -> None:  # fmt: skip
    partial, offset = _resumable(part, url)
    if partial is not None and offset == partial.total == (expected_bytes or offset):
        return
    headers = {}
    if partial is not None and partial.validator is not None:
        headers = {"Range": f"bytes={offset}-", "If-Range": partial.validator}
    timeout = (patience.connect_timeout, patience.read_timeout)
    try:
        response = session.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.exceptions.SSLError as error:
        raise AddressError(
            f"its certificate is not trusted ({reason_of(error)}); behind a proxy that opens "
            f"connections, name its CA with REQUESTS_CA_BUNDLE"
        ) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise TemporaryError(f"no connection ({reason_of(error)})") from error
    except requests.RequestException as error:
        raise AddressError(reason_of(error)) from error
    with response:
        require_success(response)
        if response.status_code == 206:
            partial = require_continuation(response, partial, offset)
        else:
            offset = 0
            length = response.headers.get("Content-Length", "")
            partial = Partial(
                url=url, etag=response.headers.get("ETag"),
                last_modified=response.headers.get("Last-Modified"),
                total=int(length) if length.isdigit() else None,
            )  # fmt: skip
        _receive(response, part, partial, offset, expected_bytes, watcher)


def _resumable(part: Path, url: str) -> tuple[Partial | None, int]:
    """What is there of this address's file, and how many bytes; none if it cannot be told."""
    try:
        partial = Partial.model_validate_json(_state_path(part).read_bytes())
    except (OSError, ValidationError):
        return None, 0
    offset = _size(part)
    too_long = partial.total is not None and offset > partial.total
    if partial.url != url or partial.validator is None or offset == 0 or too_long:
        return None, 0
    return partial, offset


def _receive(
    response: requests.Response, part: Path, partial: Partial, offset: int,
    expected_bytes: int | None, watcher: Watcher,
) -> None:  # fmt: skip
    """Write the body behind the first ``offset`` bytes of the ``.part``."""
    total, received = partial.total, offset
    chunks = response.iter_content(CHUNK)
    try:
        chunk = next(chunks, b"")
        if offset == 0:
            require_checkpoint_bytes(chunk)
            if expected_bytes is not None and total is not None and total != expected_bytes:
                raise AddressError(f"offers {total:,} bytes instead of {expected_bytes:,}")
            discard(part)
            require_room(part.parent, part.stem, total or 0)
            with writing(part):  # what the bytes are of is known before the first one is there
                _state_path(part).write_text(partial.model_dump_json(), encoding="utf-8")
        watcher.begin(part.stem, offset, total or expected_bytes)
        with writing(part), part.open("ab" if offset else "wb") as file:
            while chunk:
                file.write(chunk)
                received += len(chunk)
                watcher.advance(len(chunk))
                chunk = next(chunks, b"")
            file.flush()
            os.fsync(file.fileno())
    except requests.RequestException as error:
        raise TemporaryError(f"the connection was cut after {decimal(received)}") from error
    if total is not None and received != total:
        raise TemporaryError(f"the connection ended after {decimal(received)} of {decimal(total)}")


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
