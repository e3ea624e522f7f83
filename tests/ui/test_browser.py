"""The page as a user meets it: the real app, a real browser, pictures of mini with two real adapters."""

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
    """The rows are there, and mini's own size, which comes last."""
    expect(page.get_by_label("clay", exact=True)).to_be_visible(timeout=90 * SECONDS)
    expect(page.get_by_label("Width")).not_to_have_value("", timeout=90 * SECONDS)


def set_steps(page, steps):
    box = page.get_by_label("number input for Steps")
    box.fill(str(steps))
    box.press("Tab")


def generate_button(page):
    return page.get_by_role("button", name="Generate")


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


def drawing(page):
    """Wait until the first steps are done."""
    expect(page.locator("#status")).to_contain_text(re.compile(r"step \d+ of 150"), timeout=60 * SECONDS)


def pixels(path):
    return np.asarray(Image.open(path))


def screenshot(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"ui-{name}.png", full_page=True)


def test_a_slider_moved_back_gives_the_same_picture(page, workspace):
    set_steps(page, 5)
    page.get_by_label("ink", exact=True).check()
    slider = page.get_by_label("range slider for Weight of clay")
    for _ in range(4):
        slider.press("ArrowLeft")
    expect(page.get_by_label("clay", exact=True)).to_be_checked()  # moving it has turned it on
    first = new_picture(page, workspace)
    for _ in range(10):
        slider.press("ArrowRight")
    other = new_picture(page, workspace)
    for _ in range(10):
        slider.press("ArrowLeft")
    again = new_picture(page, workspace)
    assert (pixels(first) != pixels(other)).any()
    assert (pixels(first) == pixels(again)).all()
    assert "<lora:clay:0.8> <lora:ink:1>" in Image.open(first).text["parameters"]
    assert "<lora:clay:1.3> <lora:ink:1>" in Image.open(other).text["parameters"]
    page.wait_for_timeout(500)
    screenshot(page, "mixed")


def test_the_picture_comes_with_its_parameters(page, workspace):
    set_steps(page, 4)
    page.get_by_label("Prompt", exact=True).fill("blue fish <b>")
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
        page.get_by_label(name, exact=True).check()
    for page in tabs.values():
        generate_button(page).click()
    for name, page in tabs.items():
        expect(page.locator("#parameters textarea")).to_have_value(
            re.compile(rf"^red apple <lora:{name}:1>\n"), timeout=60 * SECONDS
        )
    first, second = (pixels(path) for path in pictures(workspace) - before)
    assert (first != second).any()


def test_the_folder_is_read_again_and_what_was_set_stays(page, workspace):
    added = workspace / "adapters" / "new.safetensors"
    trigger = '<img src="http://elsewhere.example/x.png"> & co'
    page.get_by_label("clay", exact=True).check()
    page.get_by_label("number input for Weight of ink").fill("0.35")
    try:
        write_adapter(sdlora.load_base("mini"), added, 2, trigger)
        page.get_by_role("button", name="Refresh").click()
        expect(page.get_by_label("new", exact=True)).to_be_visible()
        expect(page.get_by_text(trigger)).to_be_visible()  # as text: a file's words are never HTML
        expect(page.get_by_label("clay", exact=True)).to_be_checked()
        expect(page.get_by_label("number input for Weight of ink")).to_have_value("0.35")
    finally:
        added.unlink()
    page.get_by_label("new", exact=True).check()
    generate_button(page).click()
    expect(page.get_by_text("The adapter new is no longer in")).to_be_visible()
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_label("new", exact=True)).to_be_hidden()


def test_more_adapters_than_rows_are_chosen_from_a_list(page, workspace):
    copies = [workspace / "adapters" / f"copy{number}.safetensors" for number in range(9)]
    try:
        for copy in copies:
            shutil.copy(workspace / "adapters" / "clay.safetensors", copy)
        page.get_by_role("button", name="Refresh").click()
        chooser = page.get_by_label("8 of 11 are shown")
        expect(chooser).to_be_visible()
        expect(page.get_by_label("copy8", exact=True)).to_be_hidden()
        page.locator(".token", has_text="copy0").locator(".token-remove").click()
        expect(page.get_by_label("copy0", exact=True)).to_be_hidden()
        page.get_by_label("7 of 11 are shown").click()
        page.get_by_role("option", name="copy8").click()
        expect(page.get_by_label("copy8", exact=True)).to_be_visible()
        screenshot(page, "many")
    finally:
        for copy in copies:
            copy.unlink()


def test_a_workspace_without_adapters_says_how_to_make_one(page, workspace):
    folder = workspace / "adapters"
    folder.rename(workspace / "elsewhere")
    try:
        page.get_by_role("button", name="Refresh").click()
        expect(page.get_by_text("No adapters yet.")).to_be_visible()
        expect(page.get_by_label("clay", exact=True)).to_be_hidden()
        screenshot(page, "empty")
    finally:
        (workspace / "elsewhere").rename(folder)


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
    page.get_by_label("clay", exact=True).check()
    new_picture(page, workspace)
    expect(page.locator("#picture img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "narrow")


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
        with urllib.request.urlopen(f"{other}login", b"username=sdlora&password=open+sesame") as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        process.wait(20)
