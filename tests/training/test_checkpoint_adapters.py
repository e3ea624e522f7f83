"""Adapters out of a run's checkpoints, and the grid of them."""

from pathlib import Path

import pytest
import torch

from sdlora.adapters import load_adapter
from sdlora.drawing_progress import DrawingProgress
from sdlora.errors import Error
from sdlora.grid import draw_grid_file
from sdlora.mixing.command import Wanted
from sdlora.training.checkpoint_adapters import write_checkpoint_adapters
from sdlora.training.finding import find_run
from sdlora.training.run import train


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    workspace = tmp_path_factory.mktemp("workspace")
    settings = small(workspace, checkpoint_every=1, keep_checkpoints=2, alpha=2.0, rank_stabilised=True)
    return find_run(train(settings).folder.name, workspace)


def test_the_last_checkpoint_is_the_adapter_that_was_trained(run, tmp_path):
    files = write_checkpoint_adapters(run, None, tmp_path)
    assert list(files) == [2, 3]
    before, last = (load_adapter(file) for file in files.values())
    trained = load_adapter(run.adapter_file)
    assert (last.name, last.family) == ("disc-step-000003", trained.family)
    assert last.updates.keys() == trained.updates.keys() == before.updates.keys()
    for path, update in trained.updates.items():
        weight = torch.zeros(update.shape)
        assert torch.equal(update.delta(weight), last.updates[path].delta(weight))
        assert not torch.equal(update.delta(weight), before.updates[path].delta(weight))


def test_step_0_has_no_adapter_and_order_is_kept(run, tmp_path):
    files = write_checkpoint_adapters(run, [3, 0, 2], tmp_path)
    assert list(files) == [3, 0, 2] and files[0] is None


def test_what_is_not_there_is_named(run, tmp_path):
    with pytest.raises(Error, match="no checkpoint of step 1: it has 2, 3"):
        write_checkpoint_adapters(run, [3, 1], tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(Error, match=r"There is no run 'dics': .* which has disc"):
        find_run("dics", run.path.parent.parent)
    assert find_run(str(run.path), tmp_path).path == run.path


def test_a_grid_of_checkpoints_and_weights(run, tmp_path):
    drawing = {"steps": 1, "size": (64, 64), "seed": 3}
    wanted = Wanted("red disc", (), drawing, "mini", "cpu", None, run.path.parent.parent)
    out, progress = tmp_path / "disc.png", DrawingProgress(visible=False)
    grid = draw_grid_file(
        wanted, ("weight=0,1,-1", "checkpoint:disc=0,2,3", None), out, progress, force=False, say=print
    )
    assert progress.pictures == 5  # those without an adapter are alike
    assert [value.label for value in grid.axes.y.values] == ["step 0", "step 2", "step 3"]
    told = [str(cell.parameters) for cell in grid.cells]
    assert ["<lora:disc-step-000003:-1>" in text for text in told] == [False] * 8 + [True]
    assert not any("<lora" in text for text in (*told[:4], told[6])) and "<lora:disc-step-000002:1>" in told[4]
    assert not Path(grid.cells[0].path).samefile(grid.cells[1].path)
