"""What picture files say of their making, by us and by others."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdlora.cli import cli
from sdlora.errors import Error
from sdlora.mixing import GeneratedImage, Parameters
from sdlora.mixing.png_info import read_parameters
from sdlora.sampling.recipe import Recipe

TEXT = "größer, 蓝 🦊 <lora:ink:0.8>\nNegative prompt: rot\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
DETAILS = {"mode": "switch", "blocks": {"ink": {"unet.mid_block": 0.5}}, "wörter": ["ß", 1, None, True]}


@pytest.fixture
def image():
    return Image.effect_noise((16, 24), 50).convert("RGB")


def parameters(**more):
    recipe = Recipe("größer, 蓝 🦊", "rot", 1, 20, 7.0, "DPM++ SDE Karras", (512, 768), clip_skip=2)
    return Parameters(recipe, "v1-5", "6ce0161689", (), "sdlora 0.1.0", **more)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_what_we_write_is_read(ending, image, tmp_path):
    made = parameters(details=DETAILS)
    found = read_parameters(GeneratedImage(image, made).save(tmp_path / f"a.{ending}"))
    assert found.text == str(made) and found.details == DETAILS
    assert (found.infotext.prompt, found.infotext.negative) == ("größer, 蓝 🦊", "rot")
    assert found.infotext.facts["Sampler"] == "DPM++ SDE" and found.infotext.facts["Schedule type"] == "Karras"
    assert found.infotext.facts["Clip skip"] == "2" and found.infotext.size() == (512, 768)


def test_without_details_there_is_no_second_chunk(image, tmp_path):
    path = GeneratedImage(image, parameters()).save(tmp_path / "a.png")
    with Image.open(path) as opened:
        assert set(opened.text) == {"parameters"}
    assert read_parameters(path).details == {}


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TEXT.encode("utf-16-be"),  # A1111, by piexif
        b"UNICODE\0" + TEXT.encode("utf-16-le"),
        b"ASCII\0\0\0" + TEXT.encode(),
        b"\0" * 8 + TEXT.encode(),
        TEXT.encode(),
    ],
    ids=["big", "little", "ascii", "undefined", "bare"],
)
@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_comments_of_any_encoding_are_read(comment, ending, image, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    image.save(tmp_path / f"a.{ending}", exif=exif)
    assert read_parameters(tmp_path / f"a.{ending}").text == TEXT


def test_chunks_after_the_pixels_and_broken_details_do_not_matter(image, tmp_path):
    chunk = PngInfo()
    chunk.add_itxt("parameters", TEXT)
    chunk.add_text("sdlora", "{no json")
    image.save(tmp_path / "a.png", pnginfo=chunk)
    found = read_parameters(tmp_path / "a.png")
    assert found.text == TEXT and found.details == {}


def test_a_picture_that_says_nothing_is_a_sentence(image, tmp_path):
    image.save(tmp_path / "a.png")
    with pytest.raises(Error, match="says nothing of how it was made"):
        read_parameters(tmp_path / "a.png")
    with pytest.raises(Error, match="there is no picture"):
        read_parameters(tmp_path / "b.png")


def test_the_command_prints_the_text_or_json(image, tmp_path):
    made = parameters(details=DETAILS)
    path = str(GeneratedImage(image, made).save(tmp_path / "a.png"))
    plain = CliRunner().invoke(cli, ["png-info", path])
    assert plain.exit_code == 0 and plain.output.startswith(str(made)) and "mode: switch" in plain.output
    told = json.loads(CliRunner().invoke(cli, ["png-info", path, "--json"]).stdout)
    assert told["prompt"] == "größer, 蓝 🦊" and told["facts"]["Seed"] == "1" and told["sdlora"] == DETAILS
