"""Full disks, lost permissions, folders that vanish: a run stops with a sentence, and goes on when that is mended."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
import torch

import sdlora
from sdlora.errors import Error
from sdlora.training.checkpoints import Checkpoint
from sdlora.training.device_lock import hold, holder_of, waiting_for
from sdlora.training.run_folder import RunFolder

PATIENCE = 300


@pytest.fixture
def disk(tmp_path):
    """A disk of 24 MB that can be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def sealed():
    """`sealed(folder)` takes away the right to write there, from root too; `sealed.open()` gives it back."""
    folders = []

    def set_sealed(folder, on):
        if os.geteuid():
            folder.chmod(0o555 if on else 0o755)
        elif subprocess.run(["chattr", "+i" if on else "-i", str(folder)], capture_output=True, check=False).returncode:
            pytest.skip("root may write everywhere here")

    def seal(folder):
        folders.append(folder)
        set_sealed(folder, True)

    def unseal():
        while folders:
            set_sealed(folders.pop(), False)

    seal.open = unseal
    yield seal
    unseal()


def fill(disk, free):
    """Leave so many bytes free."""
    room = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(b"\0" * max(0, room.f_bavail * room.f_frsize - free))


def when(run, rows, action):
    """Do it once a run has so many rows."""

    def watch():
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if len(list(run.metrics())) >= rows:
                action()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def same(a, b):
    ours, theirs = (sdlora.load_adapter(run.adapter_path).updates for run in (a, b))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[path].up, theirs[path].up) for path in theirs)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    return sdlora.train(small(tmp_path_factory.mktemp("whole"), steps=12), quiet=True)


@pytest.mark.parametrize(
    ("free", "settings"),
    [
        (0, {}),
        (40_000, {"checkpoint_every": 5}),
        (5_000, {"sample_prompts": ["red disc --s 2"], "sample_every": 6}),
        (0, {"validate_every": 3}),
    ],
    ids=["status and metrics", "checkpoint", "sample", "measurement"],
)
def test_a_full_disk(small, disk, whole, free, settings):
    config = small(disk, steps=12, cache="memory", **settings)
    run = RunFolder(disk / "runs" / "disc")
    filling = when(run, 3, lambda: fill(disk, free))
    with pytest.raises(Error, match=r"A file of the run disc can't be written .*--resume disc; .*checkpoint"):
        sdlora.train(config, quiet=True)
    filling.join(PATIENCE)
    assert run.state in ("failed", "dead") and not (disk / "adapters" / "disc.safetensors").exists()
    assert not run.adapter_file.exists() and not list(disk.rglob("*.tmp"))
    (disk / "filler").unlink()
    resumed = sdlora.train(config, resume="disc", quiet=True)
    assert resumed.state == "finished" and same(resumed, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on a file's size")
def test_a_file_that_may_not_grow(small, tmp_path, whole):
    """A quota, in effect: small files can be written, a checkpoint can't."""
    import resource

    config = small(tmp_path, steps=12, checkpoint_every=4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(Error, match=r"A file of the run disc can't be written .*; there is no checkpoint yet"):
            sdlora.train(config, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run = RunFolder(tmp_path / "runs" / "disc")
    assert (
        run.state == "failed" and "can't be written" in run.status()["message"] and not any(run.checkpoints.iterdir())
    )
    assert same(sdlora.train(config, resume="disc", quiet=True), whole)


def test_a_folder_of_checkpoints_that_may_not_be_written(small, tmp_path, whole, sealed):
    config = small(tmp_path, steps=12, checkpoint_every=4)
    run = RunFolder(tmp_path / "runs" / "disc")
    when(run, 5, lambda: sealed(run.checkpoints))
    with pytest.raises(Error, match=r"can't be written .*; the checkpoint of step 4 is kept"):
        sdlora.train(config, quiet=True)
    assert run.state == "failed" and run.status()["step"] == 8
    sealed.open()
    assert same(sdlora.train(config, resume="disc", quiet=True), whole)


def test_a_library_that_may_not_be_written(small, tmp_path, whole, sealed):
    """All steps are done: only the file for the library is missing."""
    (tmp_path / "adapters").mkdir()
    sealed(tmp_path / "adapters")
    config = small(tmp_path, steps=12)
    with pytest.raises(Error, match=r"can't be written .*; the checkpoint of step 12 is kept"):
        sdlora.train(config, quiet=True)
    sealed.open()
    assert same(sdlora.train(config, resume="disc", quiet=True), whole)


def test_a_run_folder_that_is_deleted_is_not_made_again(small, tmp_path):
    run = RunFolder(tmp_path / "runs" / "disc")
    when(run, 3, lambda: shutil.rmtree(run.path, ignore_errors=True))
    with pytest.raises(Error, match=r"The folder of the run disc is gone from"):
        sdlora.train(small(tmp_path, steps=500), quiet=True)
    assert not run.config_file.exists() and not (tmp_path / "adapters").exists()


# --- the images -------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(images, tmp_path):
    """Images that a test may change."""
    shutil.copytree(images.parent / "holdout", tmp_path / "set" / "holdout")
    return shutil.copytree(images, tmp_path / "set" / "discs")


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_images_that_vanish_while_it_trains_are_not_missed(small, tmp_path, pictures, cache):
    """All of them are encoded by then: the second epoch, measurements and previews need none."""
    config = small(tmp_path, images=pictures, steps=8, cache=cache, validate_every=7, sample_prompts=["red disc --s 2"])
    when(RunFolder(tmp_path / "runs" / "disc"), 2, lambda: shutil.rmtree(pictures.parent))
    assert sdlora.train(config, quiet=True).state == "finished"
    assert not pictures.exists()


def test_images_that_vanish_before_they_are_encoded(small, tmp_path, pictures, monkeypatch):
    create = RunFolder.create

    def and_lose_the_images(config):
        pictures.rename(tmp_path / "elsewhere")
        return create(config)

    monkeypatch.setattr(RunFolder, "create", staticmethod(and_lose_the_images))
    config = small(tmp_path, images=pictures, steps=2)
    with pytest.raises(
        Error, match=r"discs.*\.png can't be read any more .*: is its folder still there\?.*--resume disc"
    ):
        sdlora.train(config, quiet=True)
    run = RunFolder(tmp_path / "runs" / "disc")
    assert run.state == "failed" and "can't be read any more" in run.status()["message"]
    monkeypatch.undo()
    with pytest.raises(Error, match="There is no folder"):
        sdlora.train(config, resume="disc", quiet=True)
    (tmp_path / "elsewhere").rename(pictures)
    assert sdlora.train(config, resume="disc", quiet=True).state == "finished"


def test_what_changed_in_the_images_is_named_at_a_resume(small, tmp_path, pictures, capfd):
    config = small(tmp_path, images=pictures, steps=2)
    sdlora.train(config, quiet=True)
    run = RunFolder(tmp_path / "runs" / "disc")

    def resumed():
        run.write_status("stopped", 2, 2)
        capfd.readouterr()
        sdlora.train(config, resume="disc")
        return capfd.readouterr().err

    assert "images changed" not in resumed()
    shutil.copyfile(pictures / "red-0.png", pictures / "new.png")
    (pictures / "green-1.png").unlink()
    shutil.copyfile(pictures / "black-5.png", pictures / "blue-2.png")
    (pictures / "orange-3.txt").write_text("another caption", encoding="utf-8")
    said = " ".join(resumed().split())
    assert "since the run disc began, images changed" in said
    for part in ("added: new.png", "removed: green-1.png", "edited: blue-2.png", "with other captions: orange-3.png"):
        assert part in said


def test_a_large_holdout_folder_is_not_measured_whole(small, images, tmp_path, capfd):
    holdout = images.parent / "holdout"
    sdlora.train(small(tmp_path, steps=1, holdout=holdout, holdout_images=1))
    assert "1 of the 2 held-out images are measured" in " ".join(capfd.readouterr().err.split())
    sdlora.train(small(tmp_path, steps=1, holdout=holdout))
    assert "held-out images are measured" not in capfd.readouterr().err
    one, two = (
        [r["holdout_loss"] for r in RunFolder(tmp_path / "runs" / name).metrics() if "holdout_loss" in r]
        for name in ("disc", "disc-2")
    )
    assert one[0] != two[0]


# --- the device -------------------------------------------------------------------------------------------------


def test_a_training_waits_for_its_turn(small, tmp_path, capfd):
    """Whoever holds the device; nothing is made before it is free."""
    results = []
    thread = threading.Thread(target=lambda: results.append(sdlora.train(small(tmp_path, steps=1))))
    with hold("cpu", "drawing in the UI"):
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not waiting_for("cpu") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [one.what for one in waiting_for("cpu")] == ["training disc"]
        assert not (tmp_path / "runs").exists() and holder_of("cpu").what == "drawing in the UI"
    thread.join(PATIENCE)
    assert results and results[0].state == "finished" and holder_of("cpu") is None
    said = " ".join(capfd.readouterr().err.split())
    assert f"cpu is held by drawing in the UI (process {os.getpid()}" in said and "cpu is free: going on" in said


def test_mistakes_are_told_before_the_wait(small, tmp_path):
    with hold("cpu", "drawing in the UI"), pytest.raises(Error, match="There is no folder"):
        sdlora.train(small(tmp_path, images="nowhere"), quiet=True)


def test_two_who_resume_one_run_do_not_both_train_it(small, tmp_path):
    config = small(tmp_path, steps=2)
    sdlora.train(config, quiet=True)
    run = RunFolder(tmp_path / "runs" / "disc")
    run.write_status("stopped", 1, 2)
    problems = []

    def second():
        try:
            sdlora.train(config, resume="disc", quiet=True)
        except Error as problem:
            problems.append(str(problem))

    thread = threading.Thread(target=second)
    with hold("cpu", "the first"):
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not waiting_for("cpu") and time.monotonic() < deadline:
            time.sleep(0.01)
        run.write_status("finished", 2, 2)
    thread.join(PATIENCE)
    assert len(problems) == 1 and "disc is finished" in problems[0]
    assert Checkpoint.newest_step(run.checkpoints) == 2
