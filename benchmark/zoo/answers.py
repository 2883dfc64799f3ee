"""What a server's answer to a download means: the file, another address, or another attempt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
from pydantic import BaseModel, ConfigDict

from benchmark.zoo.checkpoint_file import HEAD, file_type

_AGAIN_LATER = {408, 425, 429}  # and every 5xx


class AddressError(Exception):
    """This address does not give the file; another one may."""


class TemporaryError(Exception):
    """The same address may give the file later.

    Attributes:
        pause: seconds that the server asks to wait, None if it does not say.
        from_start: what was fetched so far is of no use.
    """

    def __init__(
        self, reason: str, pause: float | None = None, *, from_start: bool = False
    ) -> None:
        super().__init__(reason)
        self.pause = pause
        self.from_start = from_start


class Partial(BaseModel):
    """Which file on which server a ``.part`` is the beginning of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    etag: str | None
    last_modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` may carry (RFC 9110, 13.1.5): a strong ETag, else the date."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


def require_success(response: requests.Response) -> None:
    """Let only an answer pass that brings the file or a part of it.

    Raises:
        AddressError, TemporaryError: it does not.
    """
    status = response.status_code
    steps = [*response.history, response]
    if steps[0].url.startswith("https:") and any(not s.url.startswith("https:") for s in steps):
        raise AddressError("redirects from https to http, where anyone could answer")
    if status in (200, 206):
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise AddressError("sends the file compressed although it was asked not to")
        return
    if status == 416:
        raise TemporaryError("the server has no such range; starting over", from_start=True)
    what = f"HTTP {status} {response.reason}"
    if status in _AGAIN_LATER or status >= 500:
        raise TemporaryError(what, _retry_after(response.headers))
    raise AddressError(what)


def require_continuation(
    response: requests.Response, partial: Partial | None, offset: int
) -> Partial:
    """Make sure that an answer 206 goes on where the ``.part`` ends, and with the same file.

    Raises:
        TemporaryError: it does not.
    """
    answer = response.headers.get("Content-Range", "").strip()
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer)
    if partial is not None and found is not None and int(found[1]) == offset:
        pairs = (
            (response.headers.get("ETag"), partial.etag),
            (response.headers.get("Last-Modified"), partial.last_modified),
            (None if found[2] == "*" else int(found[2]), partial.total),
        )
        if all(now is None or before is None or now == before for now, before in pairs):
            return partial
    raise TemporaryError("the file on the server changed meanwhile; starting over", from_start=True)


def require_checkpoint_bytes(first: bytes) -> None:
    """See by its first bytes that a body may be a checkpoint.

    Raises:
        AddressError: it is a web page or something else.
    """
    kind = file_type(first[:HEAD])
    if kind == "html":
        raise AddressError("answers with a web page (an error, a quota or a login page)")
    if kind == "lfs":
        raise AddressError("answers with a Git LFS pointer instead of the file")
    if kind == "unknown":
        what = f"begins with {first[:8].hex(' ')}" if first else "is empty"
        raise AddressError(f"answers with something that is no checkpoint (it {what})")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, given as a number or a date (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def reason_of(error: requests.RequestException) -> str:
    """The innermost cause in one line: requests wraps it in several layers."""
    cause: object = error
    while isinstance(cause, BaseException):
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return str(cause).splitlines()[0][:200] if str(cause) else type(cause).__name__
