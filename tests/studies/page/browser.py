"""A Chromium for tests of pages: the one that is installed, or Playwright's own."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""So that the browser itself asks for nothing."""


def missing() -> str | None:
    """Why no page can be opened here; None where one can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return None if _program(playwright) else f"no Chromium: none of {', '.join(NAMES)} on PATH"


def _program(playwright: Playwright) -> str | None:
    own = playwright.chromium.executable_path
    return next((path for name in NAMES if (path := shutil.which(name))), own if own and Path(own).exists() else None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(playwright), args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()
