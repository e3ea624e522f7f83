"""Prompts as the UNet reads them: against diffusers, and by what each mark in them should do."""

import copy

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from sdlora.errors import Error
from sdlora.sampling.conditioning import condition
from sdlora.sampling.denoise import always, decode, denoise, prompt_context
from sdlora.sampling.prompts import encode
from sdlora.sampling.recipe import Recipe
from tests.bases.written import narrow

SIZE = (64, 96)


def pipeline(base):
    """diffusers' own, of the base's networks."""
    parts = {
        "vae": base.vae,
        "unet": base.unet,
        "scheduler": DDIMScheduler.from_config(base.scheduler_config, clip_sample=False),
    }
    parts |= {"text_encoder": base.text_encoders[0], "tokenizer": base.tokenizers[0]}
    if base.family == "sdxl":
        parts |= {"text_encoder_2": base.text_encoders[1], "tokenizer_2": base.tokenizers[1]}
        made = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        made = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    made.set_progress_bar_config(disable=True)
    return made


def read(base, prompt, negative=None, *, index=0, steps=4, **more):
    """The context and SDXL's other conditions at one step."""
    return condition(base, prompt, negative, steps=steps, size=SIZE, **more).at(index, steps)


def context(base, prompt, negative=None, **more):
    return read(base, prompt, negative, **more)[0]


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_a_plain_prompt_is_what_training_makes_of_a_caption(family):
    base = narrow(family)
    (both,) = encode(base, ["red", "größer, a fox!"])
    assert torch.equal(context(base, "größer, a fox!", "red"), both)
    assert read(base, "a fox")[1] is None


@pytest.mark.parametrize("family", ["sd1", "sd2"])
@pytest.mark.parametrize("left_out", [0, 1, 3])
def test_clip_skip_reads_the_encoder_as_if_its_last_layers_were_not_there(left_out, family):
    """Counted from 1, and in the network as it was trained, which for SD 2.x has one layer more than the file. (Of the
    reference: diffusers 0.42 can't skip layers with transformers 5, where `text_model` is gone.)"""
    base = narrow(family)
    encoder = copy.deepcopy(base.text_encoders[0])
    del encoder.encoder.layers[len(encoder.encoder.layers) - left_out :]
    ids = base.tokenizers[0]("a fox", padding="max_length", return_tensors="pt").input_ids
    expected = encoder(ids).last_hidden_state
    assert torch.allclose(context(base, "a fox", clip_skip=left_out + 1 + (family == "sd2")), expected, atol=1e-6)


def test_clip_skip_begins_where_the_family_reads():
    for family in ("sd2", "sdxl"):
        base = narrow(family)
        assert torch.equal(context(base, "a fox", clip_skip=1), context(base, "a fox", clip_skip=2))
        assert not torch.equal(context(base, "a fox", clip_skip=1), context(base, "a fox", clip_skip=3))


@pytest.mark.parametrize("clip_skip", [0, 5])
def test_a_clip_skip_that_can_not_be_is_refused(clip_skip, mini):
    recipe = Recipe("a", "", 1, 2, 4.0, "DDIM", (64, 64), clip_skip=clip_skip)
    with pytest.raises(Error, match=rf"clip skip is {clip_skip}: give 1 \(none\) to 4"):
        recipe.check(mini)


def test_sdxl_reads_what_diffusers_reads():
    base = narrow("sdxl")
    theirs = pipeline(base).encode_prompt("a fox!", device="cpu", negative_prompt="red, blue")
    ours, added = read(base, "a fox!", "red, blue")
    assert torch.allclose(ours, torch.cat([theirs[1], theirs[0]]), atol=1e-6)
    assert torch.allclose(added["text_embeds"], torch.cat([theirs[3], theirs[2]]), atol=1e-6)
    assert added["time_ids"].tolist() == [[96, 64, 0, 0, 96, 64]] * 2


def test_sdxl_without_a_negative_prompt_is_led_from_zeros_as_in_diffusers():
    base = narrow("sdxl")
    theirs = pipeline(base).encode_prompt("a fox", device="cpu")
    ours, added = read(base, "a fox", "")
    assert not ours[0].any() and not added["text_embeds"][0].any()
    assert torch.equal(theirs[1][0], ours[0]) and torch.allclose(theirs[0][0], ours[1], atol=1e-6)


@pytest.mark.parametrize("negative", ["blurry, red", ""])
def test_sdxl_draws_diffusers_picture(negative):
    base = narrow("sdxl")
    recipe = Recipe("a fox, flat style", negative, 3, 3, 5.0, "DDIM", SIZE)
    ours = decode(base, denoise(base, recipe))
    theirs = pipeline(base)(
        recipe.prompt,
        negative_prompt=negative or None,
        width=SIZE[0],
        height=SIZE[1],
        num_inference_steps=3,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    a, b = (torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).int() for image in (ours, theirs))
    assert ours.size == theirs.size == SIZE and (a - b).abs().max() <= 1


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_weights_scale_their_tokens_and_keep_the_mean(family):
    base = narrow(family)
    plain, weighted = context(base, "a red fox")[0], context(base, "a (red:1.5) fox")[0]
    widths = [encoder.config.hidden_size for encoder in base.text_encoders]
    for before, after in zip(plain.split(widths, dim=-1), weighted.split(widths, dim=-1), strict=True):
        assert torch.allclose(before.mean(), after.mean(), rtol=1e-3)
        ratio = after / before
        others = ratio[0].mean()  # the start has weight 1: what remains is the mean's part
        assert torch.allclose(ratio[2], 1.5 * others, rtol=1e-3)
        assert torch.allclose(ratio[[1, 3, 4]], others, rtol=1e-3)


def test_a_weight_of_one_changes_no_bit(mini):
    assert torch.equal(context(mini, "a (red:1.0) fox"), context(mini, "a red fox"))
    assert torch.equal(context(mini, "[(a)] fox"), context(mini, "a fox"))


def test_chunks_are_encoded_alone_and_joined(mini):
    joined = context(mini, "red apple BREAK octopus, flat style")
    (parts,) = encode(mini, ["red apple", "octopus, flat style"])
    assert torch.allclose(joined[0], torch.cat(list(parts)), atol=1e-5)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_shorter_prompt_is_filled_with_the_empty_prompts_chunks(family):
    base = narrow(family)
    length = base.tokenizers[0].model_max_length
    ours, added = read(base, "a BREAK b BREAK c", "blurry")
    assert ours.shape[:2] == (2, 3 * length)
    alone = context(base, "blurry")[0]
    empty = context(base, "")[0]
    assert torch.allclose(ours[0], torch.cat([alone, empty, empty]), atol=1e-5)
    if added:
        first = read(base, "a")[1]["text_embeds"][0]  # pooled is of the first chunk
        assert torch.allclose(added["text_embeds"][1], first, atol=1e-5)


def test_a_long_prompt_is_read_to_its_end(mini):
    many = ", ".join(["red apple"] * 40)
    recipe = Recipe(many, "", 1, 2, 4.0, "DDIM", (64, 64))
    longer = Recipe(f"{many}, octopus", "", 1, 2, 4.0, "DDIM", (64, 64))
    assert not torch.equal(denoise(mini, recipe), denoise(mini, longer))


def test_stages_change_at_their_steps(mini):
    for prompt, texts in {
        "[red:blue:0.5] fox": ["red fox"] * 2 + ["blue fox"] * 2,
        "[a|b]": ["a", "b", "a", "b"],
    }.items():
        found = condition(mini, prompt, "x", steps=4, size=SIZE)
        for index, text in enumerate(texts):
            expected = torch.cat([encode(mini, ["x"])[0], encode(mini, [text])[0]])
            assert torch.allclose(found.at(index, 4)[0], expected, atol=1e-5)


def test_a_prompt_that_changes_at_the_end_begins_as_without(mini):
    seen = {}
    for prompt in ("[red:blue:3] fox", "red fox"):
        seen[prompt] = []
        recipe = Recipe(prompt, "", 1, 4, 4.0, "DDIM", (64, 64))
        denoise(mini, recipe, lambda step, kept=seen[prompt]: kept.append(step.latents.clone()))
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(*seen.values(), strict=True)]
    assert same == [True, True, True, False]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_learned_vectors_of_a_words_own_embedding_are_that_word(family):
    base = narrow(family)
    learned = []
    for encoder, tokenizer in zip(base.text_encoders, base.tokenizers, strict=True):
        ids = tokenizer("red fox", add_special_tokens=False).input_ids
        learned.append({"<s1>": encoder.get_input_embeddings().weight[ids].clone()})
    more = dict(zip(("tokens", "tokens_2"), learned, strict=False))
    ours, added = read(base, "a <s1>, apple", "<s1>", **more)
    plain, added_plain = read(base, "a red fox, apple", "red fox")
    assert torch.allclose(ours, plain, atol=1e-6)
    if added:
        assert torch.allclose(added["text_embeds"], added_plain["text_embeds"], atol=1e-6)
    assert not torch.allclose(context(base, "a <s1>, apple"), plain[1:], atol=1e-3)  # and nothing is left behind


def test_learned_tokens_of_another_base_are_refused(mini):
    with pytest.raises(Error, match=r"token <s1> is \(2, 768\), but this base's text encoder reads vectors of 160"):
        context(mini, "<s1>", tokens={"<s1>": torch.zeros(2, 768)})
    with pytest.raises(Error, match="<s1> needs as many vectors for each"):
        context(narrow("sdxl"), "<s1>", tokens={"<s1>": torch.zeros(2, 64)})


def test_a_picture_of_learned_tokens(mini):
    recipe = Recipe("a <s1>", "", 1, 2, 4.0, "DDIM", (64, 64))
    tokens = {"<s1>": torch.randn(2, 160, generator=torch.Generator().manual_seed(1))}
    with_tokens = denoise(mini, recipe, asked=always(prompt_context(mini, recipe, tokens)))
    assert with_tokens.isfinite().all() and not torch.equal(with_tokens, denoise(mini, recipe))
