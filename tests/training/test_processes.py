"""Several processes learn what one does."""

import os
import socket
import subprocess
import sys

import pytest
import torch

import sdlora
from sdlora.training.run_folder import RunFolder

SCRIPT = """
import sys
import sdlora
run = sdlora.train(sdlora.TrainConfig.load(sys.argv[1]), resume=len(sys.argv) > 2)
print(run.state, run.steps)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(script, config, folder, *arguments):
    """Two processes on the CPU, which speak over gloo; what they print."""
    settings, script_file = folder / "config.toml", folder / "train.py"
    settings.write_text(config.toml(), encoding="utf-8")
    script_file.write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    command += [script_file, settings, *arguments]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, encoding="utf-8", timeout=500, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="several processes on Windows are not supported")
def test_two_processes_equal_one_with_their_batches_together(small, images, tmp_path):
    pair, alone = tmp_path / "pair", tmp_path / "alone"
    pair.mkdir()
    common = {"gradient_accumulation": 2, "holdout": images.parent / "holdout", "checkpoint_every": 2, "steps": 4}
    out, err = launch(SCRIPT, small(pair, batch_size=1, **common), pair)
    assert err.count("trainable parameters") == 1 and "2 processes" in err  # one of the two speaks
    one = sdlora.train(small(alone, batch_size=2, **common), quiet=True)
    assert out.split() == [one.state, str(one.steps)] * 2  # both know which step is the best
    rows, expected = (list(RunFolder(w / "runs" / "disc").metrics()) for w in (pair, alone))
    assert [r.get("loss", r.get("holdout_loss")) for r in rows] == pytest.approx(
        [r.get("loss", r.get("holdout_loss")) for r in expected], rel=1e-3
    )
    ours = sdlora.load_adapter(pair / "adapters" / "disc.safetensors").updates
    theirs = sdlora.load_adapter(one.adapter_path).updates
    difference = sum((ours[p].up - theirs[p].up).square().sum() for p in theirs)
    assert (difference / sum(u.up.square().sum() for u in theirs.values())).sqrt() < 0.05
    assert all(torch.isfinite(u.up).all() for u in ours.values())
