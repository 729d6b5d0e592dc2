"""A headless Chromium, and screenshots of where the journey came by (never in git)."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from playwright.sync_api import Browser, Page, expect, sync_playwright

SCREENSHOTS = Path(__file__).with_name("screenshots")
NAMES = ("chromium", "chromium-browser", "google-chrome")

PASSWORD = "a long password"

Shoot = Callable[[Page, str], None]
Login = Callable[[str], Page]


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
def login(real_commits: None, live_server: Any, chromium: Browser) -> Login:
    """A browser of one's own for everybody. A script of ours that fails, fails the test."""

    def enter(name: str) -> Page:
        page = chromium.new_context(viewport={"width": 1440, "height": 1000}).new_page()
        page.on("pageerror", lambda error: pytest.fail(f"The page's script failed: {error}"))
        page.goto(f"{live_server.url}/admin/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{live_server.url}/admin/")
        return page

    return enter


@pytest.fixture
def shoot() -> Shoot:
    SCREENSHOTS.mkdir(exist_ok=True)
    taken = 0

    def one(page: Page, name: str) -> None:
        nonlocal taken
        taken += 1
        page.screenshot(path=SCREENSHOTS / f"{taken:02}-{name}.png", full_page=True)

    return one
