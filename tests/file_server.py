"""A real HTTP server on the loopback that fails as servers do, also as a proxy that opens TLS."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme

LAST_MODIFIED = "Mon, 07 Jun 2021 10:00:00 GMT"


@dataclass
class Resource:
    """How one path is answered.

    Attributes:
        body: of the answer 200 (or of ``status``).
        status: of every answer.
        headers: more headers.
        etag, last_modified: validators; None leaves them out.
        ranges: whether ``Range`` is honoured.
        if_range: whether ``If-Range`` is.
        first: (status, headers) of the first answers, before the good ones.
        cuts: bytes of the body after which the first good answers break off.
        redirect: where it is instead.
        seconds: of waiting, before a whole body or behind a cut one.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = '"one"'
    last_modified: str | None = LAST_MODIFIED
    ranges: bool = True
    if_range: bool = True
    first: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    redirect: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Request:
    """One request as it was answered; ``sent`` are bytes of body."""

    path: str
    range: str | None
    status: int
    sent: int


class FileServer:
    """Answers from ``resources``, by path, or by host and path if it serves as a proxy."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.authority = trustme.CA()
        handler = type("_Bound", (_Handler,), {"site": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def sent(self) -> int:
        """Bytes of body in all."""
        return sum(request.sent for request in self.requests)

    @contextmanager
    def running(self) -> Iterator[FileServer]:
        """Serve in a thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    site: FileServer
    protocol_version = "HTTP/1.1"
    _host = ""

    def do_CONNECT(self) -> None:
        """Play the host that the client wants to reach."""
        self._host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.site.authority.issue_cert(self._host).configure_cert(context)
        try:
            self.connection = context.wrap_socket(self.connection, server_side=True)
        except ssl.SSLError:  # the client does not trust it
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb")
        self.wfile: Any = self.connection.makefile("wb", buffering=0)
        self.close_connection = False  # whatever version of HTTP asked for the tunnel

    def do_GET(self) -> None:
        name = self._host + self.path
        resource = self.site.resources.get(name)
        if resource is None:
            self._answer(name, 404, {}, b"no such file")
        elif resource.first:
            self._answer(name, *resource.first.pop(0), b"not now")
        elif resource.redirect is not None:
            self._answer(name, 302, {"Location": resource.redirect}, b"")
        else:
            self._file(name, resource)

    def _file(self, name: str, resource: Resource) -> None:
        found = {"ETag": resource.etag, "Last-Modified": resource.last_modified}
        headers = {key: value for key, value in found.items() if value} | resource.headers
        status, start, size = resource.status, 0, len(resource.body)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        current = (
            condition is None or not resource.if_range
            or condition in (resource.etag, resource.last_modified)
        )  # fmt: skip
        if wanted and resource.ranges and current:
            start = int(wanted[1])
            if start >= size:
                self._answer(name, 416, {"Content-Range": f"bytes */{size}"}, b"")
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        cut = resource.cuts.pop(0) if resource.cuts else None
        self._answer(name, status, headers, resource.body[start:], cut, resource.seconds)

    def _answer(
        self, name: str, status: int, headers: dict[str, str], body: bytes,
        cut: int | None = None, seconds: float = 0.0,
    ) -> None:  # fmt: skip
        part = body if cut is None else body[:cut]
        # before it is sent: who has the answer finds it in the list
        self.site.requests.append(Request(name, self.headers.get("Range"), status, len(part)))
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if cut is None:
            time.sleep(seconds)
        self.wfile.write(part)
        self.wfile.flush()
        if cut is not None:
            time.sleep(seconds)
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass
