"""The library and image info as a user meets them: the real app, a real browser, real adapter files."""

import json
import re
import shutil
import zipfile

import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

import sdlora
from sdlora.adapters.formats.header import read_header, write_metadata
from sdlora.pictures import save_picture
from tests.ui.serving import SECONDS, screenshot, serve, write_adapter

NAMES = {"clay": "clay figure", "ink": "ink drawing", "oil": '<img src="http://elsewhere.example/x.png">'}
PARAMETERS = """red apple <lora:ink:0.7> <lora:ghost:1>
Negative prompt: blur
Steps: 7, Sampler: Euler a, CFG scale: 3, Seed: 42, Size: 128x128"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("workspace")
    further = tmp_path_factory.mktemp("ComfyUI")
    base = sdlora.load_base("mini")
    for seed, (name, trigger) in enumerate(NAMES.items()):
        told(write_adapter(base, workspace / "adapters" / f"{name}.safetensors", seed), trigger)
    told(write_adapter(base, further / "models" / "loras" / "wool.safetensors", 9), "knitted wool")
    Image.new("RGB", (300, 300), "teal").save(workspace / "adapters" / "clay.preview.png")
    (workspace / "settings.toml").write_text(f"adapter_folders = ['{further.as_posix()}']\n", encoding="utf-8")
    with serve(workspace) as served:
        yield served


def told(path, trigger):
    write_metadata(path, read_header(path).metadata | {"modelspec.trigger_phrase": trigger})


@pytest.fixture
def open_page(browser, served):
    """Opens a tab of the app in a browser of its own; none may ask anything of another host."""
    contexts, requests = [], []

    def open_page(tab="Library", width=1280, height=900, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.goto(served.address)
        page.get_by_role("tab", name=tab, exact=True).click(timeout=90 * SECONDS)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith((served.address, "data:", "blob:"))] == []


@pytest.fixture
def page(open_page):
    page = open_page()
    expect(card(page, "clay")).to_be_visible(timeout=60 * SECONDS)
    return page


def card(page, name):
    return page.locator(f'#library-cards [data-adapter="{name}"]')


def within(page):
    """The page's own part: other tabs have fields of the same names."""
    return page.locator("#library")


def choose(page, name):
    card(page, name).click()
    expect(page.locator("#library-head h2")).to_have_text(name)
    expect(page.locator("#library-about dl").first).to_be_visible()


def details_tab(page, name):
    page.locator("#library-details").get_by_role("tab", name=name).click()


def adapters(served):
    return {path.stem for path in (served.workspace / "adapters").glob("*.safetensors")}


def test_cards_are_searched_and_filtered(page):
    expect(page.locator("#library-pager")).to_contain_text("1–6 of 6")  # two come with sdlora
    assert card(page, "clay").locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 256
    expect(card(page, "oil")).to_contain_text(NAMES["oil"])  # as text: a file's words are never HTML
    screenshot(page, "library-cards")
    search = within(page).get_by_label("Search")
    search.press_sequentially("FIGURE cl")
    expect(page.locator("#library-pager")).to_contain_text("1–1 of 1")
    expect(card(page, "clay")).to_be_visible()
    search.press_sequentially("xyz")
    expect(page.get_by_text("No adapter is like that.")).to_be_visible()
    search.press("Control+a")
    search.press("Delete")
    expect(page.locator("#library-pager")).to_contain_text("of 6")
    within(page).get_by_label("Folder").click()
    page.get_by_role("option", name="Only read").click()
    expect(card(page, "wool")).to_be_visible()
    expect(card(page, "clay")).to_be_hidden()


def test_details_tell_all_of_inspect(page):
    choose(page, "clay")
    about = page.locator("#library-about")
    for text in ("LoRA", "sd1 (mini)", "128", "float16", "clay figure"):
        expect(about).to_contain_text(text)
    about.get_by_text("Hashes").click()
    expect(about).to_contain_text("AutoV2")
    expect(about).to_contain_text("as the header says")
    screenshot(page, "library-details")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the file").click()
    assert download.value.suggested_filename == "clay.safetensors"


def test_notes_are_a1111s(page, served):
    choose(page, "ink")
    details_tab(page, "Notes")
    within(page).get_by_label("Preferred weight").fill("0.65")
    page.locator("#library-details").get_by_label("Notes", exact=True).fill("for posters <b>")
    page.get_by_role("button", name="Save notes").click()
    expect(card(page, "ink")).to_contain_text("× 0.65")
    notes = json.loads((served.workspace / "adapters" / "ink.json").read_text(encoding="utf-8"))
    assert notes["preferred weight"] == 0.65
    assert notes["notes"] == "for posters <b>"
    page.reload()
    page.get_by_role("tab", name="Library", exact=True).click()
    choose(page, "ink")
    details_tab(page, "Notes")
    expect(within(page).get_by_label("Preferred weight")).to_have_value("0.65")


def test_two_are_merged(page, served):
    for name in ("clay", "ink"):
        choose(page, name)
        page.get_by_role("button", name="Add to merge").click()
        expect(page.locator("#merge")).to_contain_text(name)
    within(page).get_by_label("Weight of clay").fill("0.5")
    within(page).get_by_label("Name of the new adapter").fill("both")
    screenshot(page, "library-merge")
    page.locator("#merge-go").click()
    expect(page.get_by_text("both.safetensors is merged of 2 adapters")).to_be_visible()
    expect(page.locator("#library-head h2")).to_have_text("both")
    merged = sdlora.load_adapter(served.workspace / "adapters" / "both.safetensors")
    one, other = (
        sdlora.load_adapter(served.workspace / "adapters" / f"{name}.safetensors") for name in ("clay", "ink")
    )
    path = next(iter(one.updates))
    weight = json.loads((served.workspace / "adapters" / "ink.json").read_text(encoding="utf-8"))["preferred weight"]
    unused = torch.zeros(one.updates[path].shape)  # LoRA does not depend on the weights of the base
    expected = 0.5 * one.updates[path].delta(unused) + weight * other.updates[path].delta(unused)
    difference = (merged.updates[path].delta(unused) - expected).norm() / expected.norm()
    assert difference < 2e-3  # rounded to 16 bit
    expect(card(page, "both")).to_be_visible()


def test_renamed_converted_resized_deleted_restored(page, served):
    shutil.copy(served.workspace / "adapters" / "oil.safetensors", served.workspace / "adapters" / "copy.safetensors")
    page.get_by_role("button", name="Refresh").click()
    choose(page, "copy")
    details_tab(page, "Change")
    name = within(page).get_by_label("Name", exact=True)
    name.fill("../outside")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_text("can't be an adapter's name")).to_be_visible()
    name.fill("second")
    page.get_by_role("button", name="Rename").click()
    expect(card(page, "second")).to_be_visible()
    expect(page.locator("#library-head h2")).to_have_text("second")
    page.get_by_role("button", name="Resize").first.click()
    within(page).get_by_label("Limit").fill("2")
    screenshot(page, "library-change")
    page.get_by_role("button", name="Resize").last.click()
    expect(card(page, "second-small")).to_be_visible()
    assert (served.workspace / "adapters" / "second-small.safetensors").is_file()
    card(page, "second").click()  # the tab that is open stays
    expect(page.locator("#library-head h2")).to_have_text("second")
    page.get_by_role("button", name="Delete").click()
    expect(card(page, "second")).to_be_hidden()
    assert "second" not in adapters(served)
    expect(within(page).get_by_label("In the trash (1)")).to_be_visible()
    screenshot(page, "library-trash")
    page.get_by_role("button", name="Restore").click()
    expect(card(page, "second")).to_be_visible()
    assert "second" in adapters(served)
    for name in ("second", "second-small"):
        (served.workspace / "adapters" / f"{name}.safetensors").unlink()


def test_what_is_only_read_stays_as_it_is(page):
    choose(page, "wool")
    details_tab(page, "Notes")
    expect(page.get_by_role("button", name="Save notes")).to_be_disabled()
    details_tab(page, "Change")
    expect(page.get_by_role("button", name="Rename")).to_be_disabled()
    expect(page.get_by_role("button", name="Delete")).to_be_disabled()


def test_files_are_imported_once_they_are_checked(page, served, tmp_path):
    good = tmp_path / "dropped.safetensors"
    shutil.copy(served.workspace / "adapters" / "clay.safetensors", good)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\xff" * 100)
    drop = page.locator("#import input[type=file]")
    drop.set_input_files([good, bad])
    expect(card(page, "dropped")).to_be_visible()
    expect(page.get_by_text(re.compile("^bad.safetensors is cut off"))).to_be_visible()
    assert "bad" not in adapters(served)
    assert list((served.workspace / "cache" / "uploads").rglob("*.safetensors")) == []  # nothing is kept twice
    (served.workspace / "adapters" / "dropped.safetensors").unlink()


def test_a_sweep_and_a_zip_to_share(page, served):
    choose(page, "clay")
    details_tab(page, "Share")
    page.get_by_role("button", name="Draw a sweep").click()
    page.get_by_role("button", name="Draw 6 pictures").click()
    expect(page.locator(".samples li")).to_have_count(6, timeout=120 * SECONDS)
    page.get_by_role("button", name="use weight 0.8").click()
    expect(within(page).get_by_label("number input for Recommended weight")).to_have_value("0.8")
    within(page).get_by_label("Picture 3").click()
    expect(within(page).get_by_label("Picture 3")).to_have_attribute("aria-pressed", "true")
    within(page).get_by_label("Author").fill("An Author")
    page.get_by_role("button", name="Make the zip").click()
    link = page.get_by_role("link", name="Download clay.zip")
    expect(link).to_be_visible(timeout=60 * SECONDS)
    screenshot(page, "library-share")
    with page.expect_download() as download:
        link.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert {"clay/clay.safetensors", "clay/README.md", "clay/images/clay-1.png", "clay/clay.json"} <= set(names)
        assert "weight of about 0.8" in archive.read("clay/README.md").decode()


def test_an_adapter_is_sent_to_mix(page):
    choose(page, "oil")
    page.get_by_role("button", name="Use in Mix").click()
    expect(page.get_by_role("tab", name="Mix", exact=True)).to_have_attribute("aria-selected", "true")


def test_a_narrow_dark_screen_is_never_scrolled_sideways(open_page):
    page = open_page(width=390, height=844, scheme="dark")
    choose(page, "clay")
    page.wait_for_timeout(600)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "library-narrow")
    details_tab(page, "Share")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_image_says_how_it_was_made(open_page, tmp_path):
    page = open_page("Image info")
    picture = tmp_path / "picture.png"
    save_picture(Image.new("RGB", (128, 128), "teal"), picture, PARAMETERS)
    page.locator("#image-info-file input[type=file]").set_input_files(picture)
    told = page.locator("#image-info-told")
    for text in ("red apple", "blur", "Euler a", "42", "× 0.7", "not in the library"):
        expect(told).to_contain_text(text)
    assert page.locator("#image-info-text textarea").input_value() == PARAMETERS
    screenshot(page, "library-image-info")
    page.get_by_role("button", name="Send to Mix").click()
    expect(page.get_by_role("tab", name="Mix", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#prompt textarea")).to_have_value(re.compile("^red apple"))
    expect(page.locator("#seed input")).to_have_value("42")


def test_an_image_that_says_nothing_or_is_none_is_one_sentence(open_page, tmp_path):
    page = open_page("Image info")
    silent, broken = tmp_path / "silent.png", tmp_path / "broken.png"
    Image.new("RGB", (64, 64)).save(silent)
    broken.write_bytes(b"<script>alert(1)</script>")
    for file, sentence in (
        (silent, "silent.png says nothing of how it was made"),
        (broken, "can't be read as a picture"),
    ):
        page.locator("#image-info-file input[type=file]").set_input_files(file)
        expect(page.locator("#image-info-told")).to_contain_text(sentence)
        page.locator("#image-info-file").get_by_label("Clear").click()
