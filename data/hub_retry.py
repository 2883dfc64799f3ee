"""How a download bears failures: bounded tries, waits that grow, and what a server asks for."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import requests

from benchmark.errors import DataError

log = logging.getLogger(__name__)

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Retry:
    """How failures that may pass are borne.

    Attributes:
        attempts: tries in a row that bring nothing before it is given up.
        first_wait: seconds before the second try, doubled for each one after it.
        longest_wait: seconds; a server that asks for more ends the download.
        timeout: seconds without a byte after which a try has failed.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 30.0


class Attempts:
    """Counts the tries of one download and waits between them.

    Args:
        retry: the bounds.
        what: names the download in messages.
    """

    def __init__(self, retry: Retry, what: str) -> None:
        self._retry = retry
        self._what = what
        self._failed = 0

    def progressed(self) -> None:
        """Something arrived: failures before it count no more."""
        self._failed = 0

    def failed(self, reason: str, retry_after: float | None = None) -> None:
        """Wait before the next try.

        Raises:
            DataError: there is no next try.
        """
        self._failed += 1
        remedy = "Run the same command again later: what has arrived is kept."
        if self._failed >= self._retry.attempts:
            raise DataError(
                f"{self._what}: {reason}, {self._failed} times without progress. {remedy}"
            )
        backed_off = self._retry.first_wait * 2 ** (self._failed - 1)
        wait = min(backed_off, self._retry.longest_wait) if retry_after is None else retry_after
        if wait > self._retry.longest_wait:
            raise DataError(
                f"{self._what}: {reason}, and the server asks to wait {wait:.0f} s. {remedy}"
            )
        log.warning("%s: %s; trying again in %.1f s", self._what, reason, wait)
        time.sleep(wait)


def retry_after(value: str | None) -> float | None:
    """``Retry-After``: seconds, or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def cause(error: requests.RequestException) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server is too slow (timeout)"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not trusted (REQUESTS_CA_BUNDLE names your own)"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached (HTTPS_PROXY)"
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or "aborted" in str(error):
        return "the connection was cut"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return " ".join(str(error).split())[:120] or type(error).__name__
