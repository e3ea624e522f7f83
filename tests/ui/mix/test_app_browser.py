"""The app as a whole as a user meets it: opened, reloaded, on a small screen, by others. A real browser."""

import base64
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

import sdlora
from tests.ui.mix.acting import generate_button, new_picture, parameters, prompt, ready, set_steps
from tests.ui.serving import ROOT, SECONDS, Server, screenshot, write_adapter


def test_a_new_workspace_opens_with_two_styles_and_a_prompt(browser, tmp_path):
    server = Server(tmp_path / "workspace", tmp_path / "log.txt")
    server.start()
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(server.address)
        for name in ("sample-clay", "sample-ink"):
            expect(page.get_by_label(name, exact=True)).to_be_checked(timeout=90 * SECONDS)
        expect(prompt(page)).to_have_value(re.compile("red apple, clay style, ink style"))
        expect(page.get_by_text("Train your own style.")).to_be_visible()
        expect(page.get_by_label("Width")).not_to_have_value("", timeout=90 * SECONDS)
        path = new_picture(page, tmp_path / "workspace")
        expect(page.locator("#picture img")).to_be_visible()
        assert "<lora:sample-clay:" in parameters(path)
        screenshot(page, "ui-first")
        page.get_by_role("button", name="Train a style").click()
        expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
        page.close()
    finally:
        server.stop()


def test_the_page_stays_as_it_was_through_a_reload(open_page, workspace):
    page, other = open_page(), open_page()
    set_steps(page, 4)
    path = new_picture(page, workspace)
    prompt(page).fill("purple whale")
    page.get_by_label("number input for Weight of clay").fill("1.45")
    page.get_by_label("number input for Weight of clay").press("Tab")
    page.get_by_role("button", name="Remove ink").click()
    page.wait_for_timeout(300)
    page.reload()
    expect(prompt(page)).to_have_value("purple whale", timeout=60 * SECONDS)
    expect(page.get_by_label("number input for Weight of clay")).to_have_value("1.45")
    expect(page.get_by_label("ink", exact=True)).to_have_count(0)
    expect(page.locator("#picture img")).to_have_attribute("src", re.compile(re.escape(path.name)))
    other.reload()  # another tab is another mix
    ready(other)
    expect(page.get_by_label("number input for Weight of clay")).to_have_value("1.45")
    expect(other.get_by_label("number input for Weight of clay")).to_have_value("0.8")


def test_a_grid_is_drawn_along_two_axes(page, workspace):
    set_steps(page, 4)
    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(page.locator("#compare-about")).to_contain_text("red apple")
    expect(page.get_by_label("Columns: of")).to_have_value("clay")
    page.get_by_label("Columns: values").fill("0, 1")
    page.get_by_label("Rows: values").fill("1-2")
    page.get_by_role("button", name="Draw the grid").click()
    expect(page.locator("#cells button.thumbnail-item")).to_have_count(4, timeout=120 * SECONDS)
    expect(page.locator("#sheet img")).to_be_visible()
    [sheet] = (workspace / "outputs").glob("*-grid.png")
    assert "X/Y/Z plot" in parameters(sheet)
    screenshot(page, "ui-compare")
    page.locator("#cells button.thumbnail-item").last.click()
    page.get_by_role("button", name="Use these settings in Mix").click()
    expect(page.get_by_role("tab", name="Mix", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#seed input")).to_have_value("2")
    expect(page.get_by_label("number input for Weight of clay")).to_have_value("1")
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_label("Columns: values").fill("nonsense")
    page.get_by_role("button", name="Draw the grid").click()
    expect(page.get_by_text("is no number and no range")).to_be_visible()


def test_what_files_say_is_shown_as_text(page, workspace):
    added = workspace / "adapters" / "new.safetensors"
    trigger = '<img src="http://elsewhere.example/x.png"> & co'
    try:
        write_adapter(sdlora.load_base("mini"), added, 2, trigger)
        page.get_by_role("button", name="+ Add").click()
        page.get_by_role("button", name="Add new", exact=True).click()
        expect(page.get_by_role("button", name=trigger)).to_be_visible()
    finally:
        added.unlink()
    generate_button(page).click()
    expect(page.get_by_text("The adapter new is no longer in")).to_be_visible()
    page.get_by_role("button", name="Remove new").click()


def test_a_mistake_is_one_sentence(page, workspace):
    page.get_by_label("Width").fill("100")
    generate_button(page).click()
    expect(page.get_by_text(re.compile(r"size 100x\d+: both sides must be multiples of \d+ pixels"))).to_be_visible()
    expect(generate_button(page)).to_be_enabled()
    screenshot(page, "ui-mistake")
    base = page.get_by_label("Base")
    base.fill("nowhere/at all <b>")
    base.press("Enter")
    expect(page.get_by_text("There is no model at nowhere/at all <b>")).to_be_visible(timeout=20 * SECONDS)
    base.fill("mini")
    base.press("Enter")
    page.get_by_label("Width").fill("128")
    set_steps(page, 4)
    new_picture(page, workspace)


def test_a_narrow_dark_screen_is_never_scrolled_sideways(open_page, workspace):
    page = open_page(width=390, height=844, scheme="dark")
    set_steps(page, 4)
    new_picture(page, workspace)
    expect(page.locator("#picture img")).to_be_visible()
    page.get_by_role("button", name="More about clay").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "ui-narrow")
    page.locator(".overflow-menu > button").click()  # where Gradio puts the tabs that have no room
    page.locator(".overflow-dropdown button", has_text="Compare").click()
    expect(page.get_by_role("button", name="Draw the grid")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "ui-narrow-compare")


def test_every_control_has_a_name(page):
    """For those who can't see it: what a screen reader would say of each control on Mix is not nothing."""
    page.get_by_role("button", name="More about clay").click()
    page.get_by_role("button", name="Sampler, steps").click()
    nameless = page.locator("#mix").evaluate(
        """mix => [...mix.querySelectorAll("button, input, textarea, select")].filter((one) => one.offsetParent !== null
            && !(one.ariaLabel || one.title || one.textContent.trim() || one.labels?.[0]?.textContent.trim()
                 || one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


def test_only_outputs_are_served(address, workspace):
    for path in (workspace / "adapters" / "clay.safetensors", ROOT / "pyproject.toml", Path(sys.executable)):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{address}gradio_api/file={path.as_posix()}")
        assert refusal.value.code in (403, 404)


def test_a_password_is_asked_for_and_a_taken_port_is_left(workspace, address, tmp_path):
    taken = address.rstrip("/").rpartition(":")[2]
    server = Server(workspace, tmp_path / "log.txt", "--password", "open sesame", "--port", taken)
    server.start()
    try:
        other = server.address
        assert other != address
        assert f"Port {taken} is taken" in server.log
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{other}config")
        assert refusal.value.code == 401
        pair = base64.b64encode(b"sdlora:open sesame").decode()
        request = urllib.request.Request(f"{other}config", headers={"Authorization": f"Basic {pair}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
    finally:
        server.stop()
