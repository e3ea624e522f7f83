"""What a picture file says, read back as A1111 and others read it."""

import json
import re

import pytest
from PIL import Image

from sdlora.adapters import load_adapter
from sdlora.errors import Error
from sdlora.mixing import GeneratedImage, Parameters
from sdlora.mixing.generated import MixedAdapter, model_name
from sdlora.mixing.tags import Tag
from sdlora.sampling.recipe import Recipe

PROMPTS = ['a fox, red: (very) "quoted"', "größer, 蓝色的狐狸, 🦊", "two\nlines", "Ünïcode <tag>", ""]


def mixed(name, weight, digits):
    return MixedAdapter(Tag(name, weight, weight), digits)


ADAPTERS = (mixed("ink", 0.8, "0123456789ab"), mixed("oil, wet", -1 / 3, "ba9876543210"))


def parameters(prompt="a fox", negative="", adapters=ADAPTERS, guidance=7.0, base="v1-5"):
    recipe = Recipe(prompt, negative, 1, 20, guidance, "DPM++ 2M Karras", (512, 768))
    return Parameters(recipe, base, "6ce0161689", adapters, "sdlora 0.1.0")


def parse(text):
    """(prompt, negative, facts) by the rules of A1111's `parse_generation_parameters`."""
    *lines, last = text.strip().split("\n")
    pairs = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    facts = {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}
    prompt, _, negative = "\n".join(lines).partition("Negative prompt: ")
    return prompt.rstrip("\n"), negative, facts


def test_the_text_is_a1111s():
    assert str(parameters("a fox", "blurry", ADAPTERS[:1])) == (
        "a fox <lora:ink:0.8>\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, "
        'Model hash: 6ce0161689, Model: v1-5, Lora hashes: "ink: 0123456789ab", Version: sdlora 0.1.0'
    )


@pytest.mark.parametrize("negative", ["", "blurry, low: quality", "zwei\nZeilen, grün"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_text_is_parsed_back(prompt, negative):
    found, found_negative, facts = parse(str(parameters(prompt, negative, base="my, model: 2", guidance=6.25)))
    assert found == f"{prompt} <lora:ink:0.8> <lora:oil, wet:-0.3333333333333333>".strip()
    assert found_negative == negative
    assert facts == {
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "6.25",
        "Seed": "1",
        "Size": "512x768",
        "Model hash": "6ce0161689",
        "Model": "my, model: 2",
        "Lora hashes": "ink: 0123456789ab, oil, wet: ba9876543210",
        "Version": "sdlora 0.1.0",
    }


def test_a_weight_keeps_all_its_digits():
    weights = [0.8, 1.0, 1 / 3, -0.123456789, 1e-5, 100.0]
    adapters = tuple(mixed("a", weight, "00") for weight in weights)
    tags = re.findall(r"<lora:a:([^>]+)>", parameters(adapters=adapters).prompt)
    assert [float(tag) for tag in tags] == weights
    assert tags[:2] == ["0.8", "1"] and tags[-1] == "100"


def test_nothing_is_said_of_adapters_where_there_are_none():
    assert str(parameters(adapters=())) == (
        "a fox\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, "
        "Model hash: 6ce0161689, Model: v1-5, Version: sdlora 0.1.0"
    )


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("ending", ["png", "jpg", "JPEG", "webp"])
def test_a_saved_picture_carries_it(ending, prompt, tmp_path):
    picture = Image.effect_noise((64, 48), 50).convert("RGB")
    made = GeneratedImage(picture, parameters(prompt, "grün"))
    path = made.save(tmp_path / "neu" / f"ein bild.{ending}")
    assert [file.name for file in path.parent.iterdir()] == [f"ein bild.{ending}"]
    with Image.open(path) as opened:
        assert opened.size == (64, 48) and opened.mode == "RGB"
        if ending == "png":
            assert opened.text["parameters"] == str(made.parameters)
            assert opened.tobytes() == picture.tobytes()
        else:
            comment = opened.getexif().get_ifd(0x8769)[0x9286]
            assert comment[:8] == b"UNICODE\0"
            assert comment[8:].decode("utf-16-be") == str(made.parameters)


def test_other_endings_are_refused(tmp_path):
    made = GeneratedImage(Image.new("RGB", (8, 8)), parameters())
    with pytest.raises(Error, match=r"saved as \.png, \.jpg, \.jpeg, \.webp"):
        made.save(tmp_path / "a.gif")


def test_a_generated_picture_names_its_mix(mixer, library, tmp_path):
    mixer.set({"ink": 0.5, "clay": 0.0, str(library / "blob.safetensors"): -0.25})
    (image,) = mixer.generate("ein Füchslein", "blurry", seed=3, steps=1, size=(64, 72), sampler="Euler a")
    with Image.open(image.save(tmp_path / "a.png")) as opened:
        prompt, negative, facts = parse(opened.text["parameters"])
    assert (prompt, negative) == ("ein Füchslein <lora:ink:0.5> <lora:blob:-0.25>", "blurry")
    hashes = {n: load_adapter(library / f"{n}.safetensors").metadata["sshs_model_hash"][:12] for n in ("ink", "blob")}
    assert facts["Lora hashes"] == f"ink: {hashes['ink']}, blob: {hashes['blob']}"
    assert (facts["Seed"], facts["Size"], facts["Sampler"], facts["Steps"]) == ("3", "64x72", "Euler a", "1")
    assert (facts["Model"], facts["Model hash"]) == ("mini", mixer.base.short_hash)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mini", "mini"),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "stable-diffusion-v1-5"),
        ("someone/model-1.5", "model-1.5"),
        ("models/my.model.v2.safetensors", "my.model.v2"),
        ("models/OLD.CKPT", "OLD"),
    ],
)
def test_a_model_is_called_by_its_last_name(path, name):
    assert model_name(path) == name
