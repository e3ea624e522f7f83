"""generate, mix and png-info as they are typed."""

import numpy as np
import pytest
from PIL import Image

from sdlora.adapters import load_adapter
from sdlora.resources import MINI

QUICK = ("--steps", 2, "--size", 64)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=int)


@pytest.mark.parametrize(
    "settings",
    [
        ("--adapter", "ink:0.8", "--seed", 7),
        ("--adapter", "ink:0.8", "--adapter", "<lora:oil:0.5:0.25:start=0.5>", "--count", 2, "--seed", 3),
        ("--adapter", "<lora:ink:1:lbw=OUTALL>", "--adapter", "oil:-0.5", "--mode", "composite"),
        ("--adapter", "ink:2", "--equalise", "--sampler", "Euler a", "--clip-skip", 2),
        ("--negative", "blue, [red]", "--guidance", 3, "--upscale", 1.5, "--upscale-steps", 4),
    ],
    ids=["one", "two", "composite", "equalised", "second-pass"],
)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_is_made_again_from_its_file(settings, ending, sdlora, workspace, tmp_path):
    first = sdlora("generate", "a (red:1.2) apple", *QUICK, *settings, *workspace, "--out", tmp_path / f"a.{ending}")
    assert first.code == 0, first.err
    for path in map(str, first.out.split("\n")[:-1]):
        again = sdlora("generate", "--like", path, *workspace, "--out", tmp_path / f"again.{ending}")
        assert (again.code, again.err) == (0, first.err)
        assert np.array_equal(pixels(path), pixels(tmp_path / f"again.{ending}"))


def test_what_is_given_beside_it_counts(sdlora, workspace, tmp_path):
    a, b, c = (tmp_path / f"{name}.png" for name in "abc")
    sdlora("generate", "a fox <lora:ink:0.8>", *QUICK, "--seed", 1, *workspace, "--out", a)
    sdlora("generate", "--like", a, "--seed", 2, "--adapter", "ink:0.1", *workspace, "--out", b)
    assert not np.array_equal(pixels(a), pixels(b))
    sdlora("generate", "a fox", *QUICK, "--seed", 2, "--adapter", "ink:0.1", *workspace, "--out", c)
    assert np.array_equal(pixels(b), pixels(c))
    sdlora("generate", "--like", b, "--seed", 1, "--adapter", "ink:0.8", *workspace, "--out", c)
    assert np.array_equal(pixels(a), pixels(c))


def test_over_a_picture(sdlora, workspace, tmp_path):
    photo, other = tmp_path / "photo.png", tmp_path / "other.png"
    Image.effect_noise((80, 64), 60).convert("RGB").save(photo)
    Image.effect_noise((80, 64), 60).convert("RGB").save(other)
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    made = sdlora("generate", "a fox", *QUICK, "--image", photo, "--strength", 0.5, *workspace, "--out", a)
    assert made.code == 0, made.err
    assert sdlora("generate", "--like", a, "--image", photo, *workspace, "--out", b).code == 0
    assert np.array_equal(pixels(a), pixels(b))
    missing = sdlora("generate", "--like", a, *workspace)
    assert missing.code == 1 and "was drawn over another picture: give that one with --image" in missing.err
    wrong = sdlora("generate", "--like", a, "--image", other, *workspace)
    assert wrong.code == 1 and f"another picture than {other}" in wrong.err


def test_what_keeps_it_from_being_the_same_is_said(sdlora, workspace, library, tmp_path):
    a = tmp_path / "a.png"
    sdlora("generate", "a fox", *QUICK, "--adapter", "ink", *workspace, "--out", a)
    (library / "oil.safetensors").replace(library / "ink.safetensors")
    again = sdlora("generate", "--like", a, *workspace)
    assert again.code == 0 and "ink.safetensors is another adapter than" in again.err
    (library / "ink.safetensors").unlink()
    gone = sdlora("generate", "--like", a, *workspace)
    assert gone.code == 1 and "There is no adapter 'ink'" in gone.err


def test_a_picture_of_a1111(sdlora, workspace, tmp_path):
    from PIL.PngImagePlugin import PngInfo

    chunk = PngInfo()
    chunk.add_text(
        "parameters",
        "a fox <lora:ink:0.5>\nNegative prompt: red\nSteps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4, "
        "Seed: 9, Size: 64x72, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, Version: v1.10.1",
    )
    Image.new("RGB", (64, 72)).save(tmp_path / "a.png", pnginfo=chunk)
    unknown = sdlora("generate", "--like", tmp_path / "a.png", *workspace)
    assert unknown.code == 1 and "the base 'v1-5' (6ce0161689) is not among those found here" in unknown.err
    made = sdlora("generate", "--like", tmp_path / "a.png", "--base", "mini", *workspace, "--json")
    assert made.code == 0 and "was not made by sdlora" in made.err and "another base" in made.err
    [picture] = made.json
    wanted = (
        "a fox <lora:ink:0.5>\nNegative prompt: red\nSteps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4,"
    )
    assert (
        picture["parameters"].startswith(f"{wanted} Seed: 9, Size: 64x72") and "Clip skip: 2" in picture["parameters"]
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "there is no prompt"),
        (("a", "--upscale-steps", 3), "give --upscale SCALE with them"),
        (("a <lora:inc:1>",), "did you mean ink?"),
        (("a", "--adapter", "<lora:ink:1"), "or one tag"),
        (("a", "--mix", "none.toml"), "there is no mix file none.toml"),
        (("a", "--size", "big"), "--size 'big'"),
    ],
)
def test_mistakes_are_told(words, sentence, sdlora, workspace):
    ended = sdlora("generate", *words, *workspace)
    assert ended.code == 1 and sentence in ended.err and not ended.out


def test_a_mix_is_shown_saved_and_used(sdlora, workspace, tmp_path):
    file = tmp_path / "both.toml"
    shown = sdlora("mix", "ink:0.8", "<lora:oil:0.5:0.25:start=0.5>", "--mode", "switch", "--out", file, *workspace)
    assert shown.code == 0 and "mode: switch" in shown.out and "start 0.5" in shown.out, shown.err
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    settings = (*QUICK, "--seed", 1, *workspace)
    assert sdlora("generate", "a fox", "--mix", file, *settings, "--out", a).code == 0
    words = ("--adapter", "ink:0.8", "--adapter", "<lora:oil:0.5:0.25:start=0.5>", "--mode", "switch")
    sdlora("generate", "a fox", *words, *settings, "--out", b)
    assert np.array_equal(pixels(a), pixels(b))
    assert sdlora("mix", "ink", "--out", file, *workspace).code == 1
    louder = sdlora("mix", "ink:2", "--mix", file, "--out", file, "--force", *workspace, "--json").json
    assert [entry["weights"] for entry in louder["adapters"]][1] == 2 and louder["mode"] == "switch"


def test_a_mix_is_written_as_one_adapter(sdlora, workspace, tmp_path):
    out = tmp_path / "both.safetensors"
    made = sdlora("mix", "ink:0.8", "oil:0.5", "--export", out, *workspace, "--json")
    assert made.code == 0 and made.json["relative_error"] < 1e-6
    assert load_adapter(out).metadata["modelspec.merged_from"] == "ink, oil"
    small = sdlora("mix", "ink:0.8", "oil:0.5", "--export", out, "--rank", 1, "--force", *workspace)
    assert small.code == 0 and "relative error" in small.out
    refused = sdlora("mix", *workspace)
    assert refused.code == 1 and "the mix is empty" in refused.err


def test_another_vae_is_named(sdlora, workspace, tmp_path):
    a, b, vae = tmp_path / "a.png", tmp_path / "b.png", MINI / "vae"
    sdlora("generate", "a fox", *QUICK, "--vae", vae, *workspace, "--out", a)
    without = sdlora("generate", "--like", a, *workspace, "--out", b)
    assert without.code == 0 and "was made with another VAE: vae" in without.err and "name it with --vae" in without.err
    again = sdlora("generate", "--like", a, "--vae", vae, *workspace, "--out", b)
    assert "VAE" not in again.err and np.array_equal(pixels(a), pixels(b))
