"""Captions as the UNet reads them in training."""

import pytest
import torch

from sdlora.errors import Error
from sdlora.sampling.prompts import encode, tokenize
from tests.bases.written import narrow

PROMPTS = ["", "a fox", "größer, 蓝色的狐狸, 🦊", "many words " * 100]


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_every_prompt_fills_the_tokenizers_length(family):
    base = narrow(family)
    length = base.tokenizers[0].model_max_length
    assert tokenize(base, PROMPTS).shape == (len(PROMPTS), length)
    context = encode(base, PROMPTS)
    assert context.shape == (len(PROMPTS), length, base.unet.config["cross_attention_dim"])
    assert context.isfinite().all() and context.dtype == base.dtype
    assert len({tuple(row.flatten().tolist()) for row in context}) == len(PROMPTS)


def test_prompts_do_not_touch_each_other(mini):
    together, alone = encode(mini, ["red apple", "octopus, flat style"]), encode(mini, ["octopus, flat style"])
    assert torch.allclose(together[1], alone[0], atol=1e-5)


def test_training_refuses_sdxl_with_a_sentence():
    with pytest.raises(Error, match=r"random-sdxl is an SDXL base: sdlora draws with it, but trains .* so far"):
        encode(narrow("sdxl"), ["a fox"])
