"""What the library serves and how it is written as HTML: by id alone, and nothing of a file's is taken for HTML."""

from types import SimpleNamespace

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.torch import save_file

from sdlora.adapters.collection import Collection
from sdlora.adapters.inspection import inspect
from ui.image_info_page import printable_lines
from ui.library import cards, details, samples
from ui.library.pictures import kit_file, library_router

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
HOSTILE = '"><img src=x onerror=alert(1)>\x1b[31m'


@pytest.fixture
def engine(tmp_path):
    folder = tmp_path / "adapters"
    folder.mkdir()
    tensors = {f"{KEY}.lora_down.weight": torch.ones(4, 768), f"{KEY}.lora_up.weight": torch.ones(1280, 4)}
    metadata = {
        "modelspec.trigger_phrase": HOSTILE,
        "modelspec.author": HOSTILE,
        "ss_tag_frequency": '{"a": {"<b>": 1}}',
    }
    save_file(tensors | {HOSTILE: torch.ones(1)}, folder / "ink & wash 100%.safetensors", metadata)
    Image.new("RGB", (400, 200), "teal").save(folder / "ink & wash 100%.preview.png")
    (tmp_path / "secret.safetensors").write_bytes(b"secret")
    library = Collection(folder, memory=tmp_path / "memory.json")
    library.refresh()
    return SimpleNamespace(library=library, workspace=tmp_path, outputs=tmp_path / "outputs")


@pytest.fixture
def client(engine):
    app = FastAPI()
    app.include_router(library_router(engine))
    return TestClient(app)


def item(engine):
    return engine.library.items()[0]


def test_a_card_names_addresses_that_work(engine, client):
    html = cards.cards([item(engine)], "")
    address = html.split('src="')[1].split('"')[0].replace("&amp;", "&")
    answer = client.get("/" + address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    file = details.head(item(engine)).split('download href="')[1].split('"')[0].replace("&amp;", "&")
    answer = client.get("/" + file)
    assert answer.content == item(engine).path.read_bytes()
    assert "attachment" in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "id",
    [
        "../secret",
        "..%2Fsecret",
        "%2e%2e%2fsecret",
        "/etc/passwd",
        "secret",
        "ink & wash 100%.safetensors",
        "%00",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("kind", ["thumbnail", "file", "kit"])
def test_what_is_no_id_is_not_there(client, kind, id):
    answer = client.get(f"/library/{kind}/{id}")
    assert answer.status_code == 404
    assert b"secret" not in answer.content.replace(id.encode(), b"") or b"no adapter" in answer.content


def test_a_zip_is_there_once_it_is_made(engine, client):
    address = "/library/kit/ink%20%26%20wash%20100%25"
    assert client.get(address).status_code == 404
    path = kit_file(engine, item(engine))
    path.parent.mkdir()
    path.write_bytes(b"zip")
    assert client.get(address).content == b"zip"


def test_a_files_words_are_never_html(engine):
    one = item(engine)
    for html in (cards.cards([one], one.id), details.head(one), details.inspected(inspect(one.path))):
        assert "<img src=x" not in html
        assert "\x1b" not in html
        assert "&lt;img src=x" in html or "100%" in html
    assert "<b>" not in details.inspected(inspect(one.path))


def test_a_texts_lines_stay_and_what_steers_is_spelt_out():
    assert printable_lines("a\nb\x1b[0m\u202e") == "a\nb\\x1b[0m\\u202e"


def test_pictures_drawn_with_an_adapter_are_found_the_newest_first(tmp_path):
    from sdlora.pictures import save_picture

    for number, words in enumerate(("<lora:ink:1>", "<lora:inkling:1>", "none", "<lora:ink:0.5>")):
        save_picture(Image.new("RGB", (8, 8)), tmp_path / f"2026-{number}.png", f"apple {words}")
    (tmp_path / "2026-9.png").write_bytes(b"broken")
    assert [sample.path.stem for sample in samples.drawn_with("ink", tmp_path)] == ["2026-3", "2026-0"]
