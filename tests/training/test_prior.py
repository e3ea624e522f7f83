"""Prior preservation: prompts without the trigger keep the base's own answers."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sdlora
from sdlora.data.captions import with_trigger, without_trigger
from sdlora.errors import Error
from sdlora.sampling.prompts import Conditions
from sdlora.training.loss import Denoiser

TRIGGER = "wug style"
caption = st.lists(st.from_regex(r"[a-z]{1,6}( [a-z]{1,6})?", fullmatch=True), max_size=3).map(", ".join)


@given(caption)
def test_taking_the_trigger_out_is_the_inverse_of_putting_it_in(text):
    assert without_trigger(with_trigger(text, TRIGGER), TRIGGER) == text


@pytest.mark.parametrize(
    ("text", "rest"),
    [("red apple, wug style", "red apple"), ("a Wug Style apple", "a apple"), ("wug styles", "wug styles"), ("", "")],
)
def test_the_trigger_is_taken_out_wherever_it_stands(text, rest):
    assert without_trigger(text, TRIGGER) == rest


def losses(run):
    rows = map(json.loads, (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [row["loss"] for row in rows if "loss" in row]


def answers(base):
    """What a base predicts for a caption without the trigger, on fixed noise."""
    noisy = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    tokens = base.tokenizers[0](["red disc"] * 4, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        return Denoiser(base)(noisy, torch.tensor([50, 300, 600, 900]), Conditions((tokens,)))


def test_the_base_s_own_answers_are_kept(small, tmp_path, mini):
    settings = {"steps": 30, "batch_size": 4, "trigger": "wug", "learning_rate": 3e-3}
    free = sdlora.train(small(tmp_path, name="free", **settings), quiet=True)
    kept = sdlora.train(small(tmp_path, name="kept", prior_preservation=10.0, **settings), quiet=True)
    assert losses(kept)[0] == losses(free)[0], "nothing has moved before the first step"
    mixer = sdlora.Mixer(mini)
    plain = answers(mini)
    moved = {}
    for run in (free, kept):
        mixer.set({str(run.adapter_path): 1.0})
        moved[run] = (answers(mini) - plain).square().mean().item()
    mixer.clear()
    assert 0 < moved[kept] < 0.6 * moved[free]


def test_a_resumed_run_goes_on_with_the_same_pictures(small, tmp_path):
    settings = {"steps": 4, "prior_preservation": 1.0, "trigger": "wug", "checkpoint_every": 2}
    whole = sdlora.train(small(tmp_path / "a", **settings), quiet=True)
    first = sdlora.train(small(tmp_path / "b", **settings), quiet=True)
    for file in (first.folder / "checkpoints").glob("step-000004*"):
        file.unlink()
    status = first.folder / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "stopped", "step": 2}), encoding="utf-8")
    again = sdlora.train(small(tmp_path / "b", **settings), resume="disc", quiet=True)
    assert losses(again) == losses(whole)


AUTO = {"prior_preservation": "auto"}


def test_a_preset_s_is_off_where_there_is_no_trigger(small, tmp_path):
    for trigger, weight in ((None, 0.0), ("wug", 0.7)):
        run = sdlora.train(small(tmp_path, steps=1, preset="character", trigger=trigger, **AUTO), quiet=True)
        assert f"prior_preservation = {weight}" in (run.folder / "config.toml").read_text(encoding="utf-8")


def test_without_a_trigger_there_is_nothing_to_tell_apart(small, tmp_path):
    with pytest.raises(Error, match="prior_preservation needs a trigger"):
        sdlora.train(small(tmp_path, prior_preservation=1.0), quiet=True)
