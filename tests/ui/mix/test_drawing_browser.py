"""Drawing as a user does it: watched, cancelled, several at once, looked at again. A real browser, pictures of mini."""

import re
import urllib.request
from io import BytesIO

from PIL import Image
from playwright.sync_api import expect

from tests.ui.mix.acting import (
    TRIGGERS,
    drawing,
    generate_button,
    new_picture,
    only,
    parameters,
    pictures,
    pixels,
    prompt,
    ready,
    set_steps,
)
from tests.ui.serving import SECONDS, screenshot


def test_the_picture_comes_with_its_parameters(page, workspace):
    set_steps(page, 4)
    only(page)
    prompt(page).fill("blue fish <b>")
    path = new_picture(page, workspace)
    text = page.locator("#parameters textarea").input_value()
    assert text == Image.open(path).text["parameters"]
    assert text.startswith("blue fish <b>\nSteps: 4, ")
    shown = page.locator("#picture img")
    expect(shown).to_be_visible()
    with urllib.request.urlopen(shown.get_attribute("src")) as answer:
        served = Image.open(BytesIO(answer.read()))
    assert served.text["parameters"] == text  # what is downloaded from the page keeps them
    assert shown.bounding_box()["width"] > 2 * served.width  # mini's small pictures are shown enlarged


def test_a_picture_can_be_watched_while_it_is_drawn(page, workspace):
    shown = page.locator("#picture img")

    def watch():
        """Two previews of a picture that takes its time, then Cancel."""
        before, had = pictures(workspace), shown.get_attribute("src") if shown.count() else ""
        set_steps(page, 150)
        generate_button(page).click()
        expect(shown).not_to_have_attribute("src", had, timeout=60 * SECONDS)
        first = shown.get_attribute("src")
        with urllib.request.urlopen(first) as answer:
            assert Image.open(BytesIO(answer.read())).size == (256, 256)
        expect(shown).not_to_have_attribute("src", first)
        expect(page.locator("#status")).to_contain_text(re.compile(r"step \d+ of 150"))
        screenshot(page, "ui-preview")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#status")).to_have_text("Cancelled.")
        assert pictures(workspace) == before

    watch()
    expect(shown).to_have_count(0)
    set_steps(page, 4)
    path = new_picture(page, workspace)
    expect(shown).to_have_attribute("src", re.compile(re.escape(path.name)))
    watch()
    expect(shown).to_have_attribute("src", re.compile(re.escape(path.name)))


def test_an_earlier_picture_can_be_looked_at_again(page, workspace):
    set_steps(page, 4)
    new_picture(page, workspace)
    first = page.locator("#parameters textarea").input_value()
    page.get_by_role("button", name="New seed").click()
    expect(page.locator("#seed input")).not_to_have_value("1")
    new_picture(page, workspace)
    expect(page.locator("#parameters textarea")).not_to_have_value(first)
    page.locator("#gallery button.thumbnail-item").last.click()
    expect(page.locator("#parameters textarea")).to_have_value(first)


def test_cancel_stops_at_once_and_leaves_the_page_usable(page, workspace):
    before = pictures(workspace)
    set_steps(page, 150)
    generate_button(page).click()
    drawing(page)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("Cancelled.")
    assert pictures(workspace) == before
    set_steps(page, 4)
    new_picture(page, workspace)


def test_a_reload_stops_what_was_drawn_and_the_page_goes_on(page, workspace):
    before = pictures(workspace)
    set_steps(page, 150)
    generate_button(page).click()
    drawing(page)
    page.reload()
    ready(page)
    set_steps(page, 4)
    new_picture(page, workspace)
    assert len(pictures(workspace) - before) == 1


def test_two_tabs_do_not_mix_up(open_page, workspace):
    before = pictures(workspace)
    tabs = {name: open_page() for name in TRIGGERS}
    for name, page in tabs.items():
        set_steps(page, 6)
        prompt(page).fill("red apple")
        only(page, name)
    for page in tabs.values():
        generate_button(page).click()
    for name, page in tabs.items():
        expect(page.locator("#parameters textarea")).to_have_value(
            re.compile(rf"^red apple <lora:{name}:0.8>\n"), timeout=60 * SECONDS
        )
    first, second = (pixels(path) for path in pictures(workspace) - before)
    assert (first != second).any()


def test_whoever_waits_is_told_how_many_come_before(open_page):
    first, second = open_page(), open_page()
    for page in (first, second):
        set_steps(page, 150)
        generate_button(page).click()
    expect(second.locator("#status")).to_contain_text("waiting for 1 before this one")
    for page in (second, first):
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#status")).to_have_text("Cancelled.")


def test_several_pictures_variations_and_without_adapters(page, workspace):
    set_steps(page, 4)
    before = pictures(workspace)
    page.get_by_label("Pictures", exact=True).fill("2")
    generate_button(page).click()
    expect(page.locator("#gallery button.thumbnail-item")).to_have_count(2, timeout=60 * SECONDS)
    expect(generate_button(page)).to_be_enabled()
    assert sorted(path.stem.rpartition("-")[2] for path in pictures(workspace) - before) == ["1", "2"]
    page.get_by_role("button", name="Vary").click()
    expect(page.locator("#gallery button.thumbnail-item")).to_have_count(6, timeout=120 * SECONDS)
    expect(generate_button(page)).to_be_enabled()
    page.locator("#gallery button.thumbnail-item").last.click()
    page.get_by_role("button", name="With / without adapters").click()
    expect(page.locator("#pair img")).to_have_count(2, timeout=60 * SECONDS)
    expect(generate_button(page)).to_be_enabled()
    assert "<lora:" not in parameters(max(pictures(workspace)))
    screenshot(page, "ui-pair")


def test_live_draws_a_draft_when_a_slider_is_let_go(page, workspace):
    before = pictures(workspace)
    page.get_by_label("Live").check()
    slider = page.get_by_label("range slider for Weight of clay")
    slider.press("ArrowLeft")
    expect(page.locator("#status")).to_contain_text("Draft of 8 steps", timeout=60 * SECONDS)
    shown = page.locator("#picture img")
    first = shown.get_attribute("src")
    slider.press("ArrowRight")
    expect(shown).not_to_have_attribute("src", first, timeout=60 * SECONDS)
    assert pictures(workspace) == before  # a draft is no picture
    page.get_by_label("Live").uncheck()


def test_use_these_settings(page, workspace):
    set_steps(page, 4)
    prompt(page).fill("octopus")
    new_picture(page, workspace)
    prompt(page).fill("something else")
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="Use these settings", exact=True).first.click()
    expect(prompt(page)).to_have_value("octopus")
    expect(page.locator(".adapter .name")).to_have_text(["clay", "ink"])
