"""What tests do on the Mix page, as a user does."""

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.ui.serving import SECONDS

TRIGGERS = {"clay": "clay figure", "ink": "ink drawing"}  # of the two adapters in the workspace


def ready(page):
    """The rows are there, and mini's own size."""
    expect(page.get_by_label("clay", exact=True)).to_be_visible(timeout=90 * SECONDS)
    expect(page.get_by_label("Width")).not_to_have_value("", timeout=90 * SECONDS)


def set_steps(page, steps):
    box = page.get_by_label("number input for Steps")
    if not box.is_visible():
        page.get_by_role("button", name="Sampler, steps").click()
    box.fill(str(steps))
    box.press("Tab")


def generate_button(page):
    return page.get_by_role("button", name="Generate", exact=True)


def prompt(page):
    return page.get_by_label("Prompt", exact=True)


def only(page, *names):
    """These adapters of the mix are on, the others off."""
    for name in TRIGGERS:
        page.get_by_label(name, exact=True).set_checked(name in names)


def pictures(workspace):
    return set((workspace / "outputs").glob("*.png"))


def new_picture(page, workspace, generate=None):
    """Generate, by the button or by a call, and the file that comes of it."""
    before = pictures(workspace)
    (generate or generate_button(page).click)()
    for _ in range(600):
        if new := pictures(workspace) - before:
            expect(generate_button(page)).to_be_enabled()
            [path] = new
            return path
        page.wait_for_timeout(100)
    return pytest.fail(f"no picture came; the page says {page.locator('#status').inner_text()!r}")


def parameters(path):
    return Image.open(path).text["parameters"]


def drawing(page):
    """Wait until the first steps are done."""
    expect(page.locator("#status")).to_contain_text(re.compile(r"step \d+ of 150"), timeout=60 * SECONDS)


def pixels(path):
    return np.asarray(Image.open(path))
