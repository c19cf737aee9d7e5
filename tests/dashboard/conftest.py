"""A browser without a window. Debian's package is called chromium; CHROMIUM names another."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.cluster.conftest import model

__all__ = ["browser", "model", "open_page"]

# Beside a run that trains on the same two cores, a page answers late; `expect` has a bound of its own, 5 s.
_TIMEOUT_MS = 120_000

# It looks for its maker's servers otherwise, and a test needs no graphics card.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "these tests need Chromium (`apt install chromium`), or CHROMIUM=/path/to/one"
    expect.set_options(timeout=_TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address; when the test ends, nothing must have been fetched from elsewhere, or have failed."""
    faults: list[str] = []
    pages: list[Page] = []

    def open_(url: str, width_px: int = 1400, scheme: str = "light") -> Page:
        page = browser.new_page(viewport={"width": width_px, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        page.set_default_timeout(_TIMEOUT_MS)
        here = ("data:", "blob:", url.split("?")[0])
        page.on("request", lambda r: None if r.url.startswith(here) else faults.append(f"fetched {r.url}"))
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        pages.append(page)
        page.goto(url)
        page.get_by_role("tab", name="Now").wait_for()
        return page

    yield open_
    for page in pages:
        page.close()
    assert faults == []
