"""Files on Google Drive, which answers share links with web pages."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode, urlsplit

_HOSTS = {"drive.google.com", "docs.google.com", "drive.usercontent.google.com"}
_DOWNLOAD = "https://drive.usercontent.google.com/download"


def download_address(url: str) -> str:
    """The address that answers with the file itself where ``url`` is a page of Google Drive.

    Drive answers its share links, and downloads of large files that are not confirmed, with web
    pages; ``confirm=t`` is what the button of the page about the virus scan sends.
    """
    found = _drive_id(url)
    if found is None:
        return url
    return f"{_DOWNLOAD}?{urlencode({'id': found, 'export': 'download', 'confirm': 't'})}"


def _drive_id(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.hostname not in _HOSTS:
        return None
    in_path = re.match(r"/file/d/([\w-]+)", parts.path)
    return in_path[1] if in_path else next(iter(parse_qs(parts.query).get("id", [])), None)


def by_hand(url: str) -> str:
    """How a person gets the file of an address of Google Drive; empty for other addresses."""
    found = _drive_id(url)
    if found is None:
        return ""
    return (
        f"\n    By hand: open https://drive.google.com/file/d/{found}/view in a browser, download "
        f"the file, and use bench weights add"
    )
