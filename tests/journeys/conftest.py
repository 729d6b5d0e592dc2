"""A headless Chromium, and screenshots of where the journey came by (never in git)."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import Browser, Page, sync_playwright

SCREENSHOTS = Path(__file__).with_name("screenshots")
NAMES = ("chromium", "chromium-browser", "google-chrome")

Shoot = Callable[[Page, str], None]


@pytest.fixture
def chromium(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.fail("The journeys need Chromium: apt-get install chromium, or leave them out with -m 'not browser'.")
    # Playwright's event loop runs in this thread, and Django would take the test for a coroutine.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    # Chromium's sandbox does not run as root; it meets only our own pages here.
    options = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()
        connections.close_all()  # those of the event loop, which nobody reaches after it


@pytest.fixture
def shoot() -> Shoot:
    SCREENSHOTS.mkdir(exist_ok=True)
    taken = 0

    def one(page: Page, name: str) -> None:
        nonlocal taken
        taken += 1
        page.screenshot(path=SCREENSHOTS / f"{taken:02}-{name}.png", full_page=True)

    return one
