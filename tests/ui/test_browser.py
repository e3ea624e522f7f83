"""The page as a user meets it: the real app, a real browser, pictures of mini with two real adapters."""

import base64
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import expect, sync_playwright

import sdlora
from sdlora.adapters.updates import LoRA

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(os.environ.get("SDLORA_SCREENSHOTS", ROOT / "artifacts"))
SECONDS = 1000  # Playwright counts milliseconds
expect.set_options(timeout=30 * SECONDS)  # a busy machine is no failure
TRIGGERS = {"clay": "clay figure", "ink": "ink drawing"}


def write_adapter(base, path, seed, trigger):
    """Random updates of rank 4 on mini's attention, strong enough to be seen."""
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for module_path, module in base.modules().items():
        if module_path.startswith("unet.") and module_path.endswith(("to_q", "to_k", "to_v", "to_out.0")):
            out_features, in_features = module.weight.shape
            up = torch.randn(out_features, 4, generator=generator) * module.weight.float().std() / 6
            updates[module_path] = LoRA(torch.randn(4, in_features, generator=generator), up, alpha=4.0)
    metadata = {"modelspec.trigger_phrase": trigger}
    return sdlora.save_adapter(sdlora.Adapter(path.stem, updates, metadata=metadata), path)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


def start(workspace, log, *options):
    """The app as `sdlora ui` starts it."""
    command = [sys.executable, "-m", "sdlora.cli", "ui", "--workspace", str(workspace), *options]
    paths = [str(ROOT), os.environ.get("PYTHONPATH")]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)


def printed_address(process, log):
    """Where the app says that it is, once it says so."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        if address := re.search(r"http://\S+", log.read_text(encoding="utf-8", errors="replace")):
            return address[0]
        time.sleep(0.1)
    process.kill()
    return pytest.fail(f"sdlora ui said no address: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def address(workspace, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    process = start(workspace, log)
    base = sdlora.load_base("mini")
    for seed, (name, trigger) in enumerate(TRIGGERS.items()):
        write_adapter(base, workspace / "adapters" / f"{name}.safetensors", seed, trigger)
    yield printed_address(process, log)
    process.terminate()
    process.wait(20)
    assert "Traceback" not in log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    where = {"executable_path": found} if found else {"channel": "chrome"}
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(args=["--no-sandbox", "--disable-background-networking"], **where)
        except BrowserError as problem:
            pytest.fail(f"These tests need Chromium or Chrome, for example from `apt-get install chromium`: {problem}")
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page in a browser of its own; none may ask anything of another host."""
    contexts, requests = [], []

    def open_page(width=1280, height=860, scheme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme))
        contexts[-1].on("request", lambda request: requests.append(request.url))
        page = contexts[-1].new_page()
        page.goto(address)
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    assert requests


@pytest.fixture
def page(open_page):
    return open_page()


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


def new_picture(page, workspace):
    """Generate, and the file that comes of it."""
    before = pictures(workspace)
    generate_button(page).click()
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


def screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"ui-{name}.png", full_page=True)


def test_a_new_workspace_opens_with_two_styles_and_a_prompt(browser, tmp_path):
    log = tmp_path / "log.txt"
    process = start(tmp_path / "workspace", log)
    try:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(printed_address(process, log))
        for name in ("sample-clay", "sample-ink"):
            expect(page.get_by_label(name, exact=True)).to_be_checked(timeout=90 * SECONDS)
        expect(prompt(page)).to_have_value(re.compile("red apple, clay style, ink style"))
        expect(page.get_by_text("Train your own style.")).to_be_visible()
        expect(page.get_by_label("Width")).not_to_have_value("", timeout=90 * SECONDS)
        path = new_picture(page, tmp_path / "workspace")
        expect(page.locator("#picture img")).to_be_visible()
        assert "<lora:sample-clay:" in parameters(path)
        page.wait_for_timeout(500)
        screenshot(page, "first")
        page.get_by_role("button", name="Train a style").click()
        expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")
        page.close()
    finally:
        process.terminate()
        process.wait(20)


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
    page.wait_for_timeout(500)
    screenshot(page, "mixed")


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
    screenshot(page, "details")
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
    screenshot(page, "tags")
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
    page.keyboard.press("Control+Enter")  # Generate takes it apart, too
    expect(page.locator("#seed input")).to_have_value("1")
    expect(page.get_by_label("clay", exact=True)).to_have_count(0)
    expect(generate_button(page)).to_be_enabled()
    expect(page.locator("#picture img")).not_to_have_attribute("src", re.compile(re.escape(first.name)))
    newest = max(pictures(workspace))
    assert newest != first
    assert (pixels(newest) == pixels(first)).all()


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
    page.wait_for_timeout(500)
    screenshot(page, "pair")


def test_use_these_settings(page, workspace):
    set_steps(page, 4)
    prompt(page).fill("octopus")
    new_picture(page, workspace)
    prompt(page).fill("something else")
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_role("button", name="Use these settings", exact=True).first.click()
    expect(prompt(page)).to_have_value("octopus")
    expect(page.locator(".adapter .name")).to_have_text(["clay", "ink"])


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
    page.wait_for_timeout(500)
    screenshot(page, "compare")
    page.locator("#cells button.thumbnail-item").last.click()
    page.get_by_role("button", name="Use these settings in Mix").click()
    expect(page.get_by_role("tab", name="Mix", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#seed input")).to_have_value("2")
    expect(page.get_by_label("number input for Weight of clay")).to_have_value("1")
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_label("Columns: values").fill("nonsense")
    page.get_by_role("button", name="Draw the grid").click()
    expect(page.get_by_text("is no number and no range")).to_be_visible()


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
        screenshot(page, "preview")
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
    screenshot(page, "mistake")
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
    screenshot(page, "narrow")
    page.locator(".overflow-menu > button").click()  # where Gradio puts the tabs that have no room
    page.locator(".overflow-dropdown button", has_text="Compare").click()
    expect(page.get_by_role("button", name="Draw the grid")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "narrow-compare")


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
    log = tmp_path / "log.txt"
    process = start(workspace, log, "--password", "open sesame", "--port", taken)
    try:
        other = printed_address(process, log)
        assert other != address
        assert f"Port {taken} is taken" in log.read_text(encoding="utf-8")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{other}config")
        assert refusal.value.code == 401
        pair = base64.b64encode(b"sdlora:open sesame").decode()
        request = urllib.request.Request(f"{other}config", headers={"Authorization": f"Basic {pair}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        process.wait(20)
