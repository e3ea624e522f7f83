"""Sample images of real trainings: at which steps and weights, of which prompts, and what their index says."""

import json
import threading
import time

import pytest
import torch
from PIL import Image, ImageChops

import sdlora
from sdlora.errors import Error
from sdlora.mixing import Mixer
from sdlora.training.run_folder import RunFolder
from sdlora.training.sample_index import Sample, SampleIndex


def names(run):
    return sorted(path.name for path in (run.folder / "samples").glob("*.png"))


def pixels(run, step, prompt=1, weight=1.0):
    return Image.open(run.folder / "samples" / Sample(step, prompt, weight).file).convert("RGB")


def differ(a, b):
    return ImageChops.difference(a, b).getbbox() is not None


@pytest.fixture(scope="module")
def weighed(small, tmp_path_factory):
    workspace = tmp_path_factory.mktemp("weighed")
    settings = {"sample_prompts": ["a red disc", "--d 4"], "sample_weights": [0, 0.5, 1, -1], "sample_every": 2}
    return sdlora.train(small(workspace, steps=3, learning_rate=2e-2, **settings), quiet=True)


def test_the_base_first_then_every_weight(weighed):
    steps = {step: [0.5, 1.0, -1.0] for step in (2, 3)} | {0: [0.0]}
    assert names(weighed) == sorted(
        Sample(step, prompt, weight).file for step, weights in steps.items() for weight in weights for prompt in (1, 2)
    )
    assert "step-000002-prompt-1-weight-0.5.png" in names(weighed)


def test_weights_are_those_of_the_mixer(weighed, mini):
    """What is drawn at a weight is what the finished file draws at it, within rounding."""
    settings = {"seed": 1, "size": (64, 64), "steps": 25, "guidance": 4.0}
    mixer = Mixer(mini)
    try:
        mixer.set({str(weighed.adapter_path): 0.5})
        own = mixer.generate("a red disc", **settings)[0].image
    finally:
        mixer.clear()
    difference = ImageChops.difference(own, pixels(weighed, weighed.steps, 1, 0.5))
    assert max(high for _, high in difference.getextrema()) <= 3
    assert differ(pixels(weighed, 3, 1, 0.5), pixels(weighed, 3, 1, 1.0))
    assert differ(pixels(weighed, 3, 1, -1.0), pixels(weighed, 0, 1, 0.0))


def test_the_index_says_what_the_pictures_show(weighed):
    told = json.loads((weighed.folder / "samples" / "index.json").read_text(encoding="utf-8"))
    assert [(one["number"], one["line"]) for one in told["prompts"]] == [(1, "a red disc"), (2, "--d 4")]
    assert told["in_use"] == [1, 2] and told["prompts"][1]["seed"] == 4 and told["prompts"][1]["size"] == [64, 64]
    assert sorted(one["file"] for one in told["pictures"]) == names(weighed)
    assert {"step": 2, "prompt": 1, "weight": 0.5, "file": "step-000002-prompt-1-weight-0.5.png"} in told["pictures"]
    assert "a red disc\nSteps: 25" in Image.open(weighed.folder / "samples" / names(weighed)[0]).info["parameters"]


def test_a_prompt_file_is_read_anew(small, tmp_path):
    """A prompt added during the run gets the base's picture too, and with the same number those that stay."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red disc --s 2\na blue disc --s 2\n", encoding="utf-8")
    config = small(tmp_path, steps=4, sample_prompts=str(prompts), sample_every=2, learning_rate=2e-2)

    def edit():
        run = RunFolder(tmp_path / "runs" / "disc")
        while not any(row.get("loss") for row in run.metrics()):
            time.sleep(0.005)
        prompts.write_text("a blue disc --s 2\na green disc --s 2\n", encoding="utf-8")

    editor = threading.Thread(target=edit, daemon=True)
    editor.start()
    run = sdlora.train(config, quiet=True)
    editor.join(60)
    index = SampleIndex(run.folder / "samples")
    assert [one["prompt"] for one in index.prompts.values()] == ["a red disc", "a blue disc", "a green disc"]
    assert index.in_use == [2, 3]
    assert {Sample(0, n, 0.0) for n in (1, 2, 3)} | {Sample(4, 2, 1.0), Sample(4, 3, 1.0)} <= set(index.pictures)
    assert Sample(4, 1, 1.0) not in index.pictures
    other = small(tmp_path, name="other", steps=1, sample_prompts=["a green disc --s 2"])
    assert not differ(pixels(sdlora.train(other, quiet=True), 0, 1, 0.0), pixels(run, 0, 3, 0.0))


@pytest.mark.parametrize("encoder_trains", [False, True])
def test_a_prompt_file_that_vanishes_leaves_the_last_prompts(small, tmp_path, capsys, monkeypatch, encoder_trains):
    """During the run, and when it is gone on with."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red disc --s 2\n", encoding="utf-8")
    targets = ["unet.mid_block", *(["text_attention"] if encoder_trains else [])]
    config = small(tmp_path, steps=4, targets=targets, sample_prompts=str(prompts), sample_every=1, checkpoint_every=2)
    append = RunFolder.append_metrics

    def killed(self, row):
        if row["step"] == 1:
            prompts.unlink(missing_ok=True)
        if row["step"] == 4:
            raise SystemExit
        append(self, row)

    monkeypatch.setattr(RunFolder, "append_metrics", killed)
    with pytest.raises(SystemExit):
        sdlora.train(config)
    assert "go on with the prompts from before" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(RunFolder, "append_metrics", append)
    run = sdlora.train(config, resume=True)
    assert "There is no file" in capsys.readouterr().err
    assert [name for name in names(run) if "weight-1" in name] == [Sample(step, 1, 1.0).file for step in (1, 2, 3, 4)]


def test_prompts_that_can_t_be_drawn_are_refused_before_anything_is_made(small, tmp_path):
    for prompts, said in ((str(tmp_path / "none.txt"), "There is no file"), (["a --q 3"], "has an option --q")):
        with pytest.raises(Error, match=said):
            sdlora.train(small(tmp_path, sample_prompts=prompts), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_samples_change_no_bit_of_what_is_learned(small, tmp_path):
    """Also where a run goes on with other prompts, at other weights."""
    plain = sdlora.train(small(tmp_path / "plain", steps=4), quiet=True)
    config = small(tmp_path / "drawn", steps=4, checkpoint_every=2, sample_prompts=["a disc --s 2"], sample_every=1)
    drawn = sdlora.train(config, quiet=True)
    (drawn.folder / "checkpoints" / "step-000004.safetensors").unlink()
    run = RunFolder(drawn.folder)
    run.write_status("stopped", 2, 4)
    changed = config.model_copy(update={"sample_prompts": ["a cube --s 2"], "sample_weights": [2.0], "sample_every": 2})
    again = sdlora.train(changed, resume=True, quiet=True)
    updates = [sdlora.load_adapter(one.adapter_path).updates for one in (plain, again)]
    assert all(torch.equal(updates[0][path].up, updates[1][path].up) for path in updates[0])
    steps = {(one.step, one.prompt, one.weight) for one in SampleIndex(again.folder / "samples").pictures}
    assert steps == {(0, 1, 0.0), (1, 1, 1.0), (2, 1, 1.0), (0, 2, 0.0), (4, 2, 2.0)}
