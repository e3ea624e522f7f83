"""Several processes learn what one does."""

import socket
import subprocess
import sys
import time

import psutil
import pytest
import torch

import sdlora
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.run_folder import RunFolder

SCRIPT = """
import sys
import sdlora
try:
    run = sdlora.train(sdlora.TrainConfig.load(sys.argv[1]), resume=len(sys.argv) > 2)
    print(run.state, run.steps)
except sdlora.Error as problem:
    print("refused:", problem)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def command_of(config, folder, *arguments):
    """Two processes on the CPU, which speak over gloo."""
    settings, script_file = folder / "config.toml", folder / "train.py"
    settings.write_text(config.toml(), encoding="utf-8")
    script_file.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    return [*map(str, [*command, script_file, settings, *arguments])]


def launch(config, folder, *arguments):
    """Train with two processes; what they print."""
    folder.mkdir(exist_ok=True)
    command = command_of(config, folder, *arguments)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-8000:]
    return done.stdout, done.stderr


def losses(workspace):
    rows = RunFolder(workspace / "runs" / "disc").metrics()
    return [row.get("loss", row.get("holdout_loss")) for row in rows]


def learned(workspace):
    return sdlora.load_adapter(workspace / "adapters" / "disc.safetensors").updates


def difference(ours, theirs):
    """The difference of all changes, as a share of them: Frobenius norms."""
    changes = {path: update.up @ update.down for path, update in theirs.items()}
    apart = [(ours[path].up @ ours[path].down - change).norm() for path, change in changes.items()]
    return (torch.stack(apart).norm() / torch.stack([change.norm() for change in changes.values()]).norm()).item()


def same_bits(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[path].up, update.up) and torch.equal(ours[path].down, update.down)
        for path, update in theirs.items()
    )


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="several processes on Windows are not supported"),
]


def test_two_processes_equal_one_with_their_batches_together(small, images, tmp_path):
    pair, alone = tmp_path / "pair", tmp_path / "alone"
    common = {"gradient_accumulation": 2, "holdout": images.parent / "holdout", "checkpoint_every": 2, "steps": 4}
    out, err = launch(small(pair, batch_size=1, **common), pair)
    assert err.count("trainable parameters") == 1 and "2 processes" in err  # one of the two speaks
    one = sdlora.train(small(alone, batch_size=2, **common), quiet=True)
    assert out.split() == [one.state, str(one.steps)] * 2  # both know which step is the best
    assert losses(pair) == pytest.approx(losses(alone), rel=1e-4)


def test_fifty_steps_are_those_of_one_process(small, tmp_path):
    """The same bits where that takes the pair's batches one after the other. Where it takes both as one, sums of
    gradients are rounded in another order; a single module may be further off than all of them together, since Adam
    makes whole steps of what is only noise (the attention of a map of one pixel can't learn)."""
    pair, parts, whole = tmp_path / "pair", tmp_path / "parts", tmp_path / "whole"
    common = {"steps": 50, "targets": ["attention", "text_attention"], "choose": "last", "flip": True}
    launch(small(pair, batch_size=2, **common), pair)
    sdlora.train(small(parts, batch_size=2, gradient_accumulation=2, **common), quiet=True)
    sdlora.train(small(whole, batch_size=4, **common), quiet=True)
    assert same_bits(learned(pair), learned(parts)) and losses(pair) == losses(parts)
    assert losses(pair) == pytest.approx(losses(whole), rel=1e-4), "the same examples, noises and timesteps"
    assert difference(learned(pair), learned(whole)) <= 1e-4


def test_killed_and_resumed_two_processes_end_with_the_same_bits(small, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    common = {"steps": 12, "batch_size": 1, "checkpoint_every": 2, "dropout": 0.2, "flip": True}
    launch(small(whole, **common), whole)
    killed.mkdir()
    process = subprocess.Popen(command_of(small(killed, **common), killed))
    limit = time.monotonic() + 300
    while (Checkpoint.newest_step(killed / "runs" / "disc" / "checkpoints") or 0) < 4:
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.wait()
    launch(small(killed, **common), killed, "resume")
    assert same_bits(learned(killed), learned(whole))
    assert losses(killed) == losses(whole)


def test_processes_that_see_different_numbers_of_the_prior_s_pictures_do_not_wait_for_each_other(small, tmp_path):
    """Of a step's four examples one has such a picture; with text encoders that train, the model has buffers."""
    settings = {"batch_size": 2, "trigger": "wug", "prior_preservation": 1.0, "targets": ["text_attention"], "steps": 3}
    out, _ = launch(small(tmp_path, **settings), tmp_path)
    assert out.split() == ["finished", "3"] * 2
    assert (tmp_path / "runs" / "disc" / "prior.safetensors").is_file()


def test_what_the_first_process_refuses_all_refuse(small, tmp_path):
    """Otherwise those of other machines would wait for it."""
    out, _ = launch(small(tmp_path, targets=["nowhere"]), tmp_path)
    assert out.count("refused: ") == out.count("nowhere") == 2, out
    assert not (tmp_path / "runs").exists()
