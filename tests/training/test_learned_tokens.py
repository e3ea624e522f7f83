"""The trigger as a learned token: alone and with layers, in files that others read, drawn with and resumed."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image, ImageChops
from safetensors.torch import load_file

import sdlora
from sdlora.adapters import Adapter
from sdlora.adapters.summary import summarise
from sdlora.bases import load_base
from sdlora.bases.random_base import random_base
from sdlora.errors import Error
from sdlora.evaluation import evaluate
from sdlora.sampling.conditioning import condition
from sdlora.sampling.prompts import encode, read_ids, tokenize
from sdlora.training.keeping import keep
from sdlora.training.learned_tokens import LearnedEmbedding, put_tokens, take_tokens_out, tokens_of, tokens_put
from sdlora.training.run_folder import RunFolder
from tests.by_diffusers import drawn, mini_pipeline

ALONE = {"targets": ["tokens"], "trigger": "wug style", "token_learning_rate": 1e-2}
BOTH = ALONE | {"targets": ["unet.mid_block", "tokens"], "token_vectors": 3, "token_start": "red apple"}


def greatest_difference(one, other):
    """Of two pictures' pixels, in parts of 255."""
    return max(band[1] for band in ImageChops.difference(one, other).getextrema())


def losses(run):
    return [row["loss"] for row in RunFolder(run.folder).metrics() if "loss" in row]


def test_alone_it_learns(small, images, tmp_path):
    held = images.parent / "holdout"
    run = sdlora.train(small(tmp_path, **ALONE, steps=20, token_start="disc", holdout=held), quiet=True)
    adapter = sdlora.load_adapter(run.adapter_path)
    ((token, vectors),) = adapter.tokens.items()
    assert token == "wug style" and vectors.shape == (1, 160) and not adapter.updates
    assert run.holdout_loss_after < run.holdout_loss_before
    assert adapter.metadata["ss_network_module"] == adapter.metadata["ss_network_dim"] == "None", "there is no network"
    assert not summarise(run.adapter_path).problem, "a list of adapters has it"
    own = load_file(run.folder / "embeddings" / "wug style.safetensors")
    assert list(own) == ["wug style"] and torch.equal(own["wug style"], vectors)
    assert (tmp_path / "embeddings" / "disc" / "wug style.safetensors").is_file()


def test_at_first_the_trigger_is_read_as_it_always_was(small, tmp_path):
    plain = sdlora.train(small(tmp_path / "a", steps=1, trigger="wug style", targets=["unet.mid_block"]), quiet=True)
    settings = {"steps": 1, "trigger": "wug style", "targets": ["unet.mid_block", "tokens"]}
    both = sdlora.train(small(tmp_path / "b", **settings), quiet=True)
    assert losses(plain) == losses(both)
    assert plain.holdout_loss_before == both.holdout_loss_before
    assert RunFolder(both.folder).config().token_vectors > 1, "as many as the words have"


def test_with_layers_a_file_holds_both_and_a_resumed_run_is_the_same(small, tmp_path):
    settings = BOTH | {"steps": 4, "checkpoint_every": 2, "choose": "last"}
    run = sdlora.train(small(tmp_path, **settings), quiet=True)
    whole = sdlora.load_adapter(run.adapter_path)
    keys = load_file(run.adapter_path)
    assert "bundle_emb.wug style.string_to_param.*" in keys and any(key.startswith("lora_unet") for key in keys)
    assert whole.tokens["wug style"].shape == (3, 160)
    folder = RunFolder(run.folder)
    (folder.checkpoints / "step-000004.safetensors").unlink()
    folder.write_status("stopped", 2, 4)
    again = sdlora.load_adapter(sdlora.train(small(tmp_path, **settings), resume="disc", quiet=True).adapter_path)
    assert torch.equal(again.tokens["wug style"], whole.tokens["wug style"])
    assert all(torch.equal(again.updates[path].up, whole.updates[path].up) for path in whole.updates)
    keep("disc", 2, tmp_path)
    kept = sdlora.load_adapter(run.adapter_path)
    assert not torch.equal(kept.tokens["wug style"], whole.tokens["wug style"])
    beside = load_file(tmp_path / "embeddings" / "disc" / "wug style.safetensors")
    assert torch.equal(beside["wug style"], kept.tokens["wug style"])


def test_pictures_of_a_run_are_those_that_are_drawn_with_its_file(small, tmp_path, mini):
    prompt = "a disc, wug style"
    settings = BOTH | {"steps": 2, "choose": "last", "sample_every": 2, "sample_prompts": [f"{prompt} --s 3"]}
    run = sdlora.train(small(tmp_path, **settings), quiet=True)
    (sample,) = (run.folder / "samples").glob("step-000002-*.png")
    mixer = sdlora.Mixer(mini)
    recipe = {"seed": 1, "steps": 3, "size": 64}
    plain = mixer.generate(prompt, **recipe)[0].image
    mixer.set({str(run.adapter_path): 1.0})
    drawn = mixer.generate(prompt, **recipe)[0].image
    mixer.clear()
    seen = Image.open(sample).convert("RGB")
    assert greatest_difference(seen, drawn) <= 1 < greatest_difference(seen, plain)


def test_evaluation_reads_captions_as_the_training_did(small, tmp_path, images):
    run = sdlora.train(small(tmp_path, **ALONE, steps=8, choose="last"), quiet=True)
    found = evaluate(run.adapter_path, images, trigger="wug style", precision="fp32", device="cpu")
    assert found.adapter_loss != found.base_loss


def test_captions_are_read_as_prompts_are():
    base = load_base("mini")
    vectors = {"wug": torch.randn(2, 160)}
    plain = encode(base, ["a disc, wug, red"])[0]
    with tokens_put(base, vectors, {}):
        learned = encode(base, ["a disc, wug, red"])[0]
        (ids,) = tokenize(base, ["a disc, wug, red"])
    assert (ids < 0).sum() == 2 and not torch.equal(learned, plain)
    drawn = condition(base, "a disc, wug, red", None, steps=1, size=(64, 64), tokens=vectors)
    assert torch.allclose(drawn.prompts[0].encoded[0].states, learned[0], atol=1e-5)
    assert torch.equal(encode(base, ["a disc, wug, red"])[0], plain), "gone without a trace"


def test_diffusers_draws_the_same_with_both_files(small, tmp_path, mini):
    run = sdlora.train(small(tmp_path, **BOTH, steps=2, choose="last", save_dtype="fp32"), quiet=True)
    pipeline = mini_pipeline()
    pipeline.load_textual_inversion(str(tmp_path / "embeddings" / "disc" / "wug style.safetensors"))
    layers = {key: value for key, value in load_file(run.adapter_path).items() if "bundle_emb" not in key}
    pipeline.load_lora_weights(layers)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    theirs = drawn(pipeline, "a disc, wug style", size=(64, 64), steps=3, guidance=4.0, seed=1)
    mixer = sdlora.Mixer(mini)
    mixer.set({str(run.adapter_path): 1.0})
    recipe = {"seed": 1, "steps": 3, "size": 64, "guidance": 4.0, "sampler": "DDIM"}
    ours = mixer.generate("a disc, wug style", **recipe)[0].image
    mixer.clear()
    assert np.abs(np.asarray(ours, dtype=float) - theirs).max() <= 1


def test_sdxl_has_vectors_for_both_encoders(small, tmp_path):
    base = random_base("sdxl", narrow=True)
    settings = {"targets": ["tokens"], "trigger": "wug", "token_vectors": 2}
    parts = put_tokens(base, small(tmp_path, **settings))
    assert list(parts) == ["tokens", "tokens_2"]
    read = read_ids(base, tokenize(base, ["a wug"]))
    (read.states.square().mean() + read.pooled.square().mean()).backward()
    assert all(part.vectors.grad.norm() > 0 for part in parts.values())
    first, second = tokens_of(parts, "wug")
    path = sdlora.save_adapter(Adapter("wug", {}, first, family="sdxl", tokens_2=second), tmp_path / "wug.safetensors")
    found = sdlora.load_adapter(path)
    assert found.tokens["wug"].shape == found.tokens_2["wug"].shape == (2, 64)
    take_tokens_out(base, parts)
    assert not any(isinstance(module, LearnedEmbedding) for one in base.text_encoders for module in one.modules())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"targets": ["tokens"]}, "no trigger says which word is to be learned"),
        ({"trigger": "wug", "token_vectors": 2}, "token_vectors is given, but targets has no tokens"),
        (ALONE | {"token_vectors": 500}, "more than a prompt of this base has room for"),
    ],
)
def test_what_can_t_be_is_a_sentence(small, tmp_path, settings, sentence):
    with pytest.raises(Error, match=sentence):
        sdlora.train(small(tmp_path, **settings), quiet=True)
