"""What the tests in a browser share."""

import shutil

import pytest
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import expect, sync_playwright

from tests.ui.serving import SECONDS

expect.set_options(timeout=30 * SECONDS)  # a busy machine is no failure


@pytest.fixture(scope="module")
def browser():
    """Chromium or Chrome, with nobody at the screen."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    where = {"executable_path": found} if found else {"channel": "chrome"}
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(args=["--no-sandbox", "--disable-background-networking"], **where)
        except BrowserError as problem:
            pytest.fail(f"These tests need Chromium or Chrome, for example from `apt-get install chromium`: {problem}")
        yield browser
        browser.close()
