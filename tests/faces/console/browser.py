"""A real browser against a real server: Chromium of this machine, headless, driven by Playwright."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.faces.console.world import World

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion",
]
WIDE, PHONE = {"width": 1200, "height": 800}, {"width": 390, "height": 844}
PATIENCE = 15_000  #: milliseconds


@contextmanager
def served(world: World) -> Iterator[str]:
    """The world's console on a free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(world.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser. Fails, and does not skip, where there is none: `scripts/chromium.sh` installs it."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium on this machine: run scripts/chromium.sh"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """Somebody at that browser, signed in. Keeps what the browser complained of."""

    def __init__(self, browser: Browser, site: str, key: str, **how: Any) -> None:
        self.site = site
        self.context: BrowserContext = browser.new_context(viewport=how.pop("viewport", WIDE), **how)
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if _is_trouble(said) else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{site}/sign-in")
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Main").wait_for()

    def go(self, path: str) -> Page:
        self.page.goto(self.site + path)
        return self.page

    def leave(self) -> None:
        self.context.close()
        assert self.complaints == []


def _is_trouble(said: Any) -> bool:
    """An error of a page; not a refusal that a page has shown."""
    return said.type == "error" and "the server responded with a status of 4" not in said.text
