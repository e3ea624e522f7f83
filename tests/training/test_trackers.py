"""Trackers: TensorBoard for real, one of the test's own, and those that are not there or fail."""

import importlib.util
import json

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

import sdlora
from sdlora.errors import Error
from sdlora.training.run_folder import RunFolder


@pytest.fixture
def tracked(small, images, tmp_path):
    def settings(*trackers, **changes):
        more = {"trigger": "wug", "holdout": images.parent / "holdout", "sample_prompts": ["a disc --s 2"], **changes}
        return small(tmp_path, steps=4, validate_every=2, sample_every=2, trackers=list(trackers), **more)

    return settings


@pytest.fixture
def own(monkeypatch):
    """A tracker of this test's, registered as users register theirs; `own.told` is what it was told."""

    class Own(GeneralTracker):
        name = "own"
        requires_logging_directory = False
        told: list[tuple[str, object, object]] = []  # noqa: RUF012
        breaks_at = None

        def __init__(self, project, **options):
            super().__init__()

        @property
        def tracker(self):
            return self

        def store_init_configuration(self, values):
            self.told.append(("config", values, None))

        def log(self, values, step=None, **options):
            if self.breaks_at == step:
                raise ConnectionError("the network is gone")
            self.told.append(("log", values, step))

        def log_images(self, values, step=None, **options):
            self.told.append(("images", {key: image[0].shape for key, image in values.items()}, step))

        def finish(self):
            self.told.append(("finish", None, None))

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "own", Own)
    return Own


def test_a_tracker_is_told_of_everything_and_of_no_path(tracked, own, images, tmp_path):
    run = sdlora.train(tracked("own"), quiet=True)
    rows = [(values, step) for kind, values, step in own.told if kind == "log"]
    assert [step for values, step in rows if "train/loss" in values] == [1, 2, 3, 4]
    assert [step for values, step in rows if "holdout/loss" in values and "holdout/drift" in values] == [0, 2, 4]
    losses = {row["step"]: row["loss"] for row in RunFolder(run.folder).metrics() if "loss" in row}
    assert {step: values["train/loss"] for values, step in rows if "train/loss" in values} == losses
    pictures = {step: values for kind, values, step in own.told if kind == "images"}
    assert pictures == {
        0: {"samples/1-weight-0": (64, 64, 3)},
        2: {"samples/1-weight-1": (64, 64, 3)},
        4: {"samples/1-weight-1": (64, 64, 3)},
    }
    (config,) = [values for kind, values, _ in own.told if kind == "config"]
    assert config["rank"] == 4 and config["targets"].startswith("['unet.mid_block'")
    assert str(tmp_path) not in json.dumps(config) and str(images) not in json.dumps(config)
    assert own.told[-1][0] == "finish"


def test_a_tracker_that_fails_ends_nothing(tracked, own, capsys):
    own.breaks_at = 2
    run = sdlora.train(tracked("own"))
    assert run.state == "finished"
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the tracker own failed, so the run goes on without it: the network is gone") == 1
    assert max(step for kind, _, step in own.told if kind == "log") == 1


def test_trackers_that_are_not_there_are_refused_before_the_run(tracked, tmp_path, monkeypatch):
    with pytest.raises(Error, match="There is no tracker 'tensorbored': accelerate knows aim,"):
        sdlora.train(tracked("tensorbored"), quiet=True)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest))
    with pytest.raises(Error, match=r"The tracker wandb is not installed: pip install 'sdlora\[track\]', or leave"):
        sdlora.train(tracked("wandb"), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_tensorboard_shows_one_run_also_where_it_was_resumed(tracked, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    append = RunFolder.append_metrics

    def killed(self, row):
        append(self, row)
        if row["step"] == 3 and "loss" in row:
            raise SystemExit

    config = tracked("tensorboard", checkpoint_every=2)
    monkeypatch.setattr(RunFolder, "append_metrics", killed)
    with pytest.raises(SystemExit):
        sdlora.train(config, quiet=True)
    monkeypatch.setattr(RunFolder, "append_metrics", append)
    run = sdlora.train(config, resume=True, quiet=True)
    events = EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("holdout/loss")] == [0, 2, 4]
    losses = [row["loss"] for row in RunFolder(run.folder).metrics() if "loss" in row]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses, rel=1e-6)
    assert [event.step for event in events.Images("samples/1-weight-1")] == [2, 4]
