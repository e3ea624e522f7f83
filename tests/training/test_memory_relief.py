"""Memory that runs out on the way: what was learned is kept, a rung is taken, and the run goes on."""

import json
import os
import subprocess
import sys

import pytest
import torch

import sdlora
from sdlora.errors import Error
from sdlora.training.batches import Batches
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.config import TrainConfig
from sdlora.training.run_folder import RunFolder

FULL = {"targets": ["attention"], "resolution": 128, "batch_size": 4, "steps": 4}
# Where blocks are mapped one by one, what a step gives back is no longer part of the process's address space.
MAPPED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
# The allocator refuses in earnest: from step 3 on, the process may take half of what a step took before.
CHILD = """
import json, re, resource, sys
from pathlib import Path
import sdlora
from sdlora.errors import Error
from sdlora.training.batches import Batches
from sdlora.training.config import TrainConfig

def size(what):
    return int(re.search(rf"^{what}:\\s*(\\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1024

config = TrainConfig.load(sys.argv[1])
sound = Batches.take
calm = []

def limited(self, indices):
    if indices[0] == 0:
        calm.append(size("VmSize"))
    if indices[0] == 2 * 16 and len(indices) == 16:
        now = size("VmSize")
        limit = now + (size("VmPeak") - calm[-1]) // 2
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return sound(self, indices)

Batches.take = limited
try:
    sdlora.train(config)
except Error as problem:
    print("told:", problem, file=sys.stderr)
    sys.exit(1)
"""


def losses(run):
    return [row["loss"] for row in RunFolder(run).metrics() if "loss" in row]


def updates(run):
    return sdlora.load_adapter(run.adapter_path).updates


def close(a, b):
    """Equal up to the noise that another order of sums makes, of which AdamW makes more in its first steps."""
    difference = sum((a[path].up - b[path].up).square().sum() for path in b)
    return difference < 1e-3 * sum(update.up.square().sum() for update in b.values())


class RunsOut:
    """`Batches.take` that finds no memory where `when` says so."""

    def __init__(self, monkeypatch, when):
        sound = Batches.take
        self.times = 0

        def take(batches, indices):
            if when(indices):
                self.times += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return sound(batches, indices)

        monkeypatch.setattr(Batches, "take", take)


@pytest.fixture(scope="module")
def sound(small, tmp_path_factory):
    return sdlora.train(small(tmp_path_factory.mktemp("sound"), **FULL), quiet=True)


def test_a_rung_is_taken_and_nothing_is_lost(small, tmp_path, monkeypatch, sound, capfd):
    """It runs out in step 3 until a batch is one image: first checkpointing is tried, then the batch in parts."""
    trouble = RunsOut(monkeypatch, lambda indices: indices[0] >= 8 and len(indices) > 1)
    config = small(tmp_path, **FULL)
    run = sdlora.train(config)
    said = capfd.readouterr().err
    assert run.state == "finished" and trouble.times == 2
    assert "step 3: memory ran out, so it goes on with gradient_checkpointing = true: about a third" in said
    assert "step 3: memory ran out, so it goes on with batch_size = 1, gradient_accumulation = 4: " in said
    folder = RunFolder(run.folder)
    chosen = folder.config()
    assert chosen.gradient_checkpointing and (chosen.batch_size, chosen.gradient_accumulation) == (1, 4)
    assert (folder.checkpoints / "step-000002.safetensors").is_file()
    assert losses(run.folder) == pytest.approx(losses(sound.folder), rel=1e-3)
    assert close(updates(run), updates(sound))


def test_a_run_that_took_a_rung_is_resumed_with_it(small, tmp_path, monkeypatch):
    RunsOut(monkeypatch, lambda indices: indices[0] >= 8 and len(indices) > 1)
    config = small(tmp_path, **FULL)
    whole = updates(run := sdlora.train(config, quiet=True))
    folder = RunFolder(run.folder)
    (folder.checkpoints / "step-000004.safetensors").unlink()
    folder.write_status("stopped", 2, 4)
    again = updates(sdlora.train(config, resume="disc", quiet=True))
    assert all(torch.equal(again[path].up, whole[path].up) for path in whole)


def test_passes_before_the_one_that_found_no_memory_count_for_nothing(small, tmp_path, monkeypatch):
    """It runs out in the second of two passes; the gradient of the first must not stay."""
    settings = FULL | {"batch_size": 2, "gradient_accumulation": 2}
    plain = sdlora.train(small(tmp_path / "plain", gradient_checkpointing=True, **settings), quiet=True)
    tried = []
    RunsOut(monkeypatch, lambda indices: indices[0] == 10 and not tried and not tried.append(1))
    run = sdlora.train(small(tmp_path / "run", **settings), quiet=True)
    assert tried and RunFolder(run.folder).config().gradient_checkpointing
    assert losses(run.folder) == pytest.approx(losses(plain.folder), rel=1e-3)
    assert close(updates(run), updates(plain))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"memory": "off"}, "memory = off changes nothing"),
        ({"gradient_checkpointing": True, "batch_size": 1}, "there is nothing left"),
        ({"gradient_checkpointing": False, "batch_size": 1}, "there is nothing left"),
    ],
)
def test_no_rung_left(small, tmp_path, monkeypatch, changes, reason):
    """One sentence; what was learned is kept, and the run goes on from there bit for bit."""
    config = small(tmp_path, **(FULL | {"quantised": "off"} | changes))
    whole = updates(sdlora.train(config.model_copy(update={"workspace": str(tmp_path / "whole")}), quiet=True))
    per_step = config.batch_size
    with monkeypatch.context() as patched:
        RunsOut(patched, lambda indices: indices[0] >= 2 * per_step)
        with pytest.raises(Error, match=rf"not enough for step 3 of disc, and {reason}.*--resume disc"):
            sdlora.train(config, quiet=True)
    run = RunFolder(tmp_path / "runs" / "disc")
    assert run.state == "failed" and Checkpoint.newest_step(run.checkpoints) == 2
    resumed = updates(sdlora.train(config, resume="disc", quiet=True))
    assert all(torch.equal(resumed[path].up, whole[path].up) for path in whole)


def test_weights_that_may_be_half_new_are_not_kept(small, tmp_path, monkeypatch):
    (tmp_path / "weary.py").write_text(
        "import torch\n"
        "class Weary(torch.optim.SGD):\n"
        "    steps = 0\n"
        "    def step(self, closure=None):\n"
        "        Weary.steps += 1\n"
        "        if Weary.steps == 5:  # two are the rehearsal's, one the preflight's\n"
        "            self.param_groups[0]['params'][0].data.add_(1)\n"
        "            raise torch.OutOfMemoryError('CUDA out of memory. Tried')\n"
        "        return super().step(closure)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Error, match=r"in the optimiser's own step 2 of disc.*there is no checkpoint yet"):
        sdlora.train(small(tmp_path, optimiser="weary.Weary"), quiet=True)
    assert not list((tmp_path / "runs" / "disc" / "checkpoints").iterdir())


def test_that_a_budget_is_exceeded_is_told_once(small, tmp_path, capfd, monkeypatch):
    config = small(tmp_path, steps=3)
    sdlora.train(config, quiet=True)
    file = tmp_path / "runs" / "disc" / "config.toml"
    file.write_text(file.read_text("utf-8").replace('memory = "auto"', 'memory = "50MB"'), encoding="utf-8")
    run = RunFolder(tmp_path / "runs" / "disc")
    run.write_status("stopped", 0, 3)
    (run.checkpoints / "step-000003.safetensors").unlink()
    sdlora.train(config.model_copy(update={"memory": "50MB"}), resume="disc")
    assert capfd.readouterr().err.count("more than memory = 50MB") == 1


def limited(small, tmp_path, **changes):
    """A training in a process whose address space is limited from step 3 on: exit code, what it said, its run."""
    settings = {"targets": ["attention"], "resolution": 256, "batch_size": 16, "steps": 4}
    config = small(tmp_path, **(settings | changes))
    (tmp_path / "config.toml").write_text(config.toml(), encoding="utf-8")
    command = [sys.executable, "-c", CHILD, str(tmp_path / "config.toml")]
    environment = os.environ | MAPPED | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8", timeout=600, check=False)
    return done.returncode, done.stderr, RunFolder(tmp_path / "runs" / "disc")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there an address space has a limit")
def test_an_allocator_that_refuses(small, tmp_path):
    code, said, run = limited(small, tmp_path)
    assert code == 0, said
    assert "step 3: memory ran out, so it goes on with" in said
    assert run.state == "finished" and Checkpoint.newest_step(run.checkpoints) == 4
    assert [row["step"] for row in run.metrics() if "loss" in row] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there an address space has a limit")
def test_an_allocator_that_refuses_where_nothing_may_change(small, tmp_path):
    code, said, run = limited(small, tmp_path, memory="off")
    assert code == 1 and "told: Memory is not enough for step 3 of disc" in said, said
    assert json.loads(run.status_file.read_text("utf-8"))["state"] == "failed"
    assert Checkpoint.newest_step(run.checkpoints) == 2
    config = TrainConfig.load(tmp_path / "config.toml")
    assert sdlora.train(config, resume="disc", quiet=True).state == "finished"
