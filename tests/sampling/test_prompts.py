"""Captions as the UNet reads them in training."""

import pytest
import torch

from sdlora.sampling.conditioning import condition
from sdlora.sampling.prompts import encode, no_text, read_ids, tokenize
from tests.bases.written import narrow

PROMPTS = ["", "a fox", "größer, 蓝色的狐狸, 🦊", "many words " * 100]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_prompt_fills_the_tokenizers_length(family):
    base = narrow(family)
    length = base.tokenizers[0].model_max_length
    assert [ids.shape for ids in tokenize(base, PROMPTS)] == [(len(PROMPTS), length)] * len(base.text_encoders)
    context, *pooled = encode(base, PROMPTS)
    assert context.shape == (len(PROMPTS), length, base.unet.config["cross_attention_dim"])
    assert context.isfinite().all() and context.dtype == base.dtype
    assert len({tuple(row.flatten().tolist()) for row in context}) == len(PROMPTS)
    assert [part.shape[0] for part in pooled] == ([len(PROMPTS)] if family == "sdxl" else [])


def test_prompts_do_not_touch_each_other(mini):
    (together,), (alone,) = encode(mini, ["red apple", "octopus, flat style"]), encode(mini, ["octopus, flat style"])
    assert torch.allclose(together[1], alone[0], atol=1e-5)


def test_a_caption_of_sdxl_is_what_a_plain_prompt_is_when_drawing():
    base = narrow("sdxl")
    states, pooled = encode(base, ["a fox!"])
    drawn, added = condition(base, "a fox!", None, steps=1, size=(64, 96)).at(0, 1)
    assert torch.allclose(states, drawn, atol=1e-6) and torch.allclose(pooled, added["text_embeds"], atol=1e-6)


def test_no_text_is_what_an_empty_negative_prompt_is_when_drawing():
    for family in ("sd1", "sdxl"):
        base = narrow(family)
        states, *pooled = encode(base, [no_text(base), "a fox"])
        drawn, added = condition(base, "a fox", "", steps=1, size=(64, 96)).at(0, 1)
        assert torch.allclose(states, drawn, atol=1e-5)
        assert not pooled or torch.allclose(pooled[0], added["text_embeds"], atol=1e-5)


def test_gradients_reach_both_encoders_of_sdxl():
    base = narrow("sdxl")
    layers = [getattr(encoder, "text_model", encoder).encoder.layers for encoder in base.text_encoders]
    weights = [layers[0][0].mlp.fc1.weight, layers[1][-1].mlp.fc1.weight]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        read = read_ids(base, tokenize(base, ["a fox"]))
        through_states = torch.autograd.grad(read.states.square().sum(), weights[0])[0]
        through_pooled = torch.autograd.grad(read.pooled.square().sum(), weights[1])[0]
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    assert through_states.abs().max() > 0
    assert through_pooled.abs().max() > 0, "the second one's last layer is read for the pooled embedding alone"
