"""What a forward pass sees does not depend on how the examples were split into batches."""

from pathlib import Path

import pytest
import torch

from sdlora.data.folder import Example
from sdlora.data.latents import Latents
from sdlora.training.batches import Batches, Prompts
from sdlora.training.loss import NoiseSchedule

CAPTIONS = ("red disc", "green disc", "blue disc")


@pytest.fixture(scope="module")
def prompts(mini):
    return Prompts(mini, CAPTIONS, encoder_trains=True)


def stream(mini, prompts, *, repeats=(1, 1, 1), dropout=0.0, mirrored=False, global_batch=4):
    examples = [Example(Path(c), c, n) for c, n in zip(CAPTIONS, repeats, strict=True)]
    mean = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 4, 8, 8)
    none = (0.0,) * 3
    flipped = Latents(-1 - mean, torch.zeros_like(mean), none, none) if mirrored else None
    latents = Latents(mean, torch.zeros_like(mean), none, none, flipped)
    return Batches(
        examples,
        latents,
        prompts,
        NoiseSchedule.of(mini),
        seed=3,
        caption_dropout=dropout,
        global_batch=global_batch,
    )


def test_splits_do_not_matter(mini, prompts):
    batches = stream(mini, prompts, dropout=0.5, mirrored=True)
    whole = batches.take(range(8))
    parts = [batches.take(range(start, start + 2)) for start in (4, 0, 6, 2)]
    ordered = [parts[1], parts[3], parts[0], parts[2]]
    for field in ("latents", "noise", "timesteps", "prompts"):
        assert torch.equal(getattr(whole, field), torch.cat([getattr(part, field) for part in ordered]))


def test_each_image_has_its_own_caption(mini, prompts):
    batch = stream(mini, prompts).take(range(12))
    for latents, tokens in zip(batch.latents, batch.prompts, strict=True):
        assert torch.equal(tokens, prompts([CAPTIONS[int(latents[0, 0, 0])]])[0])


def test_repeats_are_seen_as_often_as_asked(mini, prompts):
    batches = stream(mini, prompts, repeats=(3, 1, 2))
    assert batches.epoch_length == 6
    seen = batches.take(range(6)).latents[:, 0, 0, 0].tolist()
    assert sorted(seen) == [0, 0, 0, 1, 2, 2]


def test_a_batch_may_be_larger_than_the_folder(mini, prompts):
    batch = stream(mini, prompts, global_batch=40).take(range(40))
    assert len(batch.latents) == 40
    assert sorted((batch.timesteps // 25).tolist()) == list(range(40))


def test_dropped_captions_are_the_empty_prompt(mini, prompts):
    assert torch.equal(stream(mini, prompts, dropout=1.0).take([0]).prompts, prompts([""]))


def test_half_are_mirrored_where_mirrored_latents_are_there(mini, prompts):
    batch = stream(mini, prompts, mirrored=True).take(range(400))
    assert 0.4 < (batch.latents[:, 0, 0, 0] < 0).double().mean() < 0.6
    assert (stream(mini, prompts).take(range(50)).latents >= 0).all()


def test_frozen_encoders_run_once(mini):
    encoded = Prompts(mini, CAPTIONS, encoder_trains=False)(["blue disc", ""])
    tokens = Prompts(mini, CAPTIONS, encoder_trains=True)(["blue disc", ""])
    assert encoded.shape == (2, mini.tokenizers[0].model_max_length, mini.unet.config["cross_attention_dim"])
    assert torch.equal(encoded, mini.text_encoders[0](tokens).last_hidden_state) or torch.allclose(
        encoded, mini.text_encoders[0](tokens).last_hidden_state, atol=1e-5
    )
