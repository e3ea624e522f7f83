"""Which step a run's adapter is of, when it ends, and what it says on the way."""

import pytest
import torch

import sdlora
from sdlora.training.run_folder import RunFolder
from sdlora.training.trainer import Trainer
from tests.training.conftest import draw_images

# two images and a high learning rate: good at first, soon learned by heart
RATES = {"learning_rate": 1e-2, "text_encoder_learning_rate": 1e-2}
OVERFITS = {"steps": 20, "validate_every": 4, "rank": 16, "alpha": 16.0, **RATES}


@pytest.fixture(scope="module")
def overfitting(tmp_path_factory, images):
    return OVERFITS | {
        "images": draw_images(tmp_path_factory.mktemp("over") / "two", ("red", "green")),
        "holdout": images.parent / "holdout",
        "targets": ["unet.mid_block", "unet.up_blocks.1", "text_attention"],
        "flip": False,
    }


@pytest.fixture(scope="module")
def overfitted(small, overfitting, tmp_path_factory):
    """A run that gets worse again."""
    return sdlora.train(small(tmp_path_factory.mktemp("ws"), **overfitting), quiet=True)


def measured(run):
    return [row for row in RunFolder(run.folder).metrics() if "holdout_loss" in row]


def assert_same(run, other):
    ours, theirs = (sdlora.load_adapter(each.adapter_path).updates for each in (run, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[path].up, theirs[path].up) for path in ours)


def test_the_adapter_is_that_of_the_best_measurement(overfitted, small, overfitting, tmp_path):
    losses = {row["step"]: row["holdout_loss"] for row in measured(overfitted)}
    step = min(losses, key=losses.get)
    assert 0 < step < 20 and losses[20] > 1.02 * losses[step], "the run was to overfit"
    assert (overfitted.steps, overfitted.holdout_loss_after) == (step, losses[step])
    assert sdlora.load_adapter(overfitted.adapter_path).metadata["ss_steps"] == str(step)
    assert_same(overfitted, sdlora.train(small(tmp_path, **overfitting | {"steps": step}), quiet=True))


def test_a_run_that_learns_by_heart_says_so_and_ends_when_patience_does(small, overfitting, tmp_path, capsys):
    run = sdlora.train(small(tmp_path, **overfitting | {"steps": 28}, patience=1))
    said = " ".join("".join(capsys.readouterr()).split())
    assert "learns the training images by heart: the held-out loss is" in said
    assert "1 measurements in a row were no better" in said and f"the adapter is that of step {run.steps}" in said
    losses = [row["holdout_loss"] for row in measured(run)]
    assert run.state == "finished" and losses.index(min(losses)) == len(losses) - 2 < 6


def test_the_last_step_where_that_is_asked_for(small, images, tmp_path):
    given = {"validate_every": 1, "learning_rate": 0.5, "holdout": images.parent / "holdout"}
    run = sdlora.train(small(tmp_path, **given, choose="last"), quiet=True)
    assert run.steps == 3 and run.holdout_loss_after == measured(run)[-1]["holdout_loss"]


def test_the_training_s_own_loss_and_the_drift_are_measured(small, images, tmp_path):
    given = {"trigger": "wug", "validate_every": 1, "learning_rate": 1e-3, "holdout": images.parent / "holdout"}
    rows = measured(sdlora.train(small(tmp_path, **given), quiet=True))
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["drift"] == 0 and 0 < rows[1]["drift"] < rows[3]["drift"]
    assert all(len(row["train_bands"]) == 10 for row in rows)
    assert rows[3]["train_loss"] < rows[0]["train_loss"]


def test_the_best_survives_a_kill(small, overfitting, overfitted, tmp_path, monkeypatch):
    """Killed when the best step is behind the newest checkpoint, and gone on with."""
    settings = overfitting | {"checkpoint_every": 14}
    step = Trainer._optimise

    def killed(self):
        if self.step == 15:
            raise SystemExit
        return step(self)

    monkeypatch.setattr(Trainer, "_optimise", killed)
    with pytest.raises(SystemExit):
        sdlora.train(small(tmp_path, **settings), quiet=True)
    monkeypatch.setattr(Trainer, "_optimise", step)
    run = sdlora.train(small(tmp_path, **settings), resume=True, quiet=True)
    assert run.steps == overfitted.steps <= 12
    assert_same(run, overfitted)
