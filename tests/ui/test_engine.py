import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from sdlora import Error
from sdlora.sampling.denoise import Cancelled
from tests.ui.serving import ROOT
from ui.device_thread import DeviceThread
from ui.engine import Busy, Engine
from ui.job import LARGEST_SIDE, Job, Picture, Progress, Settings

SETTINGS = Settings("mini", {}, "red apple", "", 1, 4, 4.0, "Euler", 128, 128)


def test_the_device_does_one_thing_at_a_time_in_order():
    device, done, hold = DeviceThread(), [], threading.Event()
    running = device.submit(hold.wait)
    waiting = [device.submit(lambda number=number: done.append(number)) for number in range(3)]
    assert [device.ahead_of(future) for future in waiting] == [1, 2, 3]
    waiting[1].cancel()
    assert device.ahead_of(waiting[2]) == 2
    hold.set()
    waiting[2].result(10)
    assert done == [0, 2]
    assert device.ahead_of(running) == 0


def test_a_failure_reaches_the_one_who_asked_and_the_device_goes_on():
    device = DeviceThread()
    with pytest.raises(ZeroDivisionError):
        device.submit(lambda: 1 // 0).result(10)
    assert device.submit(lambda: 2).result(10) == 2


def test_a_waiting_job_is_cancelled_without_waiting():
    device, hold = DeviceThread(), threading.Event()
    device.submit(hold.wait)
    job = Job(device, lambda job: pytest.fail("it must not begin"))
    progress = job.watch()
    assert next(progress) == Progress("waiting", total=1)
    job.cancel()
    assert list(progress) == []
    with pytest.raises(Cancelled):
        job.result()
    hold.set()


def test_a_job_that_nobody_watches_any_more_stops():
    stopped = threading.Event()

    def work(job):
        try:
            while True:
                job.tell(Progress("drawing", 1, 2))
        except Cancelled:
            stopped.set()
            raise

    job = Job(DeviceThread(), work)
    progress = job.watch()
    assert any(news.stage == "drawing" for news in progress)  # it has begun
    progress.close()
    assert stopped.wait(10)


def test_a_picture_is_a_file_with_its_parameters(tmp_path):
    job = Engine(tmp_path).start(SETTINGS)
    told = list(job.watch())
    picture = job.result()
    assert isinstance(picture, Picture)
    assert picture.path.parent == tmp_path / "outputs"
    assert "Steps: 4, Sampler: Euler" in picture.parameters
    assert told[-1].stage == "drawing"


def test_previews_come_and_stay_until_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("ui.engine.GLANCE", 0.0)
    job = Engine(tmp_path).start(replace(SETTINGS, steps=12))
    seen = [progress.preview for progress in job.watch() if progress.stage == "drawing"]
    job.result()
    assert seen[-1].size == (256, 256)
    monkeypatch.setattr("ui.engine.GLANCE", 1000.0)
    job = Engine(tmp_path).start(SETTINGS)
    assert {progress.preview for progress in job.watch()} == {None}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 10_000}, "steps is 10000"),
        ({"width": LARGEST_SIDE + 64}, "at most 2048 pixels"),
        ({"height": LARGEST_SIDE + 64}, "at most 2048 pixels"),
        ({"prompt": "a" * 5000}, "prompt is too long"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"base": ""}, "No base is chosen"),
        ({"mix": {"../outside": 1.0}}, "The adapter ../outside is no longer in"),
    ],
)
def test_what_cannot_work_is_refused_before_the_device_is_asked(tmp_path, change, sentence):
    (tmp_path / "adapters").mkdir()
    (tmp_path / "outside.safetensors").write_bytes(b"")
    with pytest.raises(Error, match=sentence):
        Engine(tmp_path).start(replace(SETTINGS, **change))


@pytest.mark.parametrize("base", ["someone/model", "/etc", "../model.safetensors"])
def test_others_choose_from_the_listed_bases_only(tmp_path, base):
    engine = Engine(tmp_path, listed_bases_only=True)
    with pytest.raises(Error, match="pick one from the list"):
        engine.usual(base)
    with pytest.raises(Error, match="pick one from the list"):
        engine.start(replace(SETTINGS, base=base))


@pytest.mark.parametrize(
    ("width", "height", "size"), [(64, 128, (64, 128)), (64, None, 64), (None, 128, 128), (None, None, None)]
)
def test_a_side_given_alone_makes_a_square(width, height, size):
    assert replace(SETTINGS, width=width, height=height).size == size


def test_who_trains_from_a_command_line_is_not_disturbed(tmp_path):
    held = "with hold('cpu', 'training ink'): print('held', flush=True); input()"
    program = f"from sdlora.training.device_lock import hold\n{held}"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(Busy, match="The device is taken: training ink"):
                Engine(tmp_path).start(SETTINGS)
        finally:
            other.stdin.close()
    Engine(tmp_path).start(SETTINGS).result()


def test_a_broken_adapter_file_has_no_trigger_and_one_sentence(tmp_path):
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "broken.safetensors").write_bytes(b"no adapter")
    engine = Engine(tmp_path)
    assert "broken" in engine.adapters()
    assert engine.trigger("broken") == ""
    job = engine.start(replace(SETTINGS, mix={"broken": 1.0}))
    with pytest.raises(Error, match="broken"):
        job.result()


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a <lora:../outside:1>", "The adapter ../outside is no longer in"),
        ("a <lora:ink:1e9>", "beyond 100"),
        ("a \0 b", "control character"),
        ("a \ud800 b", "half a character"),
    ],
)
def test_prompts_that_cannot_work_are_refused_before_the_device_is_asked(tmp_path, prompt, sentence):
    (tmp_path / "outside.safetensors").write_bytes(b"")
    with pytest.raises(Error, match=sentence):
        Engine(tmp_path).start(replace(SETTINGS, prompt=prompt))


def test_a_link_out_of_the_library_is_no_adapter_of_it(tmp_path):
    (tmp_path / "adapters").mkdir()
    (tmp_path / "outside.safetensors").write_bytes(b"")
    (tmp_path / "adapters" / "inside.safetensors").write_bytes(b"")
    (tmp_path / "adapters" / "alias.safetensors").symlink_to(tmp_path / "adapters" / "inside.safetensors")
    (tmp_path / "adapters" / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    assert [name for name in Engine(tmp_path).adapters() if not name.startswith("sample-")] == ["alias", "inside"]


def test_the_queue_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("ui.engine.MOST_WAITING", 2)
    engine, hold = Engine(tmp_path), threading.Event()
    engine._device.submit(hold.wait)
    waiting = engine.start(SETTINGS)
    with pytest.raises(Busy, match="try again"):
        engine.start(SETTINGS)
    waiting.cancel()
    engine.start(SETTINGS).cancel()
    hold.set()
