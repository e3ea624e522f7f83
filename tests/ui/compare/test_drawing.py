import pytest
from PIL import Image

from sdlora import Error
from ui.compare.drawing import start_grid
from ui.engine import Engine
from ui.job import Settings

SETTINGS = Settings("mini", {"sample-clay": 0.5}, "red apple", "", 1, 2, 4.0, "Euler", 128, 128)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = Engine(tmp_path_factory.mktemp("workspace"))
    yield engine
    engine.close()


def test_a_grid_is_a_sheet_with_its_pictures(engine, tmp_path):
    job = start_grid(engine, SETTINGS, ["weight:sample-clay=0,1", "seed=1-2", None], tmp_path)
    told = [progress for progress in job.watch() if progress.stage == "drawing"]
    grid = job.result()
    assert len(grid.cells) == 4
    assert grid.path.parent == engine.outputs
    assert "<lora:sample-clay:1>" in Image.open(grid.cells[1].path).text["parameters"]
    assert told[-1].unit == "picture"
    assert {progress.total for progress in told} == {4}


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (["seed=1-300", None, None], "at most 200 are drawn"),
        (["steps=10,900", None, None], "steps is 900"),
        (["replace=red apple,<lora:gone:1>", None, None], "The adapter gone"),
        ([None, None, None], "needs an axis"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_the_device_is_asked(engine, tmp_path, axes, sentence):
    with pytest.raises(Error, match=sentence):
        start_grid(engine, SETTINGS, axes, tmp_path)
