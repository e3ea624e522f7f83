import json
import subprocess
import sys

import pytest

from sdlora import Error
from sdlora.training.config import TrainConfig
from sdlora.training.device_lock import DeviceBusy, hold
from sdlora.training.estimating import main, outlook

SMALL = {"name": "a", "images": "sample:ink", "batch_size": 1, "steps": 7, "attention": "plain", "precision": "fp32"}


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setenv("SDLORA_LOCKS", str(tmp_path / "locks"))


def test_a_step_is_measured_and_nothing_is_written(tmp_path):
    found = outlook(TrainConfig(**SMALL, workspace=tmp_path / "workspace"))
    assert found.steps == 7
    assert found.step_seconds > 0
    assert 0 < found.memory < found.room
    assert not (tmp_path / "workspace").exists()


def test_accumulated_parts_are_counted(tmp_path):
    single, double = (
        outlook(TrainConfig(**SMALL, gradient_accumulation=parts, workspace=tmp_path)).step_seconds for parts in (1, 40)
    )
    assert double > 5 * single  # 40 times as long, on a machine that does other things as well


def test_a_device_that_is_taken_is_left_alone(tmp_path):
    with hold("cpu", "another training"), pytest.raises(DeviceBusy):
        outlook(TrainConfig(**SMALL, device="cpu", workspace=tmp_path))


def test_a_mistake_is_told_as_a_training_would(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('name = "a"\nimages = "nowhere"\n', encoding="utf-8")
    assert "There is no folder" in main(str(file))["problem"]
    with pytest.raises(Error, match="There is no folder"):
        outlook(TrainConfig.load(file))


def test_the_command_prints_json(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(TrainConfig(**SMALL).asked_toml(), encoding="utf-8")
    command = [sys.executable, "-m", "sdlora.training.estimating", str(file)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["steps"] == 7
