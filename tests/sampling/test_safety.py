"""Safety checkers: when there is one, what it says, and what becomes of a picture."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessorPil

from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.sampling.safety import safety_of
from tests.bases.written import narrow, write_folder

ALWAYS, NEVER = -2.0, 2.0  # thresholds of a cosine
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SIDE = 32


def write_checker(folder, threshold):
    """diffusers' checker, small and random, with one threshold for all concepts; and what prepares its pictures."""
    torch.manual_seed(1)
    vision = SMALL | {"image_size": SIDE, "patch_size": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=16, vision_config=vision, text_config=SMALL))
    checker.concept_embeds_weights.data.fill_(threshold)
    checker.special_care_embeds_weights.data.fill_(NEVER)
    checker.concept_embeds.data.normal_()
    checker.save_pretrained(folder / "safety_checker")
    prepare = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    prepare.save_pretrained(folder / "feature_extractor")
    return checker, prepare


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(1).integers(1, 255, (48, 64, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "model"


def base_with(folder, threshold):
    write_folder(narrow("sd1"), folder)
    write_checker(folder, threshold)
    return load_base(folder)


@pytest.mark.parametrize("wanted", [None, True])
def test_a_concept_that_always_triggers_blacks_the_picture_out(wanted, folder, picture):
    safety = safety_of(base_with(folder, ALWAYS), wanted)
    assert safety.state == "safety checker: on (the base's own)"
    screened, unsafe = safety.screened(picture)
    assert unsafe and screened.size == picture.size and screened.mode == "RGB" and not np.asarray(screened).any()


def test_one_that_never_triggers_leaves_it_as_it_is(folder, picture):
    safety = safety_of(base_with(folder, NEVER))
    assert safety.state == "safety checker: on (the base's own)"
    assert safety.screened(picture) == (picture, False)


def test_it_finds_what_diffusers_finds(folder):
    """Thresholds in the midst of what random pictures score, so that some are found and some not."""
    checker, prepare = write_checker(folder, NEVER)
    pictures = [
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 40 + 8 * n, 3), dtype=np.uint8))
        for n in range(12)
    ]
    pixels = prepare(pictures, return_tensors="pt").pixel_values
    views = checker.visual_projection(checker.vision_model(pixels).pooler_output)
    cosines = torch.nn.functional.normalize(views) @ torch.nn.functional.normalize(checker.concept_embeds).T
    checker.concept_embeds_weights.data.fill_(cosines.max(1).values.median().item())
    checker.save_pretrained(folder / "safety_checker")
    write_folder(narrow("sd1"), folder)
    safety = safety_of(load_base(folder))
    _, theirs = checker(clip_input=pixels, images=[np.zeros((1, 1, 3))] * len(pictures))
    assert [safety.screened(picture)[1] for picture in pictures] == theirs
    assert 0 < sum(theirs) < len(pictures)


def test_the_keys_that_the_published_checker_has(folder, picture):
    """stable-diffusion-v1-5 was written when transformers had one more `vision_model.` in them, and position ids."""
    base = base_with(folder, ALWAYS)
    file = folder / "safety_checker" / "model.safetensors"
    weights = {re.sub(r"^vision_model\.", "vision_model.vision_model.", k): t for k, t in load_file(file).items()}
    weights["vision_model.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(weights, file, {"format": "pt"})
    assert safety_of(base).screened(picture)[1]


def test_it_is_read_when_it_is_first_asked(folder, picture):
    base = base_with(folder, ALWAYS)
    safety = safety_of(base)
    (folder / "safety_checker" / "model.safetensors").unlink()
    with pytest.raises(Error, match=r"safety_checker of .* is not complete"):
        safety.screened(picture)


def test_no_safety_is_none(folder, picture):
    safety = safety_of(base_with(folder, ALWAYS), False)
    assert safety.state == "safety checker: off (as asked for)"
    assert safety.screened(picture) == (picture, False)


def test_mini_has_none(mini, picture):
    safety = safety_of(mini)
    assert safety.state == "safety checker: off (mini has none)"
    assert safety.screened(picture) == (picture, False)
    with pytest.raises(Error, match="mini has no safety checker"):
        safety_of(mini, True)


def test_a_base_without_a_folder_has_none():
    assert safety_of(narrow("sdxl")).state == "safety checker: off (random-sdxl has none)"


def test_a_function_of_ones_own(mini, picture):
    seen = []
    safety = safety_of(mini, lambda image: seen.append(image) or image.size[0] > 50)
    assert safety.state == "safety checker: on (one that was plugged in)"
    assert safety.screened(picture)[1] and not safety.screened(picture.resize((48, 64)))[1]
    assert seen[0] is picture


def test_that_of_a_hub_model_is_fetched_only_when_wanted(folder):
    """`load_base` leaves it out. There is no hub here, so fetching ends in a sentence."""
    write_folder(narrow("sd1"), folder)
    index = folder / "model_index.json"
    named = '{"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], '
    index.write_text(named + index.read_text(encoding="utf-8")[1:], encoding="utf-8")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "config.json").write_text("{}", encoding="utf-8")
    base = replace(load_base(folder), path="nobody-here/no-such-model-at-all")
    expected = "safety checker: off (that of no-such-model-at-all was not fetched; --safety does)"
    assert safety_of(base).state == expected
    with pytest.raises(Error, match="could not be fetched from the hub"):
        safety_of(base, True)
