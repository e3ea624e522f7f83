"""Training on top of adapters that are merged into the base."""

import json

import pytest
import torch

import sdlora
from sdlora.adapters import Adapter, save_adapter
from sdlora.adapters.updates import LoRA
from sdlora.bases import load_base
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.merged import merge_into
from sdlora.training.run_folder import RunFolder

MID = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_v"
TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
CONVOLUTION = "unet.up_blocks.1.resnets.0.conv1"


@pytest.fixture(scope="module")
def base():
    return load_base("mini")


def written(folder, name, base, seed=0, paths=(MID, TEXT, CONVOLUTION)):
    """An adapter file with random low-rank updates, strong enough to be seen."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    updates = {}
    for path in paths:
        shape = base.modules()[path].weight.shape
        up = torch.randn(shape[0], 2, *(1 for _ in shape[2:]), generator=draw)
        updates[path] = LoRA(0.1 * torch.randn(2, *shape[1:], generator=draw), 0.1 * up, 2.0)
    file = folder / f"{name}.safetensors"
    save_adapter(Adapter(name, updates, family="sd1"), file, dtype="fp32")
    return file


def weights_of(base):
    return {
        path: module.weight.detach().clone() for path, module in base.modules().items() if hasattr(module, "weight")
    }


def test_the_base_holds_what_the_mixer_would_put_there(small, tmp_path, base):
    written(tmp_path / "ws" / "adapters", "ink", base, seed=1)
    clay = written(tmp_path, "clay", base, seed=2)
    merged = merge_into(ours := load_base("mini"), small(tmp_path / "ws", merged=[f"{clay}:-0.3", "ink:0.8"]))
    assert [(one.name, one.weight) for one in merged] == [("clay", -0.3), ("ink", 0.8)]
    mixer = Mixer(theirs := load_base("mini"), tmp_path / "ws" / "adapters")
    mixer.set({"ink": 0.8, str(clay): -0.3})
    expected, untouched = weights_of(theirs), weights_of(base)
    found = weights_of(ours)
    assert [path for path, weight in expected.items() if not torch.equal(weight, found[path])] == []
    assert {path for path, weight in found.items() if not torch.equal(weight, untouched[path])} == {
        MID,
        TEXT,
        CONVOLUTION,
    }


def test_used_with_the_others_it_does_what_it_learned(small, tmp_path, base):
    """The file's update on the base with the merged adapter is the base that the training saw, and what it added."""
    ink = written(tmp_path, "ink", base, paths=(MID, TEXT))
    run = sdlora.train(small(tmp_path / "ws", merged=[f"{ink}:0.5"], targets=[MID, TEXT]), quiet=True)
    learned = sdlora.load_adapter(run.adapter_path)
    assert learned.metadata["sdlora_trained_on_top_of"] == "ink:0.5"
    assert str(tmp_path) not in json.dumps(learned.metadata)
    merge_into(seen := load_base("mini"), RunFolder(run.folder).config())
    mixer = Mixer(both := load_base("mini"))
    mixer.set({str(ink): 0.5, str(run.adapter_path): 1.0})
    for path in (MID, TEXT):
        before = seen.modules()[path].weight
        learned_change = learned.updates[path].delta(before)
        assert learned_change.abs().max() > 1e-4
        assert torch.allclose(both.modules()[path].weight, before + learned_change, atol=1e-6)


def test_it_learns_from_the_merged_base(small, tmp_path, base):
    ink = written(tmp_path, "ink", base)
    plain = sdlora.train(small(tmp_path / "plain", steps=1), quiet=True)
    on_top = sdlora.train(small(tmp_path / "on-top", steps=1, merged=[str(ink)]), quiet=True)
    first = [next(row["loss"] for row in RunFolder(run.folder).metrics() if "loss" in row) for run in (plain, on_top)]
    assert first[0] != first[1]


def test_a_resumed_run_equals_one_that_was_left_alone(small, tmp_path, base, monkeypatch):
    """From another folder, with the adapter given by a path that means nothing there."""
    ink = written(tmp_path, "ink", base)
    monkeypatch.chdir(tmp_path)
    settings = {"merged": ["./ink.safetensors:0.7"], "checkpoint_every": 2, "steps": 4}
    whole = sdlora.train(small(tmp_path / "whole", **settings), quiet=True)
    part = sdlora.train(small(tmp_path / "part", **settings), quiet=True)
    run = RunFolder(part.folder)
    Checkpoint.file(run.checkpoints, 4).unlink()
    run.write_status("stopped", 2, 4)
    monkeypatch.chdir(tmp_path / "part")
    resumed = sdlora.train(small(tmp_path / "part", checkpoint_every=2, steps=4), resume=run.name, quiet=True)
    ours, theirs = (Checkpoint.newest(RunFolder(r.folder).checkpoints) for r in (resumed, whole))
    assert ours.step == theirs.step == 4 and all(
        torch.equal(ours.weights[key], theirs.weights[key]) for key in theirs.weights
    )

    Checkpoint.file(run.checkpoints, 4).unlink()
    run.write_status("stopped", 2, 4)
    written(tmp_path, "ink", base, seed=9)
    with pytest.raises(Error, match="ink, which is merged into the base of disc, is not what it was"):
        sdlora.train(small(tmp_path / "part", checkpoint_every=2, steps=4), resume=run.name, quiet=True)
    assert ink.is_file()


def test_what_does_not_fit_is_refused_before_anything_is_made(small, tmp_path, base):
    other = tmp_path / "other.safetensors"
    save_adapter(Adapter("other", {MID: LoRA(torch.ones(2, 7), torch.ones(5, 2), 2.0)}), other)
    word = tmp_path / "word.safetensors"
    save_adapter(Adapter("word", {}, tokens={"word": torch.ones(1, 160)}), word)
    for merged, says in (
        ("nowhere", "no adapter 'nowhere'"),
        (str(other), f"'other' can't be merged into mini.*{MID}"),
        (str(word), "learned tokens"),
        (f"{other}:0", "weight other than 0"),
    ):
        with pytest.raises(Error, match=says):
            sdlora.train(small(tmp_path / "ws", merged=[merged]), quiet=True)
    assert not (tmp_path / "ws" / "runs").exists()


def test_a_bottleneck_is_refused_before_anything_is_changed(small, tmp_path):
    trained = sdlora.train(small(tmp_path, kind="bottleneck", targets=["unet.mid_block"], alpha="auto"), quiet=True)
    ours = load_base("mini")
    before = weights_of(ours)
    with pytest.raises(Error, match="it is a bottleneck adapter, which no change of a weight can stand for"):
        merge_into(ours, small(tmp_path, merged=[f"{trained.adapter_path}:1"]))
    assert all(torch.equal(weight, before[path]) for path, weight in weights_of(ours).items())
