"""Adapters named in the prompt."""

import numpy as np
import pytest

from sdlora.errors import Error

QUICK = {"steps": 3, "size": 64, "seed": 1, "sampler": "DDIM"}


def picture(mixer, prompt, **more):
    (made,) = mixer.generate(prompt, **(QUICK | more))
    return np.asarray(made.image)


def same(one, other):
    return np.array_equal(one, other)


@pytest.mark.parametrize(
    ("tag", "mix"),
    [
        ("<lora:clay:0.8>", {"clay": 0.8}),
        ("<lyco:clay>", {"clay": 1.0}),
        ("<lora:clay:0.6:0.3>", {"clay": {"text": 0.6, "unet": 0.3}}),
        ("<lora:clay:unet=-0.5:te=0.2>", {"clay": {"text": 0.2, "unet": -0.5}}),
        ("<lora:ink:1:lbw=OUTALL>", {"ink": {"blocks": "OUTALL"}}),
        ("<lora:ink:1:start=2>", {"ink": {"start": "2"}}),
        ("<lora:ink:1:start=0.34:stop=1.0>", {"ink": {"start": 0.34}}),
        ("<lora:ink:0.5><lora:clay:0.25>", {"clay": 0.25, "ink": 0.5}),
        ("<lora:ink:0.5><lora:ink:0.7>", {"ink": 0.7}),
    ],
)
def test_a_tag_does_what_the_mix_does(tag, mix, mixer):
    tagged = picture(mixer, f"red apple, noto style {tag}")
    mixer.set(mix)
    assert same(tagged, picture(mixer, "red apple, noto style"))


def test_tags_act_once_and_override_the_mix(mixer, library):
    mixer.set({str(library / "clay.safetensors"): 0.8, "ink": 0.4})
    without = picture(mixer, "red apple")
    tagged = picture(mixer, "red apple<lora:clay:0.1>")
    assert same(picture(mixer, "red apple"), without) and not same(tagged, without)
    assert [weights.given() for _, weights in mixer.adapters] == [0.8, 0.4]
    mixer.set({"clay": 0.1, "ink": 0.4})
    assert same(picture(mixer, "red apple"), tagged)


def test_the_picture_says_what_acted(mixer):
    mixer.set({"clay": 0.8})
    (made,) = mixer.generate("<lora:ink:0.5:0.25:stop=3> red apple <hypernet:x:1>", **QUICK)
    assert made.parameters.prompt == "red apple <lora:clay:0.8> <lora:ink:0.5:0.25:stop=3>"
    assert "mix" not in made.parameters.details
    (made,) = mixer.generate("a <lora:ink:1:lbw=OUTALL>", **QUICK)
    assert made.parameters.details["mix"]["ink"]["blocks"]


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a <lora:inc:1>", r"There is no adapter 'inc' in .*: did you mean ink?"),
        ("a <lora:../ink:1>", "There is no adapter '../ink'"),
        ("a <lora:ink:loud>", "has 'loud' for a weight"),
        ("a <lora:ink:1:lbw=OUTALLL>", "blocks of 'ink': There are no block weights by the name"),
        ("a <lora:ink:1:start=0.5:stop=0.25>", "the time of 'ink': it starts at 0.5 and stops at 0.25"),
    ],
)
def test_what_can_not_be_meant_is_a_sentence(prompt, sentence, mixer):
    mixer.set({"clay": 0.8})
    with pytest.raises(Error, match=sentence):
        mixer.generate(prompt, **QUICK, on_step=lambda step: pytest.fail("began to draw"))


def test_a_file_outside_the_library_is_never_followed(mixer, library, monkeypatch):
    monkeypatch.chdir(library)
    mixer.library = None
    with pytest.raises(Error, match="There is no adapter 'ink'"):
        mixer.generate("a <lora:ink:1>", **QUICK)
    with pytest.raises(Error, match=r"There is no adapter 'ink\.safetensors'"):
        mixer.generate("a <lora:ink.safetensors:1>", **QUICK)
