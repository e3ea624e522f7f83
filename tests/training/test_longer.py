"""A run that has ended is trained longer, or made again with changes."""

import pytest
import torch

import sdlora
from sdlora.errors import Error
from sdlora.training import starting
from sdlora.training.again import again
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.finding import find_run
from sdlora.training.longer import lengthen

SETTINGS = {"checkpoint_every": 2, "validate_every": 2}


def weights(run):
    return Checkpoint.newest(run.checkpoints).weights


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def go_on(which, workspace, **given):
    config, resume, said = starting.continued(which, {"workspace": str(workspace), **given})
    return sdlora.train(config, resume=resume, quiet=True), said


def test_it_equals_a_run_that_was_as_long_from_its_beginning(small, images, tmp_path):
    """With a rate that does not depend on the length; everything else follows from step and example alone."""
    settings = {**SETTINGS, "ema": 0.9, "holdout": images.parent / "holdout"}
    whole = sdlora.train(small(tmp_path / "whole", steps=6, **settings), quiet=True)
    first = sdlora.train(small(tmp_path, steps=2, **settings), quiet=True)
    began = find_run("disc", tmp_path).started
    run, said = go_on("disc", tmp_path, steps="+4")
    assert said == "disc goes on from step 2 to step 6"
    assert run.state == "finished" and run.folder == first.folder and run.adapter_path == first.adapter_path
    ours, theirs = find_run("disc", tmp_path), find_run("disc", tmp_path / "whole")
    assert same(weights(ours), weights(theirs)) and ours.started == began
    assert [r["step"] for r in ours.metrics() if "loss" in r] == [1, 2, 3, 4, 5, 6]
    assert run.steps == whole.steps
    assert sdlora.load_adapter(run.adapter_path).metadata["ss_steps"] == str(run.steps)


def test_the_rate_goes_on_along_the_longer_curve(small, tmp_path):
    """A cosine that had come to its end stands in the middle of one that is twice as long."""
    curve = {"schedule": "cosine", "warmup": 1, **SETTINGS}
    sdlora.train(small(tmp_path / "whole", steps=8, **curve), quiet=True)
    sdlora.train(small(tmp_path, steps=4, **curve), quiet=True)
    go_on("disc", tmp_path, steps=8)
    ours, theirs = (
        [row["learning_rate"] for row in find_run("disc", workspace).metrics() if "loss" in row]
        for workspace in (tmp_path, tmp_path / "whole")
    )
    assert ours[4:] == theirs[4:] and ours[:4] != theirs[:4]


def test_a_cosine_that_is_lengthened_and_interrupted_is_resumed_bit_for_bit(small, tmp_path):
    curve = {"schedule": "cosine", **SETTINGS}
    for workspace in (tmp_path, tmp_path / "whole"):
        sdlora.train(small(workspace, steps=2, **curve), quiet=True)
        lengthen(find_run("disc", workspace), "+4")
    whole = sdlora.train(find_run("disc", tmp_path / "whole").config(), resume="disc", quiet=True)
    run = find_run("disc", tmp_path)
    config = run.config()
    run.write_status("running", 4, 6)
    sdlora.train(config, resume="disc", quiet=True)
    for step in (5, 6):
        Checkpoint.file(run.checkpoints, step).unlink(missing_ok=True)
    run.write_status("running", 5, 6)  # as after a kill; its last checkpoint is that of step 4
    resumed = sdlora.train(config, resume="disc", quiet=True)
    assert resumed.state == whole.state == "finished"
    assert same(weights(run), weights(find_run("disc", tmp_path / "whole")))


def test_the_adapter_stays_until_the_longer_run_is_done(small, tmp_path):
    first = sdlora.train(small(tmp_path, steps=2, **SETTINGS), quiet=True)
    before = first.adapter_path.read_bytes()
    run = find_run("disc", tmp_path)
    lengthen(run, "+2")
    assert run.state == "stopped" and run.status()["adapter_step"] == 2 and run.status()["steps"] == 4
    assert first.adapter_path.read_bytes() == before == run.adapter_file.read_bytes()
    lengthen(run, "+2")  # asked again before anything was trained: from where it is, not from what was planned
    assert run.config().steps == 4


def test_a_stopped_run_says_what_it_was_to_have(small, tmp_path):
    sdlora.train(small(tmp_path, steps=2, **SETTINGS), quiet=True)
    run = find_run("disc", tmp_path)
    run.config_file.write_text(run.config().model_copy(update={"steps": 9}).toml(), encoding="utf-8")
    assert lengthen(run, "+2") == "disc goes on from step 2 to step 4 (it was to have 9)"


@pytest.mark.parametrize(
    ("steps", "says"),
    [(2, "steps = 2 is not beyond step 2"), ("+0", "not beyond step 2"), ("soon", "'soon' is no number")],
)
def test_a_number_that_can_t_be(small, tmp_path, steps, says):
    sdlora.train(small(tmp_path, steps=2, **SETTINGS), quiet=True)
    with pytest.raises(Error, match=says):
        lengthen(find_run("disc", tmp_path), steps)
    assert find_run("disc", tmp_path).state == "finished"


def test_patience_begins_anew(small, images, tmp_path):
    """A run that ended because nothing got better goes on when that is asked for."""
    settings = {"holdout": images.parent / "holdout", "validate_every": 1, "checkpoint_every": 100}
    first = sdlora.train(small(tmp_path, steps=9, patience=1, learning_rate=0.3, **settings), quiet=True)
    run = find_run("disc", tmp_path)
    ended = Checkpoint.newest_step(run.checkpoints)
    assert first.state == "finished" and ended == run.status()["step"] < 9
    go_on("disc", tmp_path, steps="+3")
    assert run.status()["step"] > ended


def test_another_setting_is_refused_before_anything_is_changed(small, tmp_path):
    sdlora.train(small(tmp_path, steps=2, **SETTINGS), quiet=True)
    with pytest.raises(Error, match=r"disc was started with rank = 4, not 8: .*--again disc"):
        go_on("disc", tmp_path, steps="+2", rank=8)
    with pytest.raises(Error, match=r"give --steps \+500"):
        go_on("disc", tmp_path)
    assert find_run("disc", tmp_path).state == "finished" and find_run("disc", tmp_path).config().steps == 2


# --- again ------------------------------------------------------------------------------------------------------


def test_again_is_the_same_but_for_the_changes(small, tmp_path):
    first = sdlora.train(small(tmp_path, steps=2), quiet=True)
    second = sdlora.train(again("disc", tmp_path, learning_rate=2e-3), quiet=True)
    assert second.folder.name == "disc-2" and first.adapter_path.is_file() and second.adapter_path.is_file()
    before, after = (find_run(name, tmp_path).config().model_dump() for name in ("disc", "disc-2"))
    assert {key for key in before if before[key] != after[key]} == {"learning_rate"}
    third = sdlora.train(again("disc-2", tmp_path, learning_rate=1e-3), quiet=True)
    assert third.folder.name == "disc-3"
    assert same(weights(find_run("disc-3", tmp_path)), weights(find_run("disc", tmp_path)))


def test_what_was_chosen_is_chosen_anew(small, tmp_path):
    """Steps that were counted from epochs, intervals from steps."""
    config = small(tmp_path, epochs=1)
    config = type(config)(**{k: getattr(config, k) for k in config.model_fields_set - {"steps", "warmup"}})
    sdlora.train(config, quiet=True)
    assert find_run("disc", tmp_path).config().steps == 3
    longer = again("disc", tmp_path, epochs=2)
    assert longer.steps == "auto" and longer.epochs == 2 and longer.validate_every == "auto"
    other = again("disc", tmp_path, steps=4, name="other")
    assert other.epochs is None and other.name == "other"
    assert sdlora.train(other, quiet=True).folder.name == "other"


def test_a_run_that_noted_nothing_is_made_again_from_its_config(small, tmp_path):
    sdlora.train(small(tmp_path, steps=2), quiet=True)
    run = find_run("disc", tmp_path)
    run.asked_file.unlink()
    assert again("disc", tmp_path, rank=2).model_dump() == run.config().model_dump() | {"rank": 2}


def test_again_knows_the_length_of_a_run_that_was_lengthened(small, tmp_path):
    sdlora.train(small(tmp_path, steps=2, **SETTINGS), quiet=True)
    lengthen(find_run("disc", tmp_path), "+3")
    assert again("disc", tmp_path).steps == 5


def test_a_change_that_can_t_be_is_a_sentence(small, tmp_path):
    sdlora.train(small(tmp_path, steps=1), quiet=True)
    with pytest.raises(Error, match="did you mean 'rank'"):
        again("disc", tmp_path, rnk=8)
    with pytest.raises(Error, match="There is no run 'disk'"):
        again("disk", tmp_path)
