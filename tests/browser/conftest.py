"""Debian's Chromium, driven by Playwright, with the network and the console watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        missing = "the browser tests need chromium (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)  # a newcomer's machine need not have it; in CI its lack is a failure
    with sync_playwright() as playwright:
        # without a sandbox of its own, since the tests may run as root in a container
        started = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@dataclass
class Watched:
    """A page, and what it should not have: console errors, requests beyond its own folder."""

    page: Page
    errors: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def on_request(self, request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.external.append(request.url)


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A new page of 1200 x 900; at the end it must have had no error and no outside request."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    found = Watched(context.new_page())
    found.page.on("console", found.on_console)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on("request", found.on_request)
    yield found
    context.close()
    assert found.errors == []
    assert found.external == []
