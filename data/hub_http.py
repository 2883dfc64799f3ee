"""The hub over HTTP: pinned revisions, file sizes and ranges of bytes, tried again when they fail.

``datasets`` finds out which files a split has; the bytes are fetched here, so that a download goes
on at the byte where it was cut, waits as long as the server asks, and every failure ends as one
line with a remedy. Proxies and certificates are those of ``requests`` (``HTTPS_PROXY``,
``REQUESTS_CA_BUNDLE``), the endpoint and the token those of ``huggingface_hub`` (``HF_ENDPOINT``,
``HF_TOKEN``).
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import requests

from benchmark.errors import DataError
from data.hub_retry import TRANSIENT, Attempts, Retry, cause, retry_after

_PIECE = 1 << 14  # what a cut loses at most
_LISTED_AT_ONCE = 200


class HubClient:
    """One dataset repository.

    Args:
        name: ``owner/name``.
        retry: bounds of all tries.
        mirrors: what to take instead, for messages.
    """

    def __init__(self, name: str, retry: Retry, mirrors: Sequence[str] = ()) -> None:
        from huggingface_hub import constants, get_token

        self.name = name
        self.retry = retry
        self.endpoint = constants.ENDPOINT.rstrip("/")
        self.token: str | None = get_token()
        self._offline = bool(constants.HF_HUB_OFFLINE)
        self._otherwise = f" Or take a mirror: {', '.join(mirrors)}." if mirrors else ""
        self._session = requests.Session()
        if self.token:
            self._session.headers["Authorization"] = f"Bearer {self.token}"

    def commit(self, revision: str | None) -> str:
        """The full commit id of a revision, which may be shortened; None is the newest.

        Raises:
            DataError: the hub has no such revision (both ids are named), refuses access, or cannot
                be reached.
        """
        facts = self._json("GET", "")
        if facts.get("gated"):
            self._ask("GET", "/auth-check")
        newest = str(facts["sha"])
        if revision is None or newest.startswith(revision):
            return newest
        found = self._json("GET", f"/revision/{quote(revision, safe='')}", absent_is_none=True)
        if found is not None and str(found["sha"]).startswith(revision):
            return str(found["sha"])
        history = self._json("GET", "/commits/main", absent_is_none=True) or []
        for item in history:
            if str(item["id"]).startswith(revision):
                return str(item["id"])
        raise DataError(
            f"the hub dataset {self.name} has no revision {revision}, which the card pins; its "
            f"newest is {newest}. Its images may be others: pin that revision in the card once "
            f"you have looked at what changed.{self._otherwise}"
        )

    def sizes(self, commit: str, paths: Sequence[str]) -> dict[str, int]:
        """Bytes of files, as the hub lists them."""
        found: dict[str, int] = {}
        for start in range(0, len(paths), _LISTED_AT_ONCE):
            some = list(paths[start : start + _LISTED_AT_ONCE])
            listed = self._json("POST", f"/paths-info/{commit}", data={"paths": some})
            for item in listed:
                found[item["path"]] = int((item.get("lfs") or item)["size"])
        return found

    def read(self, commit: str, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes ``start`` to ``stop`` (all by default) of a file, continued after a cut.

        Raises:
            DataError: refused, of another commit, shorter than ``stop``, or failed for good.
        """
        url = f"{self.endpoint}/datasets/{self.name}/resolve/{commit}/{quote(path)}"
        attempts = Attempts(self.retry, f"{self.name}: {path}")
        received = bytearray()
        while stop is None or start + len(received) < stop:
            place = start + len(received)
            headers = {"Accept-Encoding": "identity"}
            if place or stop is not None:
                headers["Range"] = f"bytes={place}-{'' if stop is None else stop - 1}"
            try:
                with self._send("GET", url, headers=headers, stream=True) as response:
                    if self._wait_out(response, attempts):
                        continue
                    self._check(response, commit, path, place, stop)
                    for piece in response.iter_content(_PIECE):
                        received += piece
                        attempts.progressed()
                    if stop is None:
                        return bytes(received)
            except requests.RequestException as error:
                attempts.failed(cause(error))
        return bytes(received[: stop - start])

    def _check(
        self, response: requests.Response, commit: str, path: str, place: int, stop: int | None
    ) -> None:
        for step in (*response.history, response):
            served = step.headers.get("X-Repo-Commit")
            if served is not None and served != commit:
                raise DataError(
                    f"{self.name}: {path} was asked for at the revision {commit}, and the server "
                    f"gives it at {served}. Nothing of it is used; check HF_ENDPOINT, or pin the "
                    f"other revision in the card."
                )
        total = re.fullmatch(
            r"bytes (?:\d+-\d+|\*)/(\d+)", response.headers.get("Content-Range") or ""
        )
        length = None if total is None else int(total[1])
        if stop is not None and (response.status_code == 416 or (length or stop) < stop):
            raise DataError(
                f"{self.name}: {path} is truncated: the hub lists {stop:,} bytes or more, the "
                f"server has {length or 0:,}. The file on the hub is damaged.{self._otherwise}"
            )
        if response.status_code == 200 and place:
            raise DataError(
                f"{self.name}: the server sends {path} only as a whole, not in ranges. Is a proxy "
                f"between here and {self.endpoint}?"
            )
        if response.status_code == 404:
            raise DataError(
                f"{self.name} has no file {path} at {commit}, although it lists it. Is it being "
                f"changed just now?{self._otherwise}"
            )
        self._refuse(response, path)

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        if self._offline:
            raise DataError(
                f"HF_HUB_OFFLINE is set, and the images of {self.name} are not frozen here yet. "
                f"Unset it for the first run, copy the cache folder of a machine that has them "
                f"(STYLEBENCH_CACHE names it), or take --source embedded or --images DIR."
            )
        return self._session.request(method, url, timeout=self.retry.timeout, **options)

    def _json(self, method: str, rest: str, **options: Any) -> Any:
        """What the hub's API says; None for what it does not have, where that is allowed."""
        response = self._ask(method, rest, **options)
        if response is None:
            return None
        try:
            return response.json()
        except requests.JSONDecodeError as error:
            raise DataError(
                f"{self.endpoint} does not answer as a hub does: a proxy or a login page may stand "
                f"between, or HF_ENDPOINT is wrong"
            ) from error

    def _ask(
        self, method: str, rest: str, *, absent_is_none: bool = False, **options: Any
    ) -> requests.Response | None:
        url = f"{self.endpoint}/api/datasets/{self.name}{rest}"
        attempts = Attempts(self.retry, f"{self.name} on {self.endpoint}")
        while True:
            try:
                response = self._send(method, url, **options)
                if self._wait_out(response, attempts):
                    continue
                if absent_is_none and response.status_code == 404:
                    return None
                self._refuse(response, rest or "its facts")
                return response
            except requests.RequestException as error:
                attempts.failed(cause(error))

    def _wait_out(self, response: requests.Response, attempts: Attempts) -> bool:
        """Whether the answer is one that may pass; waits then."""
        if response.status_code not in TRANSIENT:
            return False
        asked = retry_after(response.headers.get("Retry-After"))
        attempts.failed(f"the server answers {response.status_code} {response.reason}", asked)
        return True

    def _refuse(self, response: requests.Response, what: str) -> None:
        """Nothing for an answer that is fine, else the reason with a remedy."""
        status, code = response.status_code, response.headers.get("X-Error-Code")
        if status < 400:
            return
        page = f"{self.endpoint}/datasets/{self.name}"
        if code == "GatedRepo" or status == 403:
            if self.token is None:
                raise DataError(
                    f"{self.name} is gated. Accept its terms at {page}, make a token at "
                    f"{self.endpoint}/settings/tokens, and set HF_TOKEN.{self._otherwise}"
                )
            raise DataError(
                f"{self.name} is gated, and the hub refuses your token for it. Accept its terms "
                f"at {page} with the account of the token, and give the token the right to read "
                f"gated repositories.{self._otherwise}"
            )
        if status == 401 and code is None:
            raise DataError(f"the hub refuses the token in HF_TOKEN; make one at "
                            f"{self.endpoint}/settings/tokens, or unset it.")  # fmt: skip
        if status in {401, 404} and code in {None, "RepoNotFound"}:
            raise DataError(
                f"{self.endpoint} has no dataset {self.name}: it was moved or removed, or is "
                f"private.{self._otherwise}"
            )
        raise DataError(f"{self.name}: the hub answers {status} for {what} "
                        f"({code or response.reason}).{self._otherwise}")  # fmt: skip


class RangeFile(io.RawIOBase):
    """A file on the hub that is read by ranges.

    Args:
        client, commit, path: which one.
        size: bytes, as the hub lists it.
    """

    def __init__(self, client: HubClient, commit: str, path: str, size: int) -> None:
        self._client, self._commit, self._path = client, commit, path
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._place + size, self._size)
        if stop <= self._place:
            return b""
        data = self._client.read(self._commit, self._path, self._place, stop)
        self._place = stop
        return data
