"""A small server that speaks the Hugging Face hub's API for datasets, and fails when told to.

Enough of the API for ``datasets`` and ``huggingface_hub`` under ``HF_ENDPOINT``: repository facts,
tree, path facts, and file contents with ranges. Written from the requests that they make.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

COMMIT = hashlib.sha1(b"the pinned commit").hexdigest()
OTHER_COMMIT = hashlib.sha1(b"a later commit").hexdigest()


@dataclass
class Fault:
    """What goes wrong with requests whose path holds ``path``, ``times`` times.

    Attributes:
        path: part of the request's path.
        times: how often; -1 for always.
        status: answer with this status.
        retry_after: seconds, sent with the status.
        cut_after: bytes of the body after which the connection is closed.
        delay: seconds before the answer.
        skip: as many matching requests pass first.
    """

    path: str
    times: int = 1
    status: int | None = None
    retry_after: int | None = None
    cut_after: int | None = None
    delay: float = 0.0
    skip: int = 0


@dataclass
class Repository:
    """One dataset repository.

    Attributes:
        files: contents by path.
        commit: of its only branch, ``main``.
        kept: older commits that can still be read; they hold the same files.
        token: who may read it, if it is gated.
        sizes: what the tree says of a file, where that is not its length.
        served_commit: what ``X-Repo-Commit`` says, if not the commit asked for.
        elsewhere: contents lie on another host, to which requests are redirected, as the hub does
            with large files.
    """

    files: dict[str, bytes]
    commit: str = COMMIT
    kept: tuple[str, ...] = ()
    token: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    served_commit: str | None = None
    elsewhere: bool = False


class Hub:
    """Repositories by id, faults, and the requests that came in."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self.repositories = dict(repositories)
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str | None, int]] = []
        self.url = ""
        self._lock = threading.Lock()

    def fault(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.path in path and fault.times != 0:
                    if fault.skip:
                        fault.skip -= 1
                        return None
                    fault.times -= 1
                    return fault
        return None

    def bytes_sent(self, path: str) -> int:
        """Of the bodies of GET requests whose path holds ``path``."""
        return sum(size for method, where, _, size in self.requests
                   if method == "GET" and path in where)  # fmt: skip

    def note(self, method: str, path: str, wanted: str | None, size: int) -> None:
        with self._lock:
            self.requests.append((method, path, wanted, size))


@contextmanager
def serve(repositories: Mapping[str, Repository]) -> Iterator[Hub]:
    """The repositories at ``hub.url`` while the context lasts."""
    hub = Hub(repositories)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        fault = self.state.fault(path)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.status is not None:
                headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                return self._send(fault.status, b"{}", headers)
        cut = None if fault is None else fault.cut_after
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(/.*)?", path):
            return self._api(found[1], found[2] or "", body, cut)
        if found := re.fullmatch(r"/contents/([^/]+/[^/]+)/(.+)", path):
            if "Authorization" in self.headers:
                return self._send(400, b"signed urls take no token", {})
            return self._contents(self.state.repositories[found[1]].files[found[2]], {}, cut)
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(found[1], found[2], found[3], cut)
        return self._send(404, b"{}", {})

    def _repository(self, name: str, revision: str | None) -> tuple[Repository, str] | None:
        repository = self.state.repositories.get(name)
        if repository is None:
            self._error(401, "RepoNotFound", "Repository not found")
            return None
        commit = repository.commit if revision in {None, "main"} else revision
        if commit not in {repository.commit, *repository.kept}:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository, str(commit)

    def _allowed(self, repository: Repository) -> bool:
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repository.token is None or given == repository.token:
            return True
        self._error(403 if given else 401, "GatedRepo", "Access to this dataset is restricted")
        return False

    def _api(self, name: str, rest: str, body: bytes, cut: int | None) -> None:
        if rest == "/auth-check":
            repository = self.state.repositories[name]
            return self._json({}, cut) if self._allowed(repository) else None
        found = re.fullmatch(r"/(revision|tree|paths-info|commits)/([^/]+)(?:/(.*))?", rest)
        kind, revision = (found[1], found[2]) if found else ("revision", None)
        answer = self._repository(name, revision)
        if answer is None:
            return None
        repository, commit = answer
        if kind == "revision":
            facts = {
                "id": name, "sha": commit, "private": False, "tags": [], "downloads": 0,
                "gated": "manual" if repository.token else False,
                "siblings": [{"rfilename": path} for path in repository.files],
            }  # fmt: skip
            return self._json(facts, cut)
        if not self._allowed(repository):
            return None
        if kind == "commits":
            commits = [repository.commit, *repository.kept]
            empty = {"title": "", "message": "", "authors": [], "date": "2024-01-01T00:00:00.000Z"}
            return self._json([{"id": commit, **empty} for commit in commits], cut)
        if kind == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else _form(body)
            return self._json(
                [self._entry(repository, path) for path in wanted if path in repository.files], cut
            )
        return self._json(self._tree(repository, (found and found[3]) or ""), cut)

    def _tree(self, repository: Repository, folder: str) -> list[dict[str, Any]]:
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        recursive = "recursive=true" in self.path.lower()
        entries: dict[str, dict[str, Any]] = {}
        for path in repository.files:
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts)):
                parent = prefix + "/".join(parts[:depth])
                if recursive or depth == 1:
                    entries[parent] = {"type": "directory", "path": parent, "oid": "0" * 40,
                                       "size": 0}  # fmt: skip
            if recursive or len(parts) == 1:
                entries[path] = self._entry(repository, path)
        return list(entries.values())

    def _entry(self, repository: Repository, path: str) -> dict[str, Any]:
        data = repository.files[path]
        return {
            "type": "file", "path": path, "oid": hashlib.sha1(data).hexdigest(),
            "size": repository.sizes.get(path, len(data)),
        }  # fmt: skip

    def _resolve(self, name: str, revision: str, path: str, cut: int | None) -> None:
        answer = self._repository(name, revision)
        if answer is None or not self._allowed(answer[0]):
            return None
        repository, commit = answer
        data = repository.files.get(path)
        if data is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        headers = {
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept-Ranges": "bytes",
            "X-Repo-Commit": repository.served_commit or commit,
        }  # fmt: skip
        if repository.elsewhere:
            host = self.state.url.replace("127.0.0.1", "localhost")
            headers["Location"] = f"{host}/contents/{name}/{path}"
            return self._send(302, b"", headers)
        return self._contents(data, headers, cut)

    def _contents(self, data: bytes, headers: dict[str, str], cut: int | None) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None:
            return self._send(200, data, headers, cut)
        start = int(wanted[1])
        stop = min(int(wanted[2]) + 1 if wanted[2] else len(data), len(data))
        if start >= len(data):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return self._send(206, data[start:stop], headers, cut)

    def _json(self, value: Any, cut: int | None) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, cut)

    def _error(self, status: int, code: str, words: str) -> None:
        self._send(status, json.dumps({"error": words}).encode(),
                   {"X-Error-Code": code, "X-Error-Message": words})  # fmt: skip

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, Any], cut: int | None = None
    ) -> None:
        self.state.note(self.command, unquote(urlsplit(self.path).path),
                        self.headers.get("Range"), len(body))  # fmt: skip
        try:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, str(value))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(body if cut is None else body[:cut])
            if cut is not None and cut < len(body):
                self.wfile.flush()
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def _form(body: bytes) -> list[str]:
    from urllib.parse import parse_qs

    return parse_qs(body.decode()).get("paths", [])


def picture(index: int, size: int = 24, kind: str = "PNG") -> bytes:
    """A small image, another for every index."""
    rng = np.random.default_rng(index)
    small = rng.integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(small).resize((size, size), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
