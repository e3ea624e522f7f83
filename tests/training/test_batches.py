"""What a forward pass sees does not depend on how the examples were split into batches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sdlora.data.folder import Example
from sdlora.data.latents import Latents, Seen
from sdlora.data.views import uncut
from sdlora.data.wording import Wording
from sdlora.training.batches import Batches, Prompts
from sdlora.training.loss import NoiseSchedule
from sdlora.training.timesteps import Timesteps

CAPTIONS = ("red disc", "green disc", "blue disc")


@pytest.fixture(scope="module")
def prompts(mini):
    return Prompts(mini, CAPTIONS, encoder_trains=True)


def told(prompts, *texts):
    """What the prompts make of texts: token ids, or states."""
    return prompts(texts, [uncut((64, 64))] * len(texts)).texts[0]


def image(caption, value, *, repeats=1, mirrored=False, size=(64, 64), **more):
    """Latents that are all `value`; where mirrored, -1 - value in a second view."""
    mean = torch.full((4, size[1] // 8, size[0] // 8), float(value))
    views = [Seen(mean, torch.zeros_like(mean))]
    views += [Seen(-1 - mean, torch.zeros_like(mean))] if mirrored else []
    return Latents(Example(Path(caption), caption, repeats, **more), size, tuple(views))


def stream(mini, prompts, *, repeats=(1, 1, 1), dropout=0.0, mirrored=False, global_batch=4, **more):
    latents = [
        image(caption, i, repeats=n, mirrored=mirrored)
        for i, (caption, n) in enumerate(zip(CAPTIONS, repeats, strict=True))
    ]
    return Batches(
        latents,
        prompts,
        NoiseSchedule.of(mini),
        seed=3,
        caption_dropout=dropout,
        global_batch=global_batch,
        **more,
    )


def test_splits_do_not_matter(mini, prompts):
    batches = stream(mini, prompts, dropout=0.5, mirrored=True)
    whole = batches.take(range(8))
    parts = [batches.take(range(start, start + 2)) for start in (4, 0, 6, 2)]
    ordered = [parts[1], parts[3], parts[0], parts[2]]
    for field in ("latents", "noise", "timesteps"):
        assert torch.equal(getattr(whole, field), torch.cat([getattr(part, field) for part in ordered]))
    assert torch.equal(whole.prompts.texts[0], torch.cat([part.prompts.texts[0] for part in ordered]))
    assert torch.equal(whole.prompts.sizes, torch.cat([part.prompts.sizes for part in ordered]))


def test_timesteps_keep_to_their_range_and_stay_stratified(mini, prompts):
    batches = stream(mini, prompts, timesteps=Timesteps(0.2, 0.6, "high"))
    timesteps = batches.take(range(16)).timesteps.sort().values
    assert timesteps.min() >= 200 and timesteps.max() < 600
    parts = (((timesteps + 0.5) / 1000 - 0.2) / 0.4) ** 2 * 16  # where they lie in the distribution, in sixteenths
    assert (parts - torch.arange(16) > -0.2).all() and (parts - torch.arange(16) < 1.2).all()


def test_each_image_has_its_own_caption(mini, prompts):
    batch = stream(mini, prompts).take(range(12))
    for latents, tokens in zip(batch.latents, batch.prompts.texts[0], strict=True):
        assert torch.equal(tokens, told(prompts, CAPTIONS[int(latents[0, 0, 0])])[0])


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
    assert torch.equal(stream(mini, prompts, dropout=1.0).take([0]).prompts.texts[0], told(prompts, ""))


def test_half_are_mirrored_where_mirrored_latents_are_there(mini, prompts):
    batch = stream(mini, prompts, mirrored=True).take(range(400))
    assert 0.4 < (batch.latents[:, 0, 0, 0] < 0).double().mean() < 0.6
    assert (stream(mini, prompts).take(range(50)).latents >= 0).all()


def test_frozen_encoders_run_once(mini):
    encoded = told(Prompts(mini, CAPTIONS, encoder_trains=False), "blue disc", "")
    tokens = told(Prompts(mini, CAPTIONS, encoder_trains=True), "blue disc", "")
    assert encoded.shape == (2, mini.tokenizers[0].model_max_length, mini.unet.config["cross_attention_dim"])
    assert torch.equal(encoded, mini.text_encoders[0](tokens).last_hidden_state) or torch.allclose(
        encoded, mini.text_encoders[0](tokens).last_hidden_state, atol=1e-5
    )


def several(mini, prompts, latents, **more):
    return Batches(
        latents, prompts, NoiseSchedule.of(mini), seed=3, caption_dropout=0.0, **({"global_batch": 4} | more)
    )


def test_a_step_is_of_one_size_whatever_the_split(mini, prompts):
    wide = [image("red disc", i, size=(128, 64)) for i in range(3)]
    batches = several(mini, prompts, [image("blue disc", 9), *wide])
    shapes = set()
    for step in range(8):
        whole = batches.take(range(4 * step, 4 * step + 4))
        parts = [batches.take(range(4 * step + i, 4 * step + i + 2)) for i in (0, 2)]
        assert torch.equal(whole.latents, torch.cat([part.latents for part in parts]))
        shapes.add(tuple(whole.latents.shape[1:]))
    assert shapes == {(4, 8, 8), (4, 8, 16)}


def test_weights_and_masks_go_with_their_image(mini, prompts):
    half = torch.zeros(1, 8, 8)
    half[:, :4] = 1
    masked = image("red disc", 0, weight=0.5)
    masked = replace(masked, views=(replace(masked.views[0], mask=half),))
    batch = several(mini, prompts, [masked, image("blue disc", 1)]).take(range(4))
    for latents, weight, mask in zip(batch.latents, batch.weights, batch.masks, strict=True):
        first = latents[0, 0, 0] == 0
        assert weight == (0.5 if first else 1.0) and mask.mean() == (0.5 if first else 1.0)
    assert several(mini, prompts, [image("blue disc", 1)]).take(range(4)).masks is None


def test_captions_vary_by_their_index_alone(mini):
    tags = image("a, b, c, d", 0)
    wording = Wording(shuffle=True, keep=1, tag_dropout=0.3)
    prompts = Prompts(mini, [], encoder_trains=True)
    whole = several(mini, prompts, [tags], wording=wording).take(range(12)).prompts.texts[0]
    again = several(mini, prompts, [tags], wording=wording, global_batch=3)
    assert torch.equal(whole, torch.cat([again.take(range(i, i + 3)).prompts.texts[0] for i in (0, 3, 6, 9)]))
    assert len({tuple(row.tolist()) for row in whole}) > 4
