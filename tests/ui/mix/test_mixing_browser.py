"""Mixing as a user does it: rows, weights, tags, what is kept. A real browser, real adapters of mini."""

from PIL import Image
from playwright.sync_api import expect

from tests.ui.mix.acting import new_picture, only, parameters, pixels, prompt, set_steps
from tests.ui.serving import SECONDS, screenshot


def test_a_slider_moved_back_gives_the_same_picture(page, workspace):
    set_steps(page, 5)
    slider = page.get_by_label("range slider for Weight of clay")
    page.get_by_label("clay", exact=True).uncheck()
    page.get_by_label("number input for Weight of ink").fill("1")
    slider.press("ArrowRight")
    expect(page.get_by_label("clay", exact=True)).to_be_checked()  # moving it has turned it on
    slider.press("ArrowLeft")
    first = new_picture(page, workspace)
    for _ in range(10):
        slider.press("ArrowRight")
    other = new_picture(page, workspace)
    for _ in range(10):
        slider.press("ArrowLeft")
    again = new_picture(page, workspace)
    assert (pixels(first) != pixels(other)).any()
    assert (pixels(first) == pixels(again)).all()
    assert "<lora:clay:0.8> <lora:ink:1>" in parameters(first)
    assert "<lora:clay:1.3> <lora:ink:1>" in parameters(other)
    screenshot(page, "ui-mixed")


def test_the_number_box_goes_beyond_the_slider(page, workspace):
    set_steps(page, 4)
    only(page, "clay")
    page.get_by_label("number input for Weight of clay").fill("3.5")
    assert "<lora:clay:3.5>" in parameters(new_picture(page, workspace))


def test_rows_are_added_moved_removed_and_cleared(page, workspace):
    names = page.locator(".adapter .name")
    expect(names).to_have_text(["clay", "ink"])
    page.get_by_role("button", name="Remove clay").click()
    expect(names).to_have_text(["ink"])
    page.get_by_role("button", name="+ Add").click()
    page.get_by_label("Search the library").fill("clay fig")  # its trigger words
    page.get_by_role("button", name="Add clay", exact=True).click()
    expect(names).to_have_text(["ink", "clay"])
    page.get_by_role("button", name="More about clay").click()
    page.get_by_role("button", name="Move clay up").click()
    expect(names).to_have_text(["clay", "ink"])
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(names).to_have_count(0)
    set_steps(page, 4)
    assert "<lora:" not in parameters(new_picture(page, workspace))


def test_a_chip_puts_its_words_where_the_caret_is(page):
    box = prompt(page)
    box.fill("fox, night")
    box.press("Home")
    for _ in range(3):
        box.press("ArrowRight")
    page.get_by_role("button", name="clay figure").click()
    expect(box).to_have_value("fox, clay figure, night")
    assert box.evaluate("box => box.selectionStart") == len("fox, clay figure")
    box.press("Control+z")
    expect(box).to_have_value("fox, night")


def test_what_a_mix_may_say_stands_behind_a_disclosure(page, workspace):
    set_steps(page, 4)
    only(page, "clay")
    page.get_by_role("button", name="More about clay").click()
    page.get_by_label("UNet of clay").fill("0.5")
    page.get_by_label("from of clay").fill("0.25")
    page.get_by_label("Blocks of clay").select_option("style")
    screenshot(page, "ui-details")
    path = new_picture(page, workspace)
    assert "<lora:clay:0.8:0.5:start=0.25>" in parameters(path)
    assert '"blocks"' in Image.open(path).text["sdlora"]
    page.get_by_label("Switch: in turns").check()
    page.get_by_label("ink", exact=True).check()
    assert '"mode": "switch"' in Image.open(new_picture(page, workspace)).text["sdlora"]


def test_tags_pasted_become_rows_and_undo_brings_them_back(page, workspace):
    box = prompt(page)
    pasted = "blue fish <lora:ink:0.4> <lora:nowhere:1>"
    box.fill(pasted)
    box.press("Tab")
    expect(box).to_have_value("blue fish")
    expect(page.get_by_label("number input for Weight of ink")).to_have_value("0.4")
    expect(page.locator("#absorbed")).to_contain_text("no adapter nowhere")
    screenshot(page, "ui-tags")
    box.focus()
    box.press("Control+z")
    expect(box).to_have_value(pasted)
    expect(page.get_by_label("number input for Weight of ink")).to_have_value("0.8")
    box.press("Tab")
    page.wait_for_timeout(1000)
    expect(box).to_have_value(pasted)  # what was taken back stays


def test_parameters_pasted_become_settings(page, workspace):
    set_steps(page, 4)
    only(page, "ink")
    first = new_picture(page, workspace)
    page.get_by_role("button", name="New seed").click()
    only(page, "clay")
    prompt(page).fill(parameters(first))
    newest = new_picture(page, workspace, lambda: page.keyboard.press("Control+Enter"))  # Generate takes it apart, too
    expect(page.locator("#seed input")).to_have_value("1")
    expect(page.get_by_label("clay", exact=True)).to_have_count(0)
    assert (pixels(newest) == pixels(first)).all()


def test_mixes_and_prompts_are_kept_and_a_mix_becomes_one_adapter(page, workspace):
    page.get_by_role("button", name="Save, open, export").click()
    page.get_by_label("number input for Weight of clay").fill("0.35")
    page.get_by_label("Name", exact=True).fill("both")
    page.get_by_role("button", name="Save mix").click()
    expect(page.locator("#kept")).to_contain_text("Saved as mixes/both.toml")
    assert "clay = 0.35" in (workspace / "mixes" / "both.toml").read_text(encoding="utf-8")
    page.get_by_role("button", name="Save prompt").click()
    expect(page.locator("#kept")).to_contain_text("Saved as prompts/both.txt")
    assert "<lora:clay:0.35>" in (workspace / "prompts" / "both.txt").read_text(encoding="utf-8")
    page.get_by_label("Name", exact=True).fill("one of two")
    page.get_by_role("button", name="Export as one adapter").click()
    expect(page.locator("#kept")).to_contain_text("is in the library now", timeout=60 * SECONDS)
    exported = workspace / "adapters" / "one of two.safetensors"
    assert exported.is_file()
    exported.unlink()
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_label("Open a saved mix or prompt").click()
    page.get_by_role("option", name="mix: both").click()
    expect(page.get_by_label("number input for Weight of clay")).to_have_value("0.35")
    page.get_by_label("Name", exact=True).fill("../outside")
    page.get_by_role("button", name="Save mix").click()
    expect(page.get_by_text("Give it a name first")).to_be_visible()
    assert not (workspace / "outside.toml").exists()
