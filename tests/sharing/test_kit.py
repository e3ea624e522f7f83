"""The sharing kit: what a page needs, in a form that the hub and Civitai take."""

import base64
import io

import pytest
from huggingface_hub import ModelCard
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdlora.adapters import load_adapter
from sdlora.adapters.formats.container import data_hash, file_hash
from sdlora.adapters.formats.header import read_header
from sdlora.errors import Error
from sdlora.sharing import Drawing, make_kit

TRIGGER = 'in "ink": #1 style'


def test_the_front_matter_is_yaml_that_the_hub_reads(ink, picture):
    kit = make_kit(ink, samples=[picture], license="openrail", base_model="me/base")
    card = ModelCard.load(kit.folder / "README.md")
    told = card.data.to_dict()
    assert told["instance_prompt"] == TRIGGER and told["license"] == "openrail" and told["base_model"] == "me/base"
    assert told["library_name"] == "diffusers" and "template:sd-lora" in told["tags"]
    assert told["widget"] == [{"text": "a house, ink", "output": {"url": "images/ink-1.png"}}]
    assert (kit.folder / "images" / "ink-1.png").read_bytes() == picture.read_bytes()
    assert "<Gallery />" in card.text and TRIGGER in card.text and "# Ink: a 'study'" in card.text


def test_a_card_without_pictures_or_metadata(ink):
    kit = make_kit(ink)
    told = ModelCard.load(kit.folder / "README.md").data.to_dict()
    assert not {"widget", "license", "base_model"} & told.keys()
    assert kit.thumbnail is False and len(kit.hints) == 3 and kit.warnings == ()
    assert "modelspec.thumbnail" not in read_header(ink).metadata


def test_civitai_text(ink, picture):
    kit = make_kit(ink, samples=[picture], weight=0.8)
    text = (kit.folder / "civitai.txt").read_text(encoding="utf-8")
    for line in (f"Trigger words: {TRIGGER}", "Recommended weight: 0.8", "Type: LoRA", "<lora:ink:0.8>"):
        assert line in text
    assert file_hash(ink)[:10] in text  # the hash of the file as it is now, thumbnail and all


def test_the_thumbnail_leaves_the_tensors_alone(ink, picture):
    before, tensors = load_adapter(ink), data_hash(ink)
    make_kit(ink, samples=[picture])
    metadata = read_header(ink).metadata
    head, _, content = metadata["modelspec.thumbnail"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == (256, 171)
    assert data_hash(ink) == tensors == metadata["sshs_model_hash"]
    assert metadata.items() >= {k: v for k, v in before.metadata.items() if k != "modelspec.thumbnail"}.items()
    assert load_adapter(ink).content_hash == before.content_hash


def test_an_old_thumbnail_stays_unless_forced(ink, picture, tmp_path):
    make_kit(ink, tmp_path / "one", samples=[picture])
    first = ink.read_bytes()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    assert make_kit(ink, tmp_path / "two", samples=[tmp_path / "red.png"]).thumbnail is False
    assert ink.read_bytes() == first
    assert make_kit(ink, tmp_path / "two", samples=[tmp_path / "red.png"], force=True).thumbnail is True
    assert ink.read_bytes() != first


def test_drawn_samples_follow_given_ones(ink, picture):
    kit = make_kit(ink, samples=[picture], draw=Drawing(2, "mini", "a boat"))
    assert [path.name for path in kit.samples] == ["ink-1.png", "ink-2.png", "ink-3.png"]
    with Image.open(kit.samples[1]) as image:
        assert image.info["parameters"].startswith("a boat <lora:ink:1>")
    widget = ModelCard.load(kit.folder / "README.md").data.to_dict()["widget"]
    assert [entry["text"] for entry in widget] == ["a house, ink", "a boat", "a boat"]


@pytest.mark.parametrize("name", ["none.png", "text.png", "text.txt"])
def test_what_is_no_picture_leaves_no_kit(ink, tmp_path, name):
    for file in ("text.png", "text.txt"):
        (tmp_path / file).write_text("no picture", encoding="utf-8")
    with pytest.raises(Error, match=name):
        make_kit(ink, samples=[tmp_path / name])
    assert not (tmp_path / "ink-card").exists()


def test_a_kit_is_not_overwritten(ink):
    make_kit(ink)
    with pytest.raises(Error, match="--force"):
        make_kit(ink)
    make_kit(ink, force=True)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_prompts_in_exif(ink, tmp_path, ending):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "eine Brücke\nSteps: 20".encode("utf-16-be")
    Image.new("RGB", (64, 64)).save(tmp_path / f"a.{ending}", exif=exif)
    kit = make_kit(ink, samples=[tmp_path / f"a.{ending}"])
    assert ModelCard.load(kit.folder / "README.md").data.to_dict()["widget"][0]["text"] == "eine Brücke"


def test_a_prompt_of_several_lines(ink, tmp_path):
    chunk = PngInfo()
    chunk.add_itxt("parameters", "first: line\n- second\nNegative prompt: x")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", pnginfo=chunk)
    kit = make_kit(ink, samples=[tmp_path / "a.png"])
    assert ModelCard.load(kit.folder / "README.md").data.to_dict()["widget"][0]["text"] == "first: line\n- second"
