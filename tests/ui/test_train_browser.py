"""Training as an artist does it: from dropped images without captions to an adapter that is kept, mixed and shared,
with no command after `sdlora ui`. A real browser, a real server, real trainings on mini of a few steps."""

import re
import shutil
import time
import zipfile
from io import BytesIO
from pathlib import Path
from urllib.parse import urljoin

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.captioning.tiny import tiny_blip
from tests.ui.serving import ROOT, SECONDS, Server, screenshot
from ui.runs import RunQueue, processes
from ui.runs.watching import standing

LONG = 240 * SECONDS


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "workspace", tmp_path / "log.txt")
    server.start()
    yield server
    server.stop()
    for ticket in RunQueue(server.workspace).tickets():
        processes.end(ticket.pid, ticket.created)


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(server.address)
    to_train(page)
    yield page
    context.close()


@pytest.fixture
def images(tmp_path):
    """Eight icons of the ink sample, as somebody without captions has them."""
    folder = tmp_path / "dropped"
    folder.mkdir()
    icons = sorted(path for path in (ROOT / "datasets" / "ink").rglob("*.png"))[:8]
    return [Path(shutil.copy(icon, folder)) for icon in icons]


def to_train(page):
    page.get_by_role("tab", name="Train", exact=True).click(timeout=90 * SECONDS)
    expect(page.get_by_role("tab", name="New training")).to_be_visible()
    expect(page.locator("#pick input")).to_be_visible(timeout=60 * SECONDS)


def drop(page, files):
    page.locator("#drop input[type=file]").set_input_files([str(file) for file in files])


def field(page, key):
    return page.locator(f"#train-{key} textarea, #train-{key} input").first


def fill(page, **settings):
    for key, value in settings.items():
        field(page, key).fill(str(value))
        field(page, key).press("Tab")


def begin(page, images, **settings):
    drop(page, images)
    expect(page.locator("#findings .facts")).to_contain_text("8 images to train on", timeout=60 * SECONDS)
    fill(page, name="ink", trigger="ink drawing", **settings)
    page.locator("#start").click()
    expect(page.locator("#run-status h3")).to_have_text("ink")


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def fetched(page, server, link):
    """What a link leads to."""
    answer = page.request.get(urljoin(server.address, link.get_attribute("href")))
    assert answer.ok
    return answer.body()


def shared(page, server):
    """What is in the zip that the library makes of it."""
    page.get_by_role("tab", name="Library", exact=True).click()
    button(page, "Refresh").click()
    page.locator("[data-adapter=ink]").click(timeout=60 * SECONDS)
    page.get_by_role("tab", name="Share", exact=True).click()
    button(page, "Make the zip").click()
    link = page.locator("#share-zip a")
    expect(link).to_be_visible(timeout=120 * SECONDS)
    return zipfile.ZipFile(BytesIO(fetched(page, server, link))).namelist()


def test_from_dropped_images_to_an_adapter_that_is_kept_mixed_and_shared(page, server, images):
    drop(page, images)
    expect(page.locator("#findings")).to_contain_text("It has no caption", timeout=60 * SECONDS)
    expect(page.locator("#estimate")).to_contain_text("The images have no captions: give a trigger word")
    expect(page.locator("#caption-list textarea")).to_have_count(8)
    fill(page, name="ink", trigger="ink drawing", steps=12)
    expect(page.locator("#estimate")).to_contain_text("12 steps of 8 images at 128 pixels")
    button(page, "Measure one step").click()
    expect(page.locator("#estimate")).to_contain_text("Measured: 12 steps of", timeout=LONG)
    screenshot(page, "train-images")
    page.locator("#start").click()
    expect(page.locator("#device-banner")).to_contain_text("ink is being trained", timeout=60 * SECONDS)
    expect(page.locator("#queue .chip.training")).to_be_visible(timeout=LONG)
    expect(page.locator("#previews img").first).to_be_visible(timeout=LONG)
    expect(button(page, "Try it")).to_be_visible(timeout=LONG)
    expect(page.locator("#run-status")).to_contain_text("Finished · step 12 of 12")
    expect(page.locator("#device-banner")).to_be_hidden()
    expect(page.locator("#previews thead th")).to_have_count(6)  # the prompts, the base, four steps
    expect(page.locator("#curve")).to_be_visible()
    assert "held-out" in fetched(page, server, page.get_by_role("link", name="Report")).decode()
    screenshot(page, "train-done")

    kept = server.workspace / "adapters" / "ink.safetensors"
    before = kept.read_bytes()
    page.get_by_role("button", name="Keep this one: step 6").click()
    expect(page.locator("#run-note")).to_contain_text("Step 6 is now the adapter ink")
    expect(page.locator("#previews thead th", has_text="Step 6")).to_contain_text("yours")
    assert kept.read_bytes() != before
    page.get_by_role("button", name="Enlarge: ink drawing, step 6").click()
    expect(page.locator("#preview-large img")).to_be_visible()

    button(page, "Again with changes").click()
    expect(field(page, "steps")).to_have_value("12")
    expect(field(page, "trigger")).to_have_value("ink drawing")
    page.get_by_role("tab", name="Runs").click()
    button(page, "Try it").click()
    expect(page.get_by_role("tab", name="Mix", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(re.compile("ink drawing"))
    made = set((server.workspace / "outputs").glob("*.png"))
    button(page, "Generate").click()
    deadline = time.monotonic() + 120
    while not (new := set((server.workspace / "outputs").glob("*.png")) - made):
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)
    assert "<lora:ink:1>" in Image.open(new.pop()).text["parameters"]
    assert any(name.endswith("ink.safetensors") for name in shared(page, server))


@pytest.mark.slow
def test_a_run_is_paused_outlives_page_and_server_and_is_stopped_and_kept(page, server, images):
    begin(page, images, steps=3000)
    expect(page.locator("#queue .chip.training")).to_be_visible(timeout=LONG)
    expect(page.locator("#run-status")).to_contain_text(re.compile(r"step [1-9]\d* of 3000 · .* left"), timeout=LONG)
    page.reload()
    to_train(page)
    page.get_by_role("tab", name="Runs").click()
    expect(page.locator("#run-status h3")).to_have_text("ink")
    expect(page.locator("#queue .chip.training")).to_be_visible()
    screenshot(page, "train-running")

    server.stop()
    ticket = RunQueue(server.workspace).ticket("ink")
    assert processes.is_alive(ticket.pid, ticket.created)
    server.start()
    page.goto(server.address)
    to_train(page)
    page.get_by_role("tab", name="Runs").click()
    expect(page.locator("#queue .chip.training")).to_be_visible(timeout=LONG)

    button(page, "Pause").click()
    expect(page.locator("#queue .chip.paused")).to_be_visible(timeout=LONG)
    assert not processes.is_alive(ticket.pid, ticket.created)  # the device is really free
    step = standing(RunQueue(server.workspace), "ink").step
    button(page, "Resume").click()
    expect(page.locator("#queue .chip.training")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name=re.compile("^Log")).click()
    expect(page.locator("#run-log textarea")).to_have_value(re.compile(f"resuming ink at step {step}"))
    button(page, "Stop and keep").click()
    expect(button(page, "Try it")).to_be_visible(timeout=LONG)
    assert (server.workspace / "adapters" / "ink.safetensors").is_file()


@pytest.mark.slow
def test_generate_offers_to_pause_and_the_run_goes_on_by_itself(page, server, images):
    begin(page, images, steps=3000)
    expect(page.locator("#queue .chip.training")).to_be_visible(timeout=LONG)
    page.get_by_role("tab", name="Mix", exact=True).click()
    button(page, "Generate").click()
    expect(page.locator("#device-offer")).to_contain_text("ink is being trained")
    screenshot(page, "train-offer")
    made = set((server.workspace / "outputs").glob("*.png"))
    button(page, "Pause, generate, go on").click()
    deadline = time.monotonic() + 240
    while not set((server.workspace / "outputs").glob("*.png")) - made:
        assert time.monotonic() < deadline
        page.wait_for_timeout(200)
    expect(page.locator("#device-banner")).to_contain_text("goes on by itself")
    expect(page.locator("#device-banner")).to_contain_text("is being trained, step", timeout=LONG)


def test_captions_are_typed_changed_all_at_once_and_taken_back(page, server, images, tmp_path):
    archive = tmp_path / "style.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for image in images:
            file.write(image, f"style/{image.name}")
        file.writestr("style/fox.txt", "a fox")
        file.writestr("../../evil.txt", "x")
        file.writestr("style/readme.md", "x")
    drop(page, [archive])
    expect(page.locator("#images-note, #findings").first).to_be_visible()
    fox = page.get_by_label("Caption of fox.png")
    expect(fox).to_have_value("a fox", timeout=60 * SECONDS)
    first = page.locator("#caption-list textarea").first
    first.fill("a cactus in a pot")
    first.press("Tab")
    expect(page.locator("#captions-note")).to_contain_text("Saved.")
    [folder] = (server.workspace / "datasets").glob("images-*")
    assert (folder / "style" / "cactus.txt").read_text(encoding="utf-8") == "a cactus in a pot\n"
    page.get_by_text("Change all at once").click()
    page.get_by_label("Trigger in").fill("ink")
    button(page, "Change all captions").click()
    expect(fox).to_have_value("ink, a fox")
    screenshot(page, "train-captions")
    button(page, "Undo").click()
    expect(fox).to_have_value("a fox")
    button(page, "Undo").click()
    expect(first).to_have_value("")
    assert not list(server.workspace.parent.glob("evil*"))


def test_a_model_writes_the_empty_captions_and_undo_takes_them_back(page, server, images):
    tiny_blip(server.workspace / "captioners" / "tiny")
    page.reload()
    to_train(page)
    drop(page, images)
    boxes = page.locator("#caption-list textarea")
    expect(boxes).to_have_count(8, timeout=60 * SECONDS)
    boxes.first.fill("a cactus in a pot")
    boxes.first.press("Tab")
    expect(page.locator("#captions-note")).to_contain_text("Saved.")
    page.get_by_text("Write them automatically").click()
    button(page, "Write captions").click()
    expect(page.locator("#captions-note")).to_contain_text("7 captions written", timeout=LONG)
    expect(boxes.first).to_have_value("a cactus in a pot")
    assert all(boxes.nth(number).input_value() for number in range(8))
    button(page, "Undo").click()
    expect(boxes.last).to_have_value("")
    expect(boxes.first).to_have_value("a cactus in a pot")


def test_settings_are_searched_and_a_mistake_is_one_sentence(page, images):
    drop(page, images)
    expect(page.locator("#findings .facts")).to_contain_text("8 images", timeout=60 * SECONDS)
    button(page, "Start").click()
    expect(page.get_by_text("The adapter has no name: give it one.")).to_be_visible()
    fill(page, name="../up")
    button(page, "Start").click()
    expect(page.get_by_text("name = '../up' can't be used")).to_be_visible()
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Search the settings").fill("huber delta")
    expect(page.locator("#set-huber_delta")).to_be_visible()
    expect(page.locator("#set-seed")).to_be_hidden()
    page.get_by_label("Search the settings").fill("zzz")
    expect(page.get_by_text("No setting has these words.")).to_be_visible()


def test_a_sample_is_only_read_until_it_is_copied_and_a_narrow_dark_screen_is_enough(browser, server):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.goto(server.address)
    to_train(page)
    page.locator("#pick input").click()
    page.get_by_role("option", name="sample:blob").click()
    expect(page.locator("#findings .facts")).to_contain_text("images to train on", timeout=60 * SECONDS)
    box = page.locator("#caption-list textarea").first
    expect(box).to_have_attribute("readonly", "")
    button(page, "Edit them in a copy").click()
    expect(box).not_to_have_attribute("readonly", "", timeout=60 * SECONDS)
    assert (server.workspace / "datasets" / "blob").is_dir()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "train-narrow")
    context.close()
